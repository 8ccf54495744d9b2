"""`lora-studio export`: what a run trained, written for another program."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.errors import UserError
from engine.machine.blas import import_mlx
from engine.runs.archive import open_run
from tui.cli.arguments import print_note

if TYPE_CHECKING:
    from engine.settings.sections.fine_tune import Quantization


def export_lines(
    run: str,
    to: Path,
    *,
    fuse: bool,
    quantize: str | None,
    peft: bool,
    gguf: str | None,
    gguf_adapter: bool,
    keep: str | None,
) -> list[str]:
    """Write one kind of folder of a run; what is printed of it. Notes go to standard error.

    Raises:
        UserError, StorageError: as `engine.export`; or more than one kind is asked for.
    """
    fuse = fuse or quantize is not None
    kinds = {"--fuse": fuse, "--peft": peft, "--gguf": gguf, "--gguf-adapter": gguf_adapter}
    if len(chosen := [name for name, wanted in kinds.items() if wanted not in (False, None)]) > 1:
        raise UserError(f"{' and '.join(chosen)} do not go together: export into a folder each")
    if keep not in ("best", "last", None):
        raise UserError(f"--keep is best or last, not {keep!r}")
    folder = open_run(run)
    notes = list(folder.known_settings()[1])
    import_mlx()
    from engine import export

    about: list[str] = []
    if peft:
        commands = export.export_peft(folder, to, keep=keep, say=notes.append)
    elif gguf is not None:
        commands = export.export_gguf(folder, to, gguf, keep=keep, say=notes.append)
    elif gguf_adapter:
        commands = export.export_gguf_adapter(folder, to, keep=keep, say=notes.append)
    else:
        form = cast("Quantization | None", quantize)
        export.export(folder, to, fuse=fuse, quantize=form, keep=keep, say=notes.append)
        commands = export.mlx_lines(folder, str(to), fuse=fuse)
        about = [export.readers(folder, to)] if fuse else []
    for note in notes:
        print_note(note)
    return [f"written to {to}", *about, "to run it:", *(f"  {line}" for line in commands)]
