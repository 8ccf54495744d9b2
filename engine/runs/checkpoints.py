"""A checkpoint's folder on disk: its manifest, what is damaged in it, and the best step so far.

Each checkpoint tells in its manifest which step is the best of its run as of then. So the newest
one says which step to keep, and one that a run goes back to says what was the best before it.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.json_number import count, finite
from engine.runs import durable, json_lines

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; a longer one is not one of ours
CHECKPOINT_NAME = re.compile(r"\d{7,12}")


@dataclass(frozen=True, slots=True)
class Best:
    """The step whose policy is the best of its run so far, by its held-out win rate.

    `low` is the lower bound of the win rate's 95% interval, `kl` in nats a completion. Step 0 is
    the start, which wins half of the time against itself.
    """

    step: int
    win_rate: float
    low: float
    kl: float

    @property
    def is_start(self) -> bool:
        """Whether no step is better than the model that the run starts from."""
        return self.step == 0


def in_words(best: Best) -> str:
    """The best step with its win rate, for a sentence."""
    if best.is_start:
        return "the start"
    return f"step {best.step:,} ({best.win_rate:.0%}, at least {best.low:.0%})"


def write_manifest(folder: Path, best: Best | None) -> None:
    """List every file of a checkpoint with its size and digest, and name the best step so far."""
    files: dict[str, dict[str, Any]] = {}
    for path in filter(Path.is_file, sorted(folder.rglob("*"))):
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
    manifest = {"files": files, "best": asdict(best) if best else None}
    durable.write_file(folder / MANIFEST, json_lines.to_json(manifest) + "\n")


def best_as_of(checkpoint: Path) -> Best | None:
    """The best step of the run as of a checkpoint; None where nothing was measured, or an older
    version wrote it."""
    try:
        manifest = json_lines.from_line(durable.read_file(checkpoint / MANIFEST, MANIFEST_LIMIT))
    except OSError:
        return None
    best = (manifest or {}).get("best")
    if not isinstance(best, dict):
        return None
    step = count(best.get("step"))
    rates = [finite(best.get(name)) for name in ("win_rate", "low", "kl")]
    if step is None or None in rates:
        return None
    win_rate, low, kl = (rate or 0.0 for rate in rates)
    return Best(step, win_rate, low, kl)


def to_prune(checkpoints: Sequence[Path], keep: int, sound: Sequence[int] = ()) -> list[Path]:
    """Which of a run's checkpoints, given oldest first, may go: those older than the `keep` newest
    complete ones, but for the best step that any of these names, and for the steps in `sound`."""
    complete = [each for each in checkpoints if not checkpoint_damage(each, contents=False)]
    if len(complete) < keep:
        return []
    newest = checkpoints[checkpoints.index(complete[-keep]) :]
    best = {found.step for each in newest if (found := best_as_of(each))}
    stays = best.union(sound)
    return [each for each in checkpoints if each not in newest and int(each.name) not in stays]


def checkpoint_damage(checkpoint: Path, *, contents: bool = True) -> str | None:
    """What is wrong with a checkpoint, or None. Without `contents`, sizes alone are compared."""
    try:
        manifest = json_lines.from_line(durable.read_file(checkpoint / MANIFEST, MANIFEST_LIMIT))
        files: dict[str, dict[str, Any]] = (manifest or {})["files"]
        for name, facts in files.items():
            file = checkpoint / name
            if not file.is_file() or file.stat().st_size != facts["bytes"]:
                return f"{name} does not have the size that {MANIFEST} states"
            if contents and _digest(file) != facts["sha256"]:
                return f"{name} is not what was written"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
