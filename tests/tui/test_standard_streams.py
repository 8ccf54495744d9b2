"""The command line where its standard streams are closed, or take no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = f"{sys.executable} -m tui.main"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["runs", "config", "doctor", "--help"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(command: str, closed: str, studio_home: Path) -> None:
    done = shell(f"{PROGRAM} {command} {closed}")
    assert (done.returncode, done.stderr) == (0, "")


def test_bad_input_is_bad_input_where_nobody_reads_of_it(studio_home: Path) -> None:
    assert shell(f"{PROGRAM} resume none 2>&-").returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["runs", "config", "doctor", "--help", "--version"])
def test_a_full_disk_is_one_sentence(command: str, studio_home: Path) -> None:
    done = shell(f"{PROGRAM} {command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("lora-studio: the disk is full")
    assert done.stderr.count("\n") == 1
