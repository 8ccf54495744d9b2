"""The judge's card: what the form opens, labels given blind, and that nothing of them is lost."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.data.pairs import Verdict, verdict_of
from engine.data.prompts import Message, Prompt
from engine.events import Log, Progress, Writing
from engine.judge_card import TrialPair, TriedPair
from engine.judge_trial import TrialDone, TrialEvent, TrialFailed, TrialJudged, TrialPairs
from engine.judges.card import Label, card
from engine.runs import archive, card_labels
from engine.runs.folder import CARD_PAIRS
from engine.runs.labels import labels, select
from engine.runs.storage import StorageError
from engine.session import Session
from engine.settings.files import preset
from engine.settings.schema import Settings
from tests.hostile import TEXTS, harmful
from tests.tui.person import human_settings
from tests.tui.stage import TIMEOUT, play, said, shown, until, workers_done
from tui.app import StudioApp
from tui.judging import words
from tui.judging.screen import JudgeCardScreen
from tui.setup.screen import SetupScreen
from tui.state.judge_trial import JudgeTrialView, Side

STARTER = preset("starter")


class Trying:
    """Stands in for `engine.judge_trial.JudgeTrial`, whose process loads the models."""

    def __init__(self, settings: Settings, file: Path | None) -> None:
        self.settings, self.file = settings, file
        self.events: list[TrialEvent] = []
        self.started = self.closed = False

    def start(self) -> None:
        self.started = True

    def drain(self) -> list[TrialEvent]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.closed = True


def trial_pair(number: int, **values: Any) -> TrialPair:
    prompt = values.pop("prompt", f"Question {number}?")
    texts: dict[str, Any] = {
        "first": f"First of {number}.",
        "second": f"Second of {number}, longer.",
    }
    texts |= values
    return TrialPair(Prompt((Message("user", prompt),), prompt), **texts)


def verdict(number: int) -> Verdict:
    """The first of even pairs, and of odd ones the second."""
    log_odds = 2.0 if number % 2 == 0 else -2.0
    return verdict_of(log_odds, 0.5 - log_odds, margin=0.05, ties="margin")


class Table:
    """The screen in a running app, and the stand-in for the process."""

    def __init__(self, app: StudioApp, pilot: Pilot[Any]) -> None:
        self.app, self.pilot = app, pilot
        self.trials: list[Trying] = []

    async def open(self, settings: Settings = STARTER) -> None:
        def trial(settings: Settings, file: Path | None) -> Trying:
            self.trials.append(Trying(settings, file))
            return self.trials[-1]

        await self.app.push_screen(JudgeCardScreen(settings, cast(Any, trial)))
        await until(self.pilot, lambda: self.screen.ready)

    @property
    def screen(self) -> JudgeCardScreen:
        screen = self.app.screen
        assert isinstance(screen, JudgeCardScreen)
        return screen

    async def tell(self, *events: TrialEvent) -> None:
        self.trials[-1].events += events
        await until(self.pilot, lambda: not self.trials[-1].events)

    async def judge(self, pairs: list[TrialPair], say: Callable[[int], Verdict] = verdict) -> None:
        """All that a trial of these pairs tells."""
        judged = [TrialJudged(TriedPair(each, say(at))) for at, each in enumerate(pairs)]
        await self.tell(TrialPairs(tuple(pairs)), *judged, TrialDone(0.4))

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def label(self, key: str) -> None:
        """Label the pair that is shown."""
        count = self.screen.view.labelled
        at = str(self.screen.table.cursor + 1)
        await until(self.pilot, lambda: self.screen.painted == at)
        await self.pilot.press(key)
        await until(self.pilot, lambda: self.screen.view.labelled == count + 1)

    async def agree(self, count: int) -> None:
        """Label so many pairs as the judge does."""
        for _ in range(count):
            row = self.screen.view.rows[self.screen.table.cursor]
            assert row.verdict
            sides: tuple[Side, ...] = ("left", "right")
            side = next(each for each in sides if row.meant(each) == row.verdict.choice)
            await self.label("1" if side == "left" else "2")


def play_table(
    scene: Callable[[Table], Any], size: tuple[int, int] = (80, 24), settings: Settings = STARTER
) -> None:
    async def opened(app: StudioApp, pilot: Pilot[Any]) -> None:
        table = Table(app, pilot)
        await table.open(settings)
        await scene(table)

    play(opened, size)


PAIRS = [trial_pair(number) for number in range(12)]


def test_the_form_opens_it_and_says_what_is_wrong_instead() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "J judge" in shown(app))
        form = app.screen
        assert isinstance(form, SetupScreen)
        form.show(human_settings(), "by hand")
        await pilot.press("J")
        assert "a person needs no card" in said(app)
        form.replace(form.form.with_text("judge", "starter").with_text("temperature", "-1"))
        await pilot.press("J")
        assert "the judge cannot be tried: temperature" in said(app)
        assert app.screen is form

    play(scene)


def test_the_starters_judge_is_tried_from_the_form_and_esc_stops_it() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: "J judge" in shown(app))
        await pilot.press("J")
        screen = app.screen
        assert isinstance(screen, JudgeCardScreen)
        await until(pilot, lambda: screen.view.over, patience=120)
        text = shown(app)
        assert screen.view.error == ""
        assert "answers 3" in text
        assert "usable" in text
        assert "s a pair" in text
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen))
        await pilot.press("J")
        await until(pilot, lambda: isinstance(app.screen, JudgeCardScreen) and app.screen.ready)
        await pilot.press("escape")
        assert "stopped" in shown(app)
        await pilot.press("escape")
        assert isinstance(app.screen, SetupScreen)

    play(scene)


def test_it_says_what_it_waits_for_and_takes_keys_meanwhile() -> None:
    async def scene(table: Table) -> None:
        assert table.trials[0].started
        assert "Starting" in shown(table.app)
        await table.tell(
            Progress(phase="sampling", step=0, done=120, total=400, unit="tokens"),
            Log(level="info", text="downloading some/model"),
        )
        text = shown(table.app)
        assert "Sampling pairs 120 of 400 tokens · esc stops" in text
        assert "downloading some/model" in text
        await table.tell(Writing(prompt="Why?", texts=("Because it", "")))
        assert "Because it" in shown(table.app)
        await table.press("1")
        assert said(table.app) == "there are no pairs yet"
        await table.tell(TrialPairs(tuple(PAIRS)), Progress(phase="judging", step=0, done=3))
        assert "Judging 0 of 12 pairs" in shown(table.app)
        assert "Because it" not in shown(table.app)
        await table.tell(TrialJudged(TriedPair(PAIRS[0], verdict(0))))
        assert "so far" in shown(table.app)
        await table.press("escape")
        assert table.trials[0].closed
        assert "stopped · esc goes back" in shown(table.app)

    play_table(scene)


def test_what_fails_is_one_sentence() -> None:
    async def scene(table: Table) -> None:
        await table.tell(TrialFailed("judge: http://127.0.0.1:9/v1 does not answer"))
        assert "does not answer" in shown(table.app)
        await table.press("escape")
        assert isinstance(table.app.screen, SetupScreen)

    play_table(scene)


def test_the_judge_is_hidden_until_a_pair_has_its_label() -> None:
    async def scene(table: Table) -> None:
        await table.judge(PAIRS)
        rows = table.screen.view.rows
        assert all(row.visible_verdict is None for row in rows)
        assert "0.85" not in shown(table.app)
        await table.press("L")
        await table.label("t")
        assert rows[0].label == "tie"
        assert rows[0].visible_verdict
        assert all(row.visible_verdict is None for row in rows[1:])
        assert "you tie · the judge" in said(table.app)
        assert table.screen.table.cursor == 1

    play_table(scene)


def test_agreement_and_kappa_are_those_of_the_labels_and_change_with_each() -> None:
    async def scene(table: Table) -> None:
        await table.judge(PAIRS)
        await table.press("L")
        await table.agree(4)
        assert "kappa from 5 on" in shown(table.app)
        await table.agree(2)
        view = table.screen.view
        now = view.card()
        assert (now.labels, now.accuracy, now.kappa) == (6, 1, 1)
        assert "with you 6 of 6" in shown(table.app)
        assert "kappa 1.00 (1.00 to 1.00)" in shown(table.app)
        await table.press("u")
        await until(table.pilot, lambda: view.labelled == 5)
        assert "with you 5 of 5" in shown(table.app)
        assert table.screen.table.cursor == 5
        for row in view.rows[:9]:
            row.label = "first"
        assert "1 more label would" in words.sentence(view, view.card()).plain
        wide = words.title(view, "模型" * 20, "更好的回答" * 20, 78)
        assert wide.plain.endswith("0.40 s a pair")
        assert wide.cell_length <= 78

    play_table(scene)


def test_once_all_is_shown_a_label_would_not_be_blind() -> None:
    async def scene(table: Table) -> None:
        await table.judge(PAIRS)
        await table.press("a")
        assert table.screen.view.blind == []
        shown_numbers = [row.visible_verdict for row in table.screen.view.rows]
        assert all(shown_numbers)
        await table.press("enter", "1")
        assert "would not be blind" in said(table.app)
        assert table.screen.view.labelled == 0

    play_table(scene)


def test_a_label_is_refused_for_a_pair_that_is_not_in_sight_or_has_nothing_to_prefer() -> None:
    async def scene(table: Table) -> None:
        await table.judge(
            [trial_pair(0, first="same", second="same"), *PAIRS[1:]],
            lambda at: Verdict("identical") if at == 0 else verdict(at),
        )
        assert "1 more with equal or empty answers" in shown(table.app)
        await table.press("1")
        assert said(table.app) == "enter opens the pair"
        await table.press("enter", "2")
        assert "nothing to prefer" in said(table.app)
        await table.press("escape", "L")
        assert table.screen.table.cursor == 1

    play_table(scene)


def test_labels_are_there_again_also_for_another_judge_but_not_for_another_rubric() -> None:
    async def scene(table: Table) -> None:
        await table.judge(PAIRS)
        await table.press("L")
        await table.label("1")
        first = table.screen.view.rows[0].label
        await table.press("escape", "escape")
        await table.open(STARTER.model_copy(update={"judge": "rule:length", "iters": 3}))
        await table.judge(PAIRS)
        assert table.screen.view.rows[0].label == first
        assert table.screen.view.labelled == 1
        await table.press("u")
        await until(table.pilot, lambda: table.screen.view.labelled == 0)
        await table.press("L")
        await table.label("1")
        await table.press("escape", "escape")
        await table.open(STARTER.model_copy(update={"judge_system": "Prefer the longer one."}))
        await table.judge(PAIRS)
        assert table.screen.view.labelled == 0

    play_table(scene)


def test_pairs_of_a_file_bring_their_winners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pairs.jsonl"
    line = {"prompt": "Why?", "first": "So.", "second": "Because.", "winner": "first"}
    file.write_text(json.dumps(line))
    written, take_back = threading.Event(), card_labels.take_back

    def slowly(settings: Settings, pair_id: str) -> None:
        written.wait(TIMEOUT)
        take_back(settings, pair_id)

    monkeypatch.setattr(card_labels, "take_back", slowly)

    async def scene(table: Table) -> None:
        await table.judge([trial_pair(99)])
        await table.press("down")
        assert said(table.app) == "this is the only row"
        await table.press("L")
        await table.label("1")
        await table.press("u", "o")
        table.app.screen.query_one(Input).value = str(tmp_path / "none.jsonl")
        await table.press("enter")
        await until(table.pilot, lambda: "No such file" in shown(table.app))
        table.app.screen.query_one(Input).value = str(file)
        await table.press("enter")
        await until(table.pilot, lambda: len(table.trials) == 2)
        assert table.trials[0].closed
        assert table.trials[1].file == file
        labels: list[Label] = ["first", "second"] * 6
        await table.judge([trial_pair(at, label=label) for at, label in enumerate(labels)])
        assert "with the file 12 of 12" in shown(table.app)
        await table.press("L")
        written.set()  # of a pair that is not there any more
        await workers_done(table.app)
        await table.label("1")
        assert "with you: 1 with a winner" in shown(table.app)
        assert "the file" in said(table.app)

    play_table(scene)


def test_a_full_disk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError(Path("labels.jsonl"), OSError(28, "No space left on device"))

    monkeypatch.setattr(card_labels, "label", refuse)

    async def scene(table: Table) -> None:
        await table.judge(PAIRS)
        await table.press("L")
        await until(table.pilot, lambda: table.screen.painted == "1")
        await table.press("1")
        await until(table.pilot, lambda: "nothing was changed" in said(table.app))
        assert table.screen.view.labelled == 0

    play_table(scene)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
def test_all_parts_have_room(size: tuple[int, int]) -> None:
    async def scene(table: Table) -> None:
        await table.judge(PAIRS)
        wide = size[0] >= 120
        assert ("First of 0." in shown(table.app)) == wide
        await table.press("L")
        text = shown(table.app)
        assert "First of 0." in text
        assert "Second of 0, longer." in text
        assert "answers 12 of 12" in text
        assert ("swapped  prompt" in text) == wide
        assert "esc back" in text

    play_table(scene, size)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_hostile_text_is_harmless(size: tuple[int, int]) -> None:
    hostile = " ".join(TEXTS.values())
    settings = STARTER.model_copy(update={"judge_system": hostile})

    async def scene(table: Table) -> None:
        def look() -> None:
            assert not harmful(shown(table.app))

        await table.tell(Log(level="warning", text=hostile))
        look()
        await table.tell(Writing(prompt=hostile, texts=(hostile, "")))
        look()
        await table.judge([trial_pair(0, prompt=hostile, first=hostile, second=f"{hostile}!")])
        look()
        await table.press("a")
        look()
        await table.press("enter", "m", "d")
        look()
        await table.tell(TrialFailed(hostile))
        look()

    play_table(scene, size, settings)


# -- where the labels go ---------------------------------------------------------------------------


def test_a_run_that_is_started_has_them_as_labels_of_a_person() -> None:
    view = JudgeTrialView({}, 0)
    view.take_in(TrialPairs(tuple(PAIRS)))
    for row, label in zip(view.rows, ("first", "second", "tie"), strict=False):
        pair = row.pair
        card_labels.label(STARTER, pair.prompt, pair.first, pair.second, cast(Label, label))
    other = STARTER.model_copy(update={"judge_system": "Prefer the longer one."})
    for settings, expected in ((STARTER, 3), (other, 0)):
        session = Session(settings)
        session.start()
        try:
            assert session.run
            lines = list(session.run.read(CARD_PAIRS))
            assert len(lines) == expected
            run = archive.Run(session.run.path)
            selected = select([run]).labels
            assert len(selected) == max(0, expected - 1)  # but for the tie
            assert {each.judge for each in labels(run)} == ({"human"} if expected else set())
        finally:
            session.stop()
            session.join()


def test_a_card_of_both_orders_is_the_same() -> None:
    """What a person sees as answer 1 changes neither sums nor sentence."""
    views = [JudgeTrialView({}, seed) for seed in range(2)]
    for view in views:
        view.take_in(TrialPairs(tuple(PAIRS)))
        for at, pair in enumerate(PAIRS):
            view.take_in(TrialJudged(TriedPair(pair, verdict(at))))
        for row in view.rows:
            row.label = "first" if row.number % 3 else "second"
    assert [row.swapped for row in views[0].rows] != [row.swapped for row in views[1].rows]
    one, two = (view.card() for view in views)
    assert one.first_position == pytest.approx(two.first_position)
    assert one.length_pull == pytest.approx(two.length_pull)
    assert (one.accuracy, one.flips, one.valid) == (two.accuracy, two.flips, two.valid)
    assert card([]).trust == "not to be trusted"
