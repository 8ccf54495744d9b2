"""The search of the learning rate on the starter, from far off its preset's rate."""

import json
import signal
from pathlib import Path

import pytest

from engine.settings.files import preset
from tests.end_to_end.in_training import until
from tests.end_to_end.program import TIMEOUT, run, start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    process = start("rates", "starter", home=home, TMPDIR=str(temporary))
    until(lambda: any(temporary.glob("lora-studio-*/runs/*/pairs.jsonl")))
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 128 + number, err
    assert (out, err.splitlines()[-1]) == ("", "stopped: nothing is kept")
    assert list(temporary.glob("lora-studio-*")) == []
    assert not (home / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("begin", [0.05, 10.0])
def test_it_picks_within_a_factor_of_three_of_the_preset(begin: float, tmp_path: Path) -> None:
    done = run("rates", "starter", "--set", f"learning_rate={begin}", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    known = preset("starter").learning_rate
    print(f"from {begin:g}: {said['picked']:g} in {said['seconds']:.0f} s, preset {known:g}")
    assert known / 3 <= said["picked"] <= 3 * known
    assert not (tmp_path / "runs").exists()
