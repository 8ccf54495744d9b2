"""What a run unlearns is told in its files, its log and its health."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.control import Control
from engine.data.order import PromptOrder
from engine.events import Event, Guarded, Log
from engine.runs import archive
from engine.session import Session
from engine.settings.checks import problems
from engine.settings.files import preset
from engine.settings.schema import Settings, no_effect
from engine.train.journal import Journal
from engine.train.state import TrainingState
from engine.train.upkeep import Upkeep
from engine.train.watch import guard as guard_module
from engine.train.watch.findings import findings_of
from engine.train.watch.guard import Guard, start_in_words, suites_of
from engine.train.watch.health import Health
from tests.engine.small_models import settings

TIMEOUT = 240.0  # seconds
Scores = dict[str, list[bool]]


def small(tmp_path: Path, **values: Any) -> Settings:
    """Two quick steps of the starter."""
    few = {
        "judge": "rule:length",
        "batch_size": 2,
        "iters": 2,
        "steps_per_eval": -1,
        "test": False,
        "fuse": False,
        "output_root": str(tmp_path),
    }
    return Settings.model_validate(preset("starter").model_dump() | few | values)


def run_to_its_end(session: Session) -> list[Event]:
    session.start()
    assert session.join(TIMEOUT)
    return session.drain()


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Log)]


@pytest.fixture
def forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second measurement on, the first six facts are wrong, as they are never before."""
    measure = Guard.measure
    count = iter(range(100))

    def forgetful(self: Guard, policy: Any) -> Scores:
        scores = measure(self, policy)
        lost = 6 if next(count) else 0
        return {name: [False] * lost + items[lost:] for name, items in scores.items()}

    monkeypatch.setattr(Guard, "measure", forgetful)


def test_the_starter_knows_its_world_and_two_small_steps_take_nothing(tmp_path: Path) -> None:
    session = Session(small(tmp_path, learning_rate=0.01))
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    assert any("guard: right at the start: 39 of 40 facts, 20 of 20 s" in t for t in texts(events))
    [told] = [event for event in events if isinstance(event, Guarded)]
    assert told.step == 2
    assert [(each.suite, each.items, each.lost) for each in told.suites] == [
        ("facts", 40, 0),
        ("sentences", 20, 0),
    ]
    assert session.run is not None
    state = session.run.state()
    assert state["guard_step"] == 2
    assert [each["kept"] for each in state["guard"]] == [39, 20]
    assert not state.get("health")


@pytest.mark.usefixtures("forgets")
def test_what_is_lost_is_told_with_what_is_won(tmp_path: Path) -> None:
    session = Session(small(tmp_path, guard_suites=["facts"]))
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    assert any("health: lost 6 of 39 facts." in text for text in texts(events))
    assert session.run is not None
    [finding] = session.run.state()["health"]
    assert finding["text"] == "lost 6 of 39 facts"


@pytest.mark.usefixtures("forgets")
def test_it_stops_where_it_should_and_goes_on_when_resumed(tmp_path: Path) -> None:
    session = Session(
        small(tmp_path, guard="stop", guard_suites=["facts"], steps_per_guard=1, iters=3)
    )
    run_to_its_end(session)
    assert session.status == "stopped"
    assert (session.error or "").startswith(
        "stopped with a checkpoint: the guard: it lost 6 of 39 facts"
    )
    assert session.run is not None
    assert int(session.run.checkpoints()[-1].name) == 1
    saved = json.loads((session.run.checkpoints()[-1] / "state.json").read_text())
    assert (sum(saved["could"]["facts"]), saved["guarded"]) == (39, 1)
    again = Session(
        session.run.settings().model_copy(update={"guard": "warn"}),
        archive.open_run(session.run.path),
    )
    events = run_to_its_end(again)
    assert again.status == "finished", again.error
    assert [event.step for event in events if isinstance(event, Guarded)] == [2, 3]


def test_a_loss_that_is_found_on_the_way_back_stops_the_run_too(tmp_path: Path) -> None:
    """A stop had cut the measurement off; and a person has added to a suite of their own since."""
    chosen = small(tmp_path, guard="stop", steps_per_guard=1, collapse_watch="off")
    run, control, events = archive.create(chosen), Control(), list[Event]()
    state = TrainingState(PromptOrder(4, 0), step=1)
    state.could = {"facts": [True] * 8, "mine": [True] * 8}
    scores = {"facts": [False] * 8, "mine": [False] * 9}
    parts: dict[str, Any] = {
        "update": SimpleNamespace(policy=None),
        "guard": SimpleNamespace(measure=lambda policy: scores),
        "judge": None,
    }
    journal = Journal(run, events.append, control)
    upkeep = Upkeep(
        chosen,
        state=state,
        total_steps=2,
        evaluations={},
        journal=journal,
        control=control,
        **parts,
    )
    upkeep.before_training()
    assert control.stopping
    assert "the guard: it lost 8 of 8 facts that" in (upkeep.halted or "")
    assert any("guard: mine has not the items" in text for text in texts(events))


def test_off_measures_nothing(tmp_path: Path) -> None:
    session = Session(small(tmp_path, guard="off"))
    events = run_to_its_end(session)
    assert session.status == "finished", session.error
    assert not any("guard" in text for text in texts(events))
    assert session.run is not None
    assert "guard" not in session.run.state()


def test_a_bad_suite_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("models were loaded")

    monkeypatch.setattr("engine.train.loading.load_roles", never)
    file = tmp_path / "own.jsonl"
    file.write_text('{"prompt": "p", "check": "equals"}\n', encoding="utf-8")
    session = Session(small(tmp_path, guard_suites=[str(file)]))
    run_to_its_end(session)
    assert session.error == f"guard_suites: {file}:1: equals needs a text as value"
    assert session.error_is_users


def test_the_suites_are_those_that_suit_the_model() -> None:
    assert [each.name for each in suites_of(preset("starter"))] == ["facts", "sentences"]
    assert len(suites_of(settings(model="some/model", guard="warn"))) == 6
    assert suites_of(settings(guard="off")) == []
    assert {"guard_suites", "steps_per_guard"} <= set(no_effect(settings(guard="off")))
    assert not problems(preset("starter"))


def test_too_few_to_lose_is_one_short_line() -> None:
    scores = {"sums": [False] * 24, "choice": [True] * 5 + [False] * 19, "facts": [True] * 30}
    assert start_in_words(scores) == (
        "guard: right at the start: 30 of 30 facts; too few right at the start to lose: "
        "sums 0 of 24, choice 5 of 24"
    )
    assert guard_module.loss_in_words([]) is None


def test_the_health_line_names_the_trade() -> None:
    health = Health()
    health.unlearned = "lost 6 of 40 facts"
    health.add({"win_rate": 0.71})
    [finding] = findings_of(health)
    assert finding.text == "wins 71%, and lost 6 of 40 facts"
    assert findings_of(Health(json.loads(json.dumps(health.state())))) == (finding,)


def test_a_run_of_before_is_not_guarded() -> None:
    state = TrainingState(PromptOrder(10, 0), step=5)
    before = state.to_json(())
    del before["could"], before["guarded"]
    state.restore(before)
    assert (state.could, state.guarded) == ({}, 5)
