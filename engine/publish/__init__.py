"""What a run leaves, in a repository of the model hub: put together in a folder, with a card that
is written from the run, and sent by the hub's own library. Importing this is light.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from engine.errors import UserError
from engine.publish.card import dataset_card, model_card
from engine.publish.curves import PICTURE, curves
from engine.publish.public import is_local, public_judge, public_name
from engine.runs.folder import FUSED, Run
from engine.runs.labels import select
from engine.runs.pair_files import TRAIN, write_pairs
from engine.runs.storage import sole_writer
from engine.settings.sections.output import Keep

Say = Callable[[str], None]
RepoType = Literal["model", "dataset"]
CARD = "README.md"
MAKING = ".publish-"  # begins the name of a folder that is being put together
TEXTS = {".json", ".md", ".jinja", ""}  # endings of files that may name a local folder


@dataclass(frozen=True, slots=True)
class Parts:
    """What of a run is published: at least one of them."""

    adapters: bool = False  # as mlx-lm reads them
    peft: bool = False
    fused: bool = False
    gguf: str | None = None  # the kind of file
    pairs: bool = False

    @property
    def kinds(self) -> list[RepoType]:
        """The kinds of repositories that it takes."""
        return [*(["model"] if self.model else []), *(["dataset"] if self.pairs else [])]

    @property
    def model(self) -> bool:
        """Whether there is anything for a repository of a model."""
        return self.adapters or self.peft or self.fused or self.gguf is not None


@dataclass(frozen=True, slots=True)
class Folder:
    """What a repository gets: the files below `path`, by their names there."""

    kind: RepoType
    path: Path

    def files(self) -> list[tuple[str, int]]:
        """(name in the repository, bytes) of each, in the order of names."""
        paths = sorted(path for path in self.path.rglob("*") if path.is_file())
        return [(path.relative_to(self.path).as_posix(), path.stat().st_size) for path in paths]


@contextlib.contextmanager
def prepared(
    run: Run, parts: Parts, repo: str, *, keep: Keep | None = None, say: Say
) -> Iterator[list[Folder]]:
    """Folders with all that is to be published, beside the run's for as long as the context lasts.

    Raises:
        UserError: the run has no such thing to give.
        StorageError: there is no room for it.
    """
    root = run.path.parent
    remove_leftovers(root)
    with (
        tempfile.TemporaryDirectory(prefix=f"{MAKING}{os.getpid()}-", dir=root) as temporary,
        sole_writer(Path(temporary)),
    ):
        folders: list[Folder] = []
        if parts.model:
            folders.append(_model(run, parts, repo, keep, Path(temporary, "model"), say))
        if parts.pairs:
            folders.append(_dataset(run, repo, Path(temporary, "dataset"), say))
        yield folders


def remove_leftovers(root: Path) -> None:
    """Remove what processes that were killed have left beside the runs in `root`. One of another
    host or container has no number here, and holds its folder."""
    for left in root.glob(f"{MAKING}*"):
        if not psutil.pid_exists(int(left.name.split("-")[1])):
            with contextlib.suppress(OSError), sole_writer(left):
                shutil.rmtree(left, ignore_errors=True)


def _model(run: Run, parts: Parts, repo: str, keep: Keep | None, to: Path, say: Say) -> Folder:
    """The fused model, else the adapters, in the first folder; GGUF files always there, where the
    hub and Ollama look for them."""
    from engine import export
    from engine.train.results import weights_to_leave

    weights = weights_to_leave(run, keep)
    to.mkdir()
    settings, _ = run.known_settings()
    places: dict[str, str] = {}

    def place(part: str) -> Path:
        """Where a part is written. The first is moved to the top at the end."""
        places[part] = part if places else ""
        return to.with_name(f"part-{part}")

    def tell(text: str) -> None:
        for part in places:
            text = text.replace(str(to.with_name(f"part-{part}")), part)
        say(text)

    if parts.fused:
        export.export(run, place(FUSED), fuse=True, keep=keep, say=tell)
    if parts.peft:
        export.export_peft(run, place("peft"), keep=keep, say=tell)
    if parts.adapters:
        export.export(run, place("adapters"), fuse=False, keep=keep, say=tell)
    if parts.gguf is not None:
        export.export_gguf(run, place("gguf"), parts.gguf, keep=keep, say=tell)
        places["gguf"] = ""
    for part, inner in places.items():
        part_folder = to.with_name(f"part-{part}")
        (part_folder / CARD).unlink(missing_ok=True)
        (to / inner).mkdir(exist_ok=True)
        for path in part_folder.iterdir():
            path.rename(to / inner / path.name)
    base, name = export.peft.base_model(settings), public_name(settings.model)
    for local in sorted(filter(is_local, {settings.model, base}), key=len, reverse=True):
        _leave_out(to, local, name)
    if picture := curves(run):
        (to / PICTURE).write_text(picture, encoding="utf-8")
    gguf = next((path.name for path in sorted(to.glob("*.gguf"))), None)
    card = model_card(run, repo, places, gguf=gguf, picture=bool(picture), weights=weights)
    (to / CARD).write_text(card, encoding="utf-8")
    return Folder("model", to)


def _dataset(run: Run, repo: str, to: Path, say: Say) -> Folder:
    selection = select([run])
    if not selection.labels:
        raise UserError(f"--pairs: no label of the run {run.name!r} has a winner")
    for why, count in selection.left_out.items():
        say(f"pairs: {count:,} {why}, left out")
    labels = [
        dataclasses.replace(label, judge=public_judge(label.judge)) for label in selection.labels
    ]
    layout = write_pairs(to, {TRAIN: labels}, "jsonl", folder=True)
    (to / CARD).write_text(dataset_card(run, repo, labels, layout), encoding="utf-8")
    return Folder("dataset", to)


def _leave_out(folder: Path, local: str, name: str) -> None:
    """Write a name where files name a folder of this machine, be it in the escapes of JSON."""
    spellings = {json.dumps(local)[1:-1]: json.dumps(name)[1:-1], local: name}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in TEXTS and path.stat().st_size < 1 << 20:
            text = before = path.read_text(encoding="utf-8", errors="surrogateescape")
            for spelled, instead in spellings.items():
                text = text.replace(spelled, instead)
            if text != before:
                path.write_text(text, encoding="utf-8", errors="surrogateescape")
