"""The command `publish`: what a run leaves, in a repository of the model hub."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import UserError
from tui.cli.arguments import RunName, print_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.publish import Folder

CARD_LIMIT = 1 << 20  # characters of a card that are printed
AGAIN = "the same command goes on where it broke off"


def publish(
    run: RunName,
    repo: Annotated[
        str, typer.Option("--repo", metavar="NAME", help="NAME, or OWNER/NAME, on the hub.")
    ],
    adapters: Annotated[
        bool, typer.Option("--adapters", help="The adapters for mlx-lm: the default.")
    ] = False,
    peft: Annotated[
        bool, typer.Option("--peft", help="The adapters for peft and transformers.")
    ] = False,
    fused: Annotated[bool, typer.Option("--fused", help="The whole model.")] = False,
    gguf: Annotated[
        str | None,
        typer.Option("--gguf", metavar="q8_0|f16|q4_k_m", help="The whole model for llama.cpp."),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="The labels, in a dataset of that name.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="For all to see; else for you alone.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Send nothing: list each file, and print the cards."),
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option("--keep", metavar="best|last", help="As in `lora-studio export`."),
    ] = None,
) -> None:
    """Put a run's adapters, model or labels on the hub, with a card written from the run.

    After a break the same command goes on.
    """
    from engine.machine.blas import import_mlx
    from engine.publish import Parts, prepared
    from engine.publish.upload import HubError, check_repo, connect, existing, owned, upload
    from engine.runs.archive import open_run

    if keep not in ("best", "last", None):
        raise UserError(f"--keep is best or last, not {keep!r}")
    folder = open_run(run)
    check_repo(repo)
    chosen = Parts(
        adapters=adapters or not (peft or fused or gguf or pairs),
        peft=peft,
        fused=fused,
        gguf=gguf,
        pairs=pairs,
    )
    api = None if dry_run else connect(bars=sys.stderr.isatty())
    try:
        full_name = owned(api, repo) if api else repo
        if api:
            existing(api, full_name, chosen.kinds, public=public)
        if chosen.model:
            import_mlx()
        with prepared(folder, chosen, full_name, keep=keep, say=print_note) as folders:
            if api is None:
                _print_files(folders)
                return
            addresses = upload(api, full_name, folders, public=public, progress=_progress)
    except HubError as error:
        raise HubError(f"{error}; {AGAIN}") from None
    for address in addresses:
        print(f"published{'' if public else ', for you alone'}: {address}")


def _print_files(folders: "Sequence[Folder]") -> None:
    """What would be sent, and the cards."""
    from engine.publish import CARD
    from tui.text.format import size as in_words
    from tui.text.safe_text import safe

    for folder in folders:
        files = folder.files()
        total = in_words(sum(size for _, size in files))
        print(f"{folder.kind}: {len(files)} files, {total}; nothing is sent")
        for name, size in files:
            print(f"  {in_words(size):>10}  {name}")
    for folder in folders:
        print(f"\n--- {CARD} of the {folder.kind} ---\n")
        print(safe((folder.path / CARD).read_text(encoding="utf-8"), CARD_LIMIT))


def _progress(name: str, number: int, count: int, size: int) -> None:
    from tui.text.format import size as in_words

    print(f"{number}/{count}  {name}  {in_words(size)}", file=sys.stderr, flush=True)
