"""Every test runs offline, with a home of its own, and with the fast BLAS under MLX."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest

from engine.hardware import load_fast_blas
from tests.command import Command, make_command

load_fast_blas()  # before any test imports mlx


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
