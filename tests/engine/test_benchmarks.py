"""The benchmarks measure what is said of them, and keep what they have measured."""

import importlib.metadata
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from engine.settings.files import preset
from engine.starter import POLICY
from tests.benchmarks import contest, decoding, peers, presses, ranks, roofline
from tests.benchmarks.random_model import MEDIUM, STARTER

ROOT = Path(__file__).parents[2]


def test_the_starter_s_shape_is_the_bundled_policy_s():
    theirs = json.loads((POLICY / "config.json").read_text())
    ours = STARTER.config()
    sizes = [key for key, value in theirs.items() if type(value) is int and "token" not in key]
    sizes.remove("max_position_embeddings")
    assert {key: ours[key] for key in sizes} == {key: theirs[key] for key in sizes}


def test_the_medium_shape_has_as_many_parameters_as_is_told():
    millions = f"{MEDIUM.parameters / 1e6:.0f} million parameters"
    for told in ("README.md", "tests/benchmarks/README.md"):
        assert f"peak memory at {millions}" in (ROOT / told).read_text(encoding="utf-8")


def test_figures_are_kept_where_no_peer_is_installed(tmp_path: Path, monkeypatch):
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    peers.save(peers.Bench(tmp_path, False, 1, [], {"flat": 1}), tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text())["figures"] == {"flat": 1}


def test_presses_with_a_look_that_was_not_taken_are_not_done(tmp_path: Path):
    plan = presses.Plan("shorter", "starter", 0, (), looks=(15, 45))
    file = plan.file(tmp_path)
    file.write_text("".join(f'{{"press": {press}}}\n' for press in (0, 45)))
    assert not plan.done(tmp_path)
    file.write_text("".join(f'{{"press": {press}}}\n' for press in (0, 15, 30, 45)))
    assert plan.done(tmp_path)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("batch_size", (3, 1)),
        ("model", ("starter", "elsewhere")),
        ("quantization", ("none", "4-bit")),
        ("temperature", (0.8, 1.0)),
        ("train_type", ("dora", "dora")),
    ],
)
def test_runs_that_no_one_batch_decodes_are_refused(key: str, values: tuple[object, ...]):
    base = preset(presses.PRESET)
    presses.check_alike([base, base.model_copy(update={"seed": 1, "learning_rate": 1e-4})])
    with pytest.raises(SystemExit):
        presses.check_alike([base.model_copy(update={key: value}) for value in values])


def test_a_device_check_that_is_told_to_end_ends_its_part():
    program = """
import os, signal, sys
from tests.benchmarks import device_check

def run_part(*_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        yield
    finally:
        print("its process is killed")

device_check.run_part = run_part
sys.argv = ["device_check", "--only", "facts"]
device_check.main()
"""
    check = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 128 + signal.SIGTERM
    assert "its process is killed" in check.stdout


def test_a_run_that_fails_takes_the_other_with_it(tmp_path: Path, monkeypatch):
    class Started:
        def __init__(self, *_: object, **__: object) -> None:
            self.killed = False
            started.append(self)

        def wait(self) -> int:
            return 1

        def kill(self) -> None:
            self.killed = True

    started: list[Started] = []
    monkeypatch.setattr(subprocess, "Popen", Started)
    with pytest.raises(SystemExit, match="a run has failed"):
        ranks.measure(tmp_path / "home", [0, 1], {}, together=False)
    assert [each.killed for each in started] == [True, True]


def test_a_share_of_a_step_is_counted_once(monkeypatch):
    class Parts:
        def __init__(self, *_: object) -> None: ...

        def nothing(self) -> None: ...

        sample = judge = update = nothing

    seconds = {"drawing": 2.0, "sampling, drawing included": 5.0}
    timed = iter([1.0, 1.0, *seconds.values()])  # two products before
    monkeypatch.setattr(roofline, "Parts", Parts)
    monkeypatch.setattr(roofline, "fastest", lambda *_: next(timed))
    found = roofline.shares(peers.Setting("tiny", STARTER, completion=2), Parts(), 1)  # pyright: ignore[reportArgumentType]
    assert found["Python"] / found["drawing"] == pytest.approx(3 / 2)


def test_contestants_of_one_worker_have_a_log_each(tmp_path: Path, monkeypatch):
    class Ended:
        stdout = io.StringIO()

        def __init__(self, command: list[str], stderr: io.TextIOWrapper, **_: object) -> None:
            stderr.write(f"what {json.loads(command[-1])['who']} said")
            stderr.close()

    monkeypatch.setattr(subprocess, "Popen", Ended)
    told = {"folder": str(tmp_path), "threads": 1}
    one, other = (contest.Contestant(name, "peer", {"who": name}) for name in ("one", "other"))
    for each in (one, other, one):
        with pytest.raises(SystemExit, match=f"{each.name} ended: what {each.name} said"):
            each.start(told)
    assert len(list(tmp_path.iterdir())) == 2


def test_transformers_draws_from_all_tokens_as_this_program_does(tmp_path: Path, monkeypatch):
    torch, transformers = MagicMock(), MagicMock()
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    decoding.by_transformers(tmp_path)(2)
    model = transformers.AutoModelForCausalLM.from_pretrained.return_value
    assert model.generate.call_args.kwargs["top_k"] == 0
