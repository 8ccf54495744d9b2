"""A checkpoint's folder on disk: its manifest, what is damaged in it, and which ones are kept.

Each checkpoint tells in its manifest which step is the best of its run as of then, and which ones
are there to go back to, should the text break. So the newest one says which steps to keep, and one
that a run goes back to says what was the best before it.
"""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.json_number import count, finite, whole
from engine.runs import durable, json_lines
from engine.runs.json_lines import Record

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


def write_manifest(
    folder: Path, best: Best | None, sound: Sequence[int] = (), *, extra: bool = False
) -> None:
    """List every file of a checkpoint with its size and digest.

    Args:
        best: the best step so far.
        sound: the steps whose checkpoints are there to go back to where the text breaks.
        extra: it is there for one of these reasons alone, and not by `save_every` or on request.
    """
    files: dict[str, dict[str, Any]] = {}
    for path in filter(Path.is_file, sorted(folder.rglob("*"))):
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
    manifest = {
        "files": files,
        "best": asdict(best) if best else None,
        "sound": list(sound),
        "extra": extra,
    }
    durable.write_file(folder / MANIFEST, json_lines.to_json(manifest) + "\n")


def best_as_of(checkpoint: Path) -> Best | None:
    """The best step of the run as of a checkpoint; None where nothing was measured, or an older
    version wrote it."""
    best = _manifest(checkpoint).get("best")
    if not isinstance(best, dict):
        return None
    step = count(best.get("step"))
    rates = [finite(best.get(name)) for name in ("win_rate", "low", "kl")]
    if step is None or None in rates:
        return None
    win_rate, low, kl = (rate or 0.0 for rate in rates)
    return Best(step, win_rate, low, kl)


def to_prune(checkpoints: Sequence[Path], keep: int) -> list[Path]:
    """Which of a run's checkpoints, given oldest first, may go. Those stay that are as new as the
    `keep` newest complete ones without the extra ones, and the newest of all; the best step that
    any of these names; and those that the newest calls sound."""
    complete = [each for each in checkpoints if not checkpoint_damage(each, contents=False)]
    if not complete:
        return []
    regular = [each for each in complete if not _manifest(each).get("extra")]
    oldest = checkpoints.index(regular[-keep]) if len(regular) >= keep else 0
    newest = [each for each in checkpoints[oldest:] if not _manifest(each).get("extra")]
    newest.append(complete[-1])
    steps = {best.step for each in newest if (best := best_as_of(each))}
    sound = _manifest(complete[-1]).get("sound")
    steps.update(whole(step) for step in (sound if isinstance(sound, list) else ()))
    return [each for each in checkpoints if each not in newest and int(each.name) not in steps]


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


def _manifest(checkpoint: Path) -> Record:
    """What a manifest says; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        data = durable.read_file(checkpoint / MANIFEST, MANIFEST_LIMIT)
        return json_lines.from_line(data) or {}
    return {}


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
