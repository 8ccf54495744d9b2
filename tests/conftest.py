"""Every test runs offline, with a home of its own, and with the fast BLAS under MLX, whatever the
caller ignores or allows."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Processes that test side by side share the cores: threads of a BLAS that wait for each other
# take a quarter of all time. Read before MLX is loaded, here and in the programs that tests start.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    share = str(max(1, (os.cpu_count() or 1) // workers))
    for library in ("MKL", "OMP", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", share)

# Tests, and programs that they start by the hundred, are compiled once, whatever the caller keeps.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import contextlib
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import hypothesis
import platformdirs
import pytest

from engine.machine.blas import import_mlx
from tests.command import Command, make_command
from tests.signals import let_programs_take_signals

sys.dont_write_bytecode = False
let_programs_take_signals()
import_mlx()  # before any test does

# Of packages that bring a plugin, pytest parses each module that is imported, and CPython before
# 3.11.8 fails where two threads parse at the same time ("AST constructor recursion depth
# mismatch"). So those that a run imports on the engine's thread are here by then.
PARSED_BY_PYTEST = (anyio, platformdirs)

# A busy machine is no failure, and the same change gives the same result; other examples are tried
# by --hypothesis-profile=search.
hypothesis.settings.register_profile("studio", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("studio")


def pytest_collection_finish() -> None:
    """What is loaded by now stays. Looking through it for garbage, time and again, takes a fifth of
    the time of the tests of screens."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True)
def studio_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the program keeps its things in, empty at the start of each test."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("LORA_STUDIO_HOME", str(home))
    return home


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `lora-studio` with arguments in this process."""
    return make_command(monkeypatch, capfd)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 16 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def fill_disk(small_disk: Path) -> Callable[[], Path]:
    """Takes all the room that is left on the small disk; returns the file that takes it."""

    def fill() -> Path:
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        assert os.statvfs(small_disk).f_bavail == 0
        return ballast

    return fill
