"""Programs that tests start take signals, whatever the caller of the test run ignores, and end
with a benchmark that is told to end."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.program import TIMEOUT
from tests.signals import SIGNALS

ROOT = Path(__file__).parents[2]
# A test run that was told to ignore and to hold back signals, and what it starts.
CALLED = """
import signal, subprocess, sys
numbers = [int(number) for number in sys.argv[2:]]
if sys.argv[1] == "ignored":
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
else:
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
from tests.signals import let_programs_take_signals
let_programs_take_signals()
for number in numbers:
    signal.raise_signal(number) if sys.argv[1] == "ignored" else None  # does nothing here
    started = subprocess.Popen(["sleep", "10"])
    started.send_signal(number)
    print(started.wait())
"""


@pytest.mark.parametrize("how", ["ignored", "held back"])
def test_what_a_caller_keeps_from_a_test_run_reaches_its_programs(how: str) -> None:
    numbers = [number for number in SIGNALS if number != signal.SIGTSTP]  # that only stops
    command = [sys.executable, "-c", CALLED, how, *(str(int(number)) for number in numbers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.stdout.split() == [str(-number) for number in numbers], done.stderr


# A benchmark with a program on a terminal, which does not end by itself when it loses that.
BENCHMARK = """
import sys
from tests.end_to_end.pseudo_terminal import PseudoTerminal
from tests.signals import leave_when_told_to_end, let_programs_take_signals
let_programs_take_signals()
leave_when_told_to_end()
with PseudoTerminal(["sh", "-c", "trap '' HUP INT TERM; echo on; exec sleep 1000"]) as terminal:
    terminal.wait_for("on")
    print(terminal.pid, flush=True)
    if sys.argv[1] == "error":
        raise ValueError("an error")
    terminal.wait(1000)
"""


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "SIGHUP", "error"])
def test_what_a_benchmark_started_ends_with_it(end: str) -> None:
    command = [sys.executable, "-c", BENCHMARK, end]
    benchmark = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert benchmark.stdout
    program = int(benchmark.stdout.readline())
    if end != "error":
        benchmark.send_signal(signal.Signals[end])
    assert benchmark.wait(TIMEOUT) != 0
    benchmark.stdout.close()
    try:
        assert not lives(program)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs still, a second after it should have ended."""
    try:
        psutil.Process(pid).wait(1)
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # ended, and not yet collected
    return False
