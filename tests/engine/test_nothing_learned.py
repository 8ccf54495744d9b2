"""A run without one pair to learn from: said early and at its end, in its files; nothing fused."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.data.pairs import Verdict
from engine.events import HealthChanged, Log, RunEnded
from engine.judges import llm
from engine.judges.queued import QueuedJudge
from engine.runs import archive
from engine.session import Session
from engine.settings.schema import Settings
from tests.engine.small_models import settings, write_model, write_prompts


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_model(folder / "judge", seed=4)
    write_prompts(folder / "prompts.jsonl", 20)
    return folder


@pytest.fixture
def chosen(files: Path) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        small = {
            "model": str(files / "policy"),
            "judge": str(files / "judge"),  # of random weights: it answers neither 1 nor 2
            "data": str(files / "prompts.jsonl"),
            "iters": 6,
            "batch_size": 4,
            "steps_per_report": 4,
            "steps_per_eval": 3,
            "eval_prompts": 2,
            "max_completion_length": 4,
            "fuse": True,
            "run_name": "one",
        }
        return settings(**{**small, **values})

    return make


Choose = Callable[..., Settings]


def train(chosen: Settings, run: archive.Run | None = None) -> tuple[Session, list[Any]]:
    session = Session(chosen, run)
    session.start()
    session.join()
    return session, session.drain()


def always(choice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the judge give one verdict on all pairs."""
    q = 0.9 if choice == "first" else 0.5
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)
    monkeypatch.setattr(llm, "verdict_of", lambda *_, **__: Verdict(choice, q, (q, q)))


@pytest.mark.parametrize("choice", ["invalid", "tie", "identical"])
def test_it_is_said_and_nothing_is_fused(
    choice: str, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {}
    if choice == "tie":
        always("tie", monkeypatch)
    elif choice == "identical":
        values = {"top_k": 1}
    session, events = train(chosen(**values))
    run = session.run
    assert run is not None
    reason = {
        "invalid": "without a valid verdict",
        "tie": "tied",
        "identical": "with two equal answers",
    }[choice]
    assert session.status == "untrained"
    why = session.error or ""
    assert re.match(rf"none of 24 pairs could be learned from: 2\d {reason}", why)
    (ended,) = (each for each in events if isinstance(each, RunEnded))
    assert (ended.status, ended.step, ended.error) == ("untrained", 6, why)
    state = run.state()
    assert (state["status"], state["error"]) == ("untrained", why)
    assert why.startswith(state["health"][0]["text"])
    assert not (run.path / "fused").exists()
    assert run.latest_checkpoint()
    # In the log once it is clear, after 16 pairs, and not at each step; and at the end.
    log = (run.path / "log.txt").read_text()
    assert log.count("warning health: none of 16 pairs could be learned from") == 1
    assert log.count("warning health: none of") == 1
    assert log.count(f"error   {why}") == 1
    told = [each for each in events if isinstance(each, HealthChanged)]
    assert [each.findings[0].text.split(":")[0] for each in told if each.step >= 4] == [
        f"none of {4 * step} pairs could be learned from" for step in (4, 5, 6)
    ]
    assert any(isinstance(each, Log) and each.text.startswith("health: none") for each in events)


def test_one_pair_is_something(chosen: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 pairs only the first of a step in the middle has a winner."""
    always("tie", monkeypatch)
    real, calls = QueuedJudge.collect, []

    def collect(judge: QueuedJudge) -> Any:
        judged = real(judge)
        if judged:
            calls.append(1)
            if len(calls) == 3:
                judged[0] = replace(judged[0], verdict=Verdict("first", 0.9, (0.9, 0.9)))
        return judged

    monkeypatch.setattr(QueuedJudge, "collect", collect)
    session, _ = train(chosen())
    assert session.run is not None
    assert (session.status, session.error) == ("finished", None)
    assert (session.run.path / "fused").exists()


@pytest.mark.parametrize("learned_before", [True, False])
def test_what_was_learned_before_a_stop_counts(
    learned_before: bool, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    always("first" if learned_before else "tie", monkeypatch)
    session = Session(chosen(iters=400, save_every=1))
    session.start()
    while not any(type(event).__name__ == "Saved" for event in session.drain()):
        assert session.alive, session.error
    session.stop()
    session.join()
    run = session.run
    assert run is not None
    assert (session.status, session.error) == ("stopped", None)  # it may yet learn
    reached = run.state()["step"]
    always("tie", monkeypatch)
    again, _ = train(chosen(iters=reached + 1), run)
    assert again.status == ("finished" if learned_before else "untrained")


def test_steps_that_are_all_dropped_are_the_reason(
    chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.train import update

    always("first", monkeypatch)
    monkeypatch.setattr(update, "_norm", lambda gradients: float("nan"))
    session, _ = train(chosen(iters=2))
    assert session.status == "untrained"
    assert "8 in steps that were dropped, not finite" in (session.error or "")
