"""The journal: what a run's folder is told, also when the disk refuses for a while."""

from pathlib import Path
from typing import Any

import pytest

from engine.control import Control
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.events import Event, Log, PairJudged, Progress, Saved
from engine.runs import archive
from engine.runs.folder import LOG, METRICS, PAIRS, SAMPLED, UNDECIDED, Run
from engine.runs.storage import StorageError
from engine.train import journal as subject
from engine.train.journal import Journal
from tests.engine.small_models import pair, settings

pytestmark = pytest.mark.quick


@pytest.fixture
def run() -> Run:
    return archive.create(
        settings(model="starter", judge="starter", data="starter", run_name="one")
    )


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def journal(run: Run, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(subject, "RETRY_SECONDS", 0.001)
    return Journal(run, events.append, Control())


def refuse(run: Run, method: str, times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make a method of the folder fail so many times."""
    left, real = [times], getattr(run, method)

    def refused(*args: Any, **kwargs: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise StorageError(run.path / "file", OSError(28, "No space left on device"))
        return real(*args, **kwargs)

    monkeypatch.setattr(run, method, refused)
    return left


JUDGED = [
    JudgedPair(pair(0), Verdict("first", 0.9, (0.9, 0.9))),
    JudgedPair(pair(1), Verdict("tie", 0.5, (0.9, 0.1))),
    JudgedPair(pair(2, first="x", second="x", second_finished=True), Verdict("identical")),
    JudgedPair(pair(3), Verdict("invalid")),
]


def test_a_disk_that_refuses_pauses_says_so_and_goes_on(
    run: Run, journal: Journal, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(run, "append", 3, monkeypatch)
    journal.metrics({"step": 1, "loss": 0.5})
    assert [line["loss"] for line in run.read(METRICS)] == [0.5]
    said = [event.text for event in events if isinstance(event, Log) and event.level == "error"]
    assert len(said) == 1  # once, not at every try
    assert "paused" in said[0]
    assert "No space left" in said[0]
    phases = [event.phase for event in events if isinstance(event, Progress)]
    assert phases == ["paused"] * 3
    assert isinstance(events[-1], Log)
    assert events[-1].level == "info"


def test_a_stop_ends_the_wait(
    run: Run, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    control = Control()
    control.stop()
    journal = Journal(run, events.append, control)
    left = refuse(run, "append", 1_000_000, monkeypatch)
    with pytest.raises(StorageError):
        journal.metrics({"step": 1})
    assert left[0] > 999_000


def test_an_llms_verdicts_are_stored_by_the_journal(run: Run, journal: Journal) -> None:
    journal.record_verdicts(JUDGED, "a judge")
    assert [line["choice"] for line in run.read(PAIRS)] == ["first"]
    assert [line["choice"] for line in run.read(UNDECIDED)] == ["tie", "identical", "invalid"]
    assert {line["judge"] for line in run.read(PAIRS)} == {"a judge"}


def test_a_persons_verdicts_are_stored_already(
    run: Run, journal: Journal, events: list[Event]
) -> None:
    journal.record_verdicts(JUDGED[:3], "human")
    assert list(run.read(PAIRS)) == []
    assert [line["choice"] for line in run.read(UNDECIDED)] == ["identical"]  # nobody was asked
    told = [event.choice for event in events if isinstance(event, PairJudged)]
    assert told == ["first", "tie", "identical"]


def test_what_the_run_has_a_label_of_is_not_stored_again(run: Run, journal: Journal) -> None:
    journal.labelled = {JUDGED[0].pair.pair_id, JUDGED[1].pair.pair_id}
    journal.record_verdicts(JUDGED, "a judge")
    assert list(run.read(PAIRS)) == []
    assert [line["choice"] for line in run.read(UNDECIDED)] == ["identical", "invalid"]


def test_a_batch_is_remembered_until_its_checkpoint(run: Run, journal: Journal) -> None:
    order = {"size": 5, "epoch": 0, "position": 2}
    for step in (1, 2, 3):
        journal.record_samples(step, [pair(step=step)], order)
    journal.step = 2
    journal.checkpoint(lambda folder: None)
    (line,) = run.read(SAMPLED)
    assert line["step"] == 3
    assert line["order"] == order
    assert Pair.from_json(line["pairs"][0]) == pair(step=3)


def test_a_checkpoint_is_tried_again(
    run: Run, journal: Journal, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(folder: Path) -> None:
        written.append(folder)
        if len(written) < 3:
            raise OSError(28, "No space left on device")
        (folder / "state.json").write_text("{}")

    journal.step = 7
    journal.checkpoint(write)
    assert len(written) == 3
    latest = run.latest_checkpoint()
    assert latest is not None
    assert int(latest.name) == 7
    assert [event.step for event in events if isinstance(event, Saved)] == [7]


def test_a_log_line_has_its_level(run: Run, journal: Journal) -> None:
    journal.log("warning", "look out")
    assert (run.path / LOG).read_text().rstrip().endswith("warning look out")
