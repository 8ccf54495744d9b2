"""A whole run that kills itself at its n-th change of the disk: before it, or within or after it.

`python -m tests.end_to_end.cut_short VALUES` reads a line of JSON a run, {"home": FOLDER, "at": N,
"within": BOOL}, and answers with how it ended. Each run is a fork of this process, which has
imported all that a run needs and computed nothing.
"""

import builtins
import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.events import Choice
from engine.machine.blas import load_fast_blas
from engine.runs import archive, queue, relabel, remote, sweep
from engine.runs.folder import PAIRS, RETRACTED, UNDECIDED, Run
from engine.session import Session
from engine.settings.files import from_mapping
from tests.end_to_end.resumed_run import by_mean_alone
from tui.shell import preferences

SWEEP = "of-four"
WENT_BACK = "went back once"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def end() -> None:
    """Die as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


class Disk:
    """Counts what changes the disk under a folder, and ends the process at one of the changes."""

    def __init__(self, folder: Path, at: int, within: bool) -> None:
        self._folder, self._at, self._within = str(folder), at, within
        self._descriptors: set[int] = set()
        self.count = 0

    def watch(self) -> None:
        """Stand before every call that changes the disk."""
        import mlx.core as mx

        for name in ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "chmod"):
            setattr(os, name, self._whole(getattr(os, name)))
        for name in ("fsync", "ftruncate"):
            setattr(os, name, self._on_descriptor(getattr(os, name)))
        for name in ("write", "pwrite"):
            setattr(os, name, self._in_part(getattr(os, name)))
        os.open, os.close = self._opening(os.open), self._closing(os.close)  # type: ignore[assignment]
        io.open = builtins.open = self._file(io.open)  # type: ignore[assignment]
        mx.save_safetensors = self._filling(mx.save_safetensors, place=0)
        shutil.copyfile = self._filling(shutil.copyfile, place=1)

    def _ours(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder)

    def _due(self) -> bool:
        """Whether this is the change at which to end; ends the process at once if before it."""
        self.count += 1
        due = self.count == self._at
        if due and not self._within:
            end()
        return due

    def _whole(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A change that the system makes in one step; what follows it is not made."""

        def watched(path: Any, *rest: Any, **named: Any) -> Any:
            due = (self._ours(path) or named.get("dir_fd") is not None) and self._due()
            try:
                return call(path, *rest, **named)
            finally:
                if due:
                    end()

        return watched

    def _on_descriptor(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(descriptor: int, *rest: Any) -> Any:
            due = descriptor in self._descriptors and self._due()
            try:
                return call(descriptor, *rest)
            finally:
                if due:
                    end()

        return watched

    def _in_part(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A write, of which half is made."""

        def watched(descriptor: int, data: Any, *rest: Any) -> Any:
            if descriptor in self._descriptors and self._due():
                call(descriptor, memoryview(data)[: len(data) // 2], *rest)
                end()
            return call(descriptor, data, *rest)

        return watched

    def _opening(self, call: Callable[..., int]) -> Callable[..., int]:
        def watched(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            ours = self._ours(path)
            due = ours and flags & WRITING and not os.path.lexists(path) and self._due()
            descriptor = call(path, flags, *rest, **named)
            if due:
                end()
            if ours:
                self._descriptors.add(descriptor)
            return descriptor

        return watched

    def _closing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def watched(descriptor: int) -> None:
            self._descriptors.discard(descriptor)
            call(descriptor)

        return watched

    def _filling(self, call: Callable[..., Any], place: int) -> Callable[..., Any]:
        """A call that writes the file which its argument at `place` names; half of it is there."""

        def watched(*given: Any, **named: Any) -> Any:
            due = self._ours(given[place]) and self._due()
            done = call(*given, **named)
            if due:
                self._halve(given[place])
            return done

        return watched

    def _file(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A file that Python writes: nothing of it is there, and then half."""

        def watched(path: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            writes = self._ours(path) and bool(set(mode) & set("wax+"))
            due = writes and self._due()
            file = call(path, mode, *rest, **named)
            if due:
                end()
            if writes:
                close = file.close

                def closed() -> None:
                    due = not file.closed and self._due()
                    close()
                    if due:
                        self._halve(path)

                file.close = closed
            return file

        return watched

    @staticmethod
    def _halve(path: Any) -> None:
        os.truncate(path, os.path.getsize(path) // 2)
        end()


def go_through(values: dict[str, Any], home: Path) -> None:
    """Do all that changes the disk, or what is left of it after a kill."""
    preferences.save(theme="dark")
    if SWEEP not in sweep.names():
        grid = ["beta=0.1,0.2", "seed=0,1"]
        sweep.write_sweep(sweep.plan_sweep(values | {"run_name": None}, "the test", grid, SWEEP))
    if not queue.read_queue().cells:
        queue.add_sweep(sweep.open_sweep(SWEEP))
    settings = from_mapping(values, "the test")
    assert settings.run_name
    try:
        run = archive.open_run(settings.run_name)
    except UserError:
        run = None
    if run is None or run.state()["status"] != "finished":
        session = Session(settings, run)
        session.start()
        session.join()
        assert (session.status, session.error) == ("finished", None)
        run = session.run
    assert run is not None
    change_label(run)
    take_back_label(run)
    if run.state()["notes"] != WENT_BACK:
        session = Session(settings, run, back_to=3)
        session.start()
        session.join()
        assert (session.status, session.error) == ("finished", None)
        run.annotate(notes=WENT_BACK)
    remote.post(run, "stop")
    remote.take(run)
    from engine.export import export

    for fuse in (False, True):
        to = home / "exported" / ("fused" if fuse else "adapters")
        if not to.exists():
            export(run, to, fuse=fuse)


def change_label(run: Run) -> None:
    """Move the first pair between the run's two files; as a person would, who looks first."""
    relabel.settle_if_free(run)
    lines = [line for file in (PAIRS, UNDECIDED) for line in run.read(file)]
    first = min(line["pair_id"] for line in lines)
    choices: list[Choice] = ["first", "tie"]
    for choice in choices:
        relabel.relabel(run, first, choice)


def take_back_label(run: Run) -> None:
    """Take the label of the second pair back, which is of a step that the run never goes behind."""
    files = (PAIRS, UNDECIDED, RETRACTED)
    second = sorted({line["pair_id"] for file in files for line in run.read(file)})[1]
    with run.lock():
        relabel.relabel_own(run, second, None)


def in_a_fork(values: dict[str, Any], home: Path, at: int, within: bool) -> dict[str, Any]:
    """Go through it all in a child; how that ended, and how many changes it made."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.environ |= {"LORA_STUDIO_HOME": str(home), "HOME": str(home)}
            disk = Disk(home, at, within)
            disk.watch()
            go_through(values, home)
            os.write(writing, str(disk.count).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as answer:
        count = answer.read()
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status), "changes": int(count or 0)}


def main(values: str) -> None:
    """Answer each line with the end of a run."""
    load_fast_blas()
    import mlx_lm.models.qwen3  # noqa: F401
    import transformers.models.qwen2.tokenization_qwen2  # noqa: F401

    from engine.judges import human, llm  # noqa: F401

    llm.LEAST_MASS = 0.0
    llm.verdict_of = by_mean_alone
    for line in sys.stdin:
        asked = json.loads(line)
        home = Path(asked["home"])
        home.mkdir(parents=True, exist_ok=True)
        ended = in_a_fork(json.loads(values), home, asked["at"], asked["within"])
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
