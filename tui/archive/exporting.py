"""Exporting a run beside the app: a process of its own, by the command line's means."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.data_folder import at_home
from engine.file_kinds import exists, is_dir
from engine.runs import durable
from engine.runs.folder import Run
from tui.text.format import duration, size
from tui.text.safe_text import safe_line

POLL_SECONDS = 0.5  # between two looks at how far it is
# How lines of the command begin: where it is, and above what runs it, a line each.
WRITTEN, TO_RUN, COMMAND = "written to ", "to run it:", "  "
WHAT = (
    ("adapters", "small; mlx-lm loads them beside the model"),
    ("model", "fused and whole; mlx-lm loads it, transformers most kinds"),
    ("peft", "the adapters for peft and transformers"),
    ("gguf", "the model in 8 bits for llama.cpp and Ollama"),
)
OPTIONS = {"adapters": [], "model": ["--fuse"], "peft": ["--peft"], "gguf": ["--gguf", "q8_0"]}


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export, in a sentence, and command lines that run what was written."""

    sentence: str
    commands: tuple[str, ...] = ()


def suggested(name: str, what: str) -> Path:
    """A new folder for what is exported of the run of that name."""
    try:
        here = Path.cwd()
    except OSError:  # it was removed
        here = Path.home()
    return here / f"{safe_line(name)}-{what}"


def refused(text: str) -> str | None:
    """Why the folder that `text` names cannot be written; None: it may be."""
    folder = at_home(text)
    try:
        occupied = exists(folder) and (not is_dir(folder) or any(folder.iterdir()))
    except (OSError, ValueError):
        return "that is no folder that can be written"
    if occupied:
        return "there is something in it already"
    if not text.strip():
        return "give the name of a new folder"
    above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if not above.is_dir():
        return f"{safe_line(str(above))} is a file, and no folder"
    return None if os.access(above, os.W_OK) else f"{safe_line(str(above))} cannot be written"


def weights_to_choose(run: Run) -> list[tuple[str, str]]:
    """Which weights of a run may be exported, with what they are; none where there is no choice."""
    best, checkpoints = run.best(), run.checkpoints()
    if best is None or not checkpoints or best.step == int(checkpoints[-1].name):
        return []
    last = ("last", f"step {int(checkpoints[-1].name):,}")
    if best.is_start:
        return [("last", f"{last[1]}; by its win rate no step was better than the start")]
    return [("best", f"step {best.step:,}: it won {best.win_rate:.0%} of held-out prompts"), last]


async def export(
    run: Path, what: str, to: Path, tell: Callable[[str], None], *, keep: str | None = None
) -> Exported:
    """Write what is exported of a run into the folder `to`; what came of it.

    `keep` says of which step, the best or the last; else the run's settings do.
    `tell` is given how far it is from time to time.
    """
    which = ["--keep", keep] if keep else []
    options = [*OPTIONS[what], *which]
    process = None
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tui.main", "export", str(run), "--to", str(to), *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        start, ending = time.monotonic(), asyncio.ensure_future(process.communicate())
        while not ending.done():
            seconds = time.monotonic() - start
            so_far = await asyncio.to_thread(_bytes_in, durable.making_of(to, private=False))
            far = f"{size(so_far)} written" if so_far else "reading the run"
            tell(f"exporting the {what} · {far} · {duration(seconds)}")
            await asyncio.wait([ending], timeout=POLL_SECONDS)
        output, _ = ending.result()
        status = process.returncode
    finally:
        if process is None or process.returncode is None:  # the program ends
            if process:  # else asyncio has ended what had begun
                process.kill()
                await process.wait()
            await asyncio.to_thread(durable.tidy_folder, to, private=False)
    lines = output.decode(errors="replace").strip().splitlines() or ["no answer"]
    if status == 0:
        commands = tuple(line.strip() for line in lines if line.startswith(COMMAND))
        others = [line for line in lines if not line.startswith((COMMAND, WRITTEN, TO_RUN))]
        remarks = [safe_line(line.removeprefix("note: ")) for line in others]
        return Exported("; ".join([f"exported to {safe_line(str(to))}", *remarks]), commands)
    return Exported(f"not exported: {safe_line(lines[-1].removeprefix('lora-studio: '))}")


def _bytes_in(folder: Path) -> int:
    """The bytes of a folder's files that are there at this moment."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    except OSError:  # not begun, or done
        return 0
