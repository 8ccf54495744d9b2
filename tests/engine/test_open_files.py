"""The limit of open files: what mlx-lm's import does to it, and where it may not be raised."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.program import SMALL, TIMEOUT, words

# Root may raise a hard limit on Linux, until PR_CAPBSET_DROP takes CAP_SYS_RESOURCE from it.
LIMITED = """
import ctypes, os, resource, sys
soft, hard, *command = sys.argv[1:]
if sys.platform.startswith("linux"):
    ctypes.CDLL(None).prctl(24, 24)
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
os.execv(sys.executable, [sys.executable, *command])
"""
LIMITS = "import resource; print(*resource.getrlimit(resource.RLIMIT_NOFILE))"


def with_limits(soft: int, hard: int, *command: str) -> subprocess.CompletedProcess[str]:
    """A program of Python's that may have so many files open, and cannot allow itself more."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(soft), str(hard), *command],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def needs(files: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        pytest.skip(f"this process may have fewer than {files} files open")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((256, 1024), (1024, 1024)),  # as far as it goes
        ((1024, 1024), (1024, 1024)),
        ((256, 8192), (2048, 8192)),  # and not to 4096
        ((6000, 8192), (6000, 8192)),
    ],
)
def test_mlx_lm_gets_what_the_system_allows(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    needs(before[1])
    code = f"from engine.machine.blas import import_mlx; import_mlx(); {LIMITS}"
    done = with_limits(*before, "-c", code)
    assert done.returncode == 0, done.stderr
    assert tuple(map(int, done.stdout.split())) == after


def test_a_run_trains_and_is_exported_where_few_files_may_be_open(studio_home: Path) -> None:
    small = words(**SMALL | {"iters": 1, "steps_per_eval": -1})
    done = with_limits(256, 1024, "-m", "tui.main", "train", "starter", *small, "--run-name", "one")
    assert done.returncode == 0, done.stderr
    to = studio_home / "exported"
    done = with_limits(256, 1024, "-m", "tui.main", "export", "one", "--to", str(to), "--fuse")
    assert done.returncode == 0, done.stderr
    assert (to / "model.safetensors").exists()


def test_doctor_says_how_many() -> None:
    done = with_limits(256, 1024, "-m", "tui.main", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["open_files"] == {"now": 256, "at_most": 1024}
    done = with_limits(1024, 1024, "-m", "tui.main", "doctor")
    assert "\nopen files      now 1024, at most 1024\n" in done.stdout
