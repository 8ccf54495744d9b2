"""Programs that tests start take signals, whatever the caller of the test run ignores."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.program import TIMEOUT
from tests.signals import SIGNALS

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
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.stdout.split() == [str(-number) for number in numbers], done.stderr
