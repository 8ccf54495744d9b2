"""A judge tried in a process of its own, and a person's labels that outlive any process."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.data.pairs import Verdict
from engine.data.prompts import Message, Prompt
from engine.judge_trial import (
    JudgeTrial,
    TrialDone,
    TrialEvent,
    TrialFailed,
    TrialJudged,
    TrialPairs,
)
from engine.runs import archive, card_labels
from engine.runs.folder import CARD_PAIRS
from engine.runs.labels import labels
from engine.runs.relabel import relabel
from engine.settings.schema import Settings
from tests.engine.small_models import settings, write_model, write_prompts

TIMEOUT = 120.0  # seconds
PROMPT = Prompt((Message("user", "Why?"),), "Why?")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 24)
    return folder


def chosen(files: Path, judge: str = "rule:length") -> Settings:
    data = str(files / "prompts.jsonl")
    return settings(model=str(files / "policy"), data=data, judge=judge, eval_prompts=4)


def events_of(trial: JudgeTrial) -> list[TrialEvent]:
    """All that a trial tells until it is over."""
    trial.start()
    events: list[TrialEvent] = []
    end = time.monotonic() + TIMEOUT
    while not events or not isinstance(events[-1], TrialDone | TrialFailed):
        assert time.monotonic() < end, events
        events += trial.drain(timeout=1.0)
    return events


def test_sampled_pairs_come_before_their_verdicts(files: Path) -> None:
    trial = JudgeTrial(chosen(files))
    events = events_of(trial)
    assert isinstance(events[-1], TrialDone), events
    kinds = [type(event) for event in events if isinstance(event, TrialPairs | TrialJudged)]
    assert kinds[0] is TrialPairs
    [pairs] = [event.pairs for event in events if isinstance(event, TrialPairs)]
    judged = [event.pair for event in events if isinstance(event, TrialJudged)]
    assert [each.pair for each in judged] == list(pairs)
    assert len(pairs) == 32
    assert all(pair.tokens and min(pair.tokens) > 0 for pair in pairs)
    assert trial.join(TIMEOUT)


def test_a_function_on_pairs_of_a_file(files: Path, tmp_path: Path) -> None:
    function = tmp_path / "mine.py"
    function.write_text("def better(prompt, first, second):\n    return float(first < second)\n")
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "Why?", "first": "a", "second": "b"}))
    events = events_of(JudgeTrial(chosen(files, f"{function}:better"), file))
    verdicts = [event.pair.verdict for event in events if isinstance(event, TrialJudged)]
    assert verdicts == [Verdict("first", 1.0)]


def test_what_is_wrong_is_one_sentence(files: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("{}")
    for judge, at, words in (
        (f"{tmp_path}/none.py:better", None, "none.py"),
        ("rule:length", file, "pairs.jsonl"),
    ):
        events = events_of(JudgeTrial(chosen(files, judge), at))
        assert isinstance(events[-1], TrialFailed)
        assert words in events[-1].error
        assert "\n" not in events[-1].error


def test_a_trial_that_is_closed_leaves_nothing(files: Path) -> None:
    trial = JudgeTrial(chosen(files))
    folder = Path(trial._folder.name)
    trial.start()
    end = time.monotonic() + TIMEOUT
    while not any(folder.iterdir()):  # what it works in
        assert time.monotonic() < end
        time.sleep(0.01)
    trial.close()
    while folder.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    assert trial.join(TIMEOUT)
    assert trial.drain() == []


# -- labels ----------------------------------------------------------------------------------------


def test_a_label_is_kept_replaced_and_taken_back(files: Path) -> None:
    mine = chosen(files)
    card_labels.label(mine, PROMPT, "a", "b", "first")
    pair_id = card_labels.pair_id(PROMPT, "a", "b")
    assert card_labels.labels(mine) == {pair_id: "first"}
    card_labels.label(mine, PROMPT, "a", "b", "tie")
    card_labels.label(mine, PROMPT, "b", "a", "second")
    assert list(card_labels.labels(mine).values()) == ["tie", "second"]
    card_labels.take_back(mine, pair_id)
    assert list(card_labels.labels(mine).values()) == ["second"]


def test_a_label_outlives_a_kill(studio_home: Path) -> None:
    code = """
import os, signal
from engine.data.prompts import Message, Prompt
from engine.runs import card_labels
from engine.settings.files import preset
card_labels.label(preset("starter"), Prompt((Message("user", "Why?"),), "Why?"), "a", "b", "first")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    from engine.settings.files import preset

    starter = preset("starter")
    assert list(card_labels.labels(starter).values()) == ["first"]
    # A line that a kill has left unfinished is no label, and the next one is whole.
    [file] = (studio_home / card_labels.FOLDER).iterdir()
    with file.open("ab") as half:
        half.write(b'{"pair_id": "card-half", "choi')
    card_labels.label(starter, PROMPT, "c", "d", "second")
    assert list(card_labels.labels(starter).values()) == ["first", "second"]
    assert file.stat().st_mode & 0o077 == 0


def test_in_a_run_they_can_be_changed_and_written_with_its_others(files: Path) -> None:
    mine = chosen(files)
    card_labels.label(mine, PROMPT, "a", "b", "first")
    run = archive.create(mine)
    assert card_labels.copy_to(run, mine) == [
        "1 label given on the judge's card: card_pairs.jsonl has them"
    ]
    [label] = labels(run)
    assert (label.judge, label.choice, label.preference.chosen[0].content) == (
        "human",
        "first",
        "a",
    )
    relabel(run, label.pair_id, "second")
    [label] = labels(run)
    assert label.preference.chosen[0].content == "b"
    [line] = run.read(CARD_PAIRS)
    assert line["choice"] == "second"
