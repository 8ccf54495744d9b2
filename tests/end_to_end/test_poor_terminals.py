"""Terminals that the app cannot draw on: one line says so, and training without it still works."""

import sys
from pathlib import Path

import pytest

from tests.end_to_end.program import SMALL, words
from tests.end_to_end.pseudo_terminal import PseudoTerminal


def on(home: Path, *arguments: str, size: tuple[int, int], term: str | None) -> PseudoTerminal:
    """The program on a terminal of that size, with TERM as given or not set."""
    environment = {"LORA_STUDIO_HOME": str(home)} | ({"TERM": term} if term is not None else {})
    unset = [] if term is not None else ["env", "-u", "TERM"]
    return PseudoTerminal(
        [*unset, sys.executable, "-m", "tui.main", *arguments],
        columns=size[0],
        rows=size[1],
        environment=environment,
    )


POOR = [((20, 5), "xterm-256color"), ((80, 24), "dumb"), ((80, 24), ""), ((80, 24), None)]


@pytest.mark.parametrize(("size", "term"), POOR)
def test_the_app_says_why_in_one_line(
    size: tuple[int, int], term: str | None, tmp_path: Path
) -> None:
    with on(tmp_path, size=size, term=term) as terminal:
        assert terminal.wait() == 2
        written = b"".join(data for _, data in terminal.arrived).decode()
    assert written.startswith("lora-studio: ")
    assert written.count("\n") == 1
    assert written.strip().isprintable()
    assert ("20 x 5" if size == (20, 5) else "TERM") in written
    assert "lora-studio train" in written  # what to do instead


@pytest.mark.parametrize(
    ("size", "term"), [pytest.param(*POOR[0], marks=pytest.mark.slow), POOR[3]]
)
def test_training_without_the_app_works(
    size: tuple[int, int], term: str | None, tmp_path: Path
) -> None:
    short = words(**SMALL | {"iters": 1, "steps_per_eval": -1}, run_name="poor")
    with on(tmp_path, "train", "starter", *short, size=size, term=term) as terminal:
        assert terminal.wait() == 0
        written = b"".join(data for _, data in terminal.arrived).decode()
        assert terminal.switched_on() == set()
    assert "Traceback" not in written
    assert (tmp_path / "runs" / "poor" / "checkpoints").is_dir()
