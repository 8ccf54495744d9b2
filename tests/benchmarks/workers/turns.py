"""The worker's end of a contest: wait for the word, take a step, say how long it took.

A line "step" on standard input asks for a step; a line of JSON answers it. What the worker's
libraries print goes to standard error, so it cannot mix with the answers.
"""

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.machine.memory import process_memory


class Turns:
    """Times the steps of one worker and their phases, on so many of the machine's cores."""

    def __init__(self, threads: int, peak_memory: Callable[[], int] | None = None) -> None:
        """`peak_memory`: the most bytes held, in place of those of the process."""
        self._peak_memory = peak_memory or _peak_memory
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._started = self._processor = 0.0
        self._phases: dict[str, float] = {}

    def wait(self) -> None:
        """Return when the next step is asked for; end the process where there is none."""
        self._answers.write(json.dumps({"ready": True}) + "\n")
        if sys.stdin.readline().strip() != "step":
            self._answers.flush()
            os._exit(0)  # in the middle of a peer's training loop
        self._phases = {}
        self._started, self._processor = time.perf_counter(), time.process_time()

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with the seconds that it takes added to a phase."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self._phases[phase] = self._phases.get(phase, 0.0) + seconds

        return call

    def done(self) -> None:
        """Report the step; what no phase took is scoring and update."""
        step = time.perf_counter() - self._started
        phases = {"sample": 0.0, "judge": 0.0} | self._phases
        self.answer(
            {
                "step": step,
                "processor": time.process_time() - self._processor,
                **phases,
                "update": step - sum(phases.values()),
                "resident_bytes": process_memory(),
                "peak_bytes": self._peak_memory(),
            }
        )

    def answer(self, found: dict[str, Any]) -> None:
        """Report figures of any kind."""
        self._answers.write(json.dumps(found) + "\n")


def _peak_memory() -> int:
    """The most memory that this process ever held, in bytes.

    Linux's `ru_maxrss` would begin with what the parent held when it started this process.
    """
    try:
        text = Path("/proc/self/status").read_text()
        return int(re.findall(r"^VmHWM:\s+(\d+) kB", text, re.M)[0]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
