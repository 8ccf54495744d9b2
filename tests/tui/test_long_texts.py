"""Texts longer than their place: what of them is in sight, and how one learns of the rest."""

from typing import Any

import pytest
from textual.pilot import Pilot

from engine.events import PairJudged
from tests.tui.live import LiveSession, a_run, attach, judged
from tests.tui.person import PersonSession, human_settings, pair
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.run.pair_pane import _text
from tui.state.run_view import RunView

MANY = "\n".join(f"line {number}" for number in range(80))


async def judging(app: StudioApp, pilot: Pilot[Any], *texts: str) -> PersonSession:
    session = PersonSession(human_settings(run_name="basil", self_check_every=0))
    app.control.session = session  # type: ignore[assignment]
    app.control.view = RunView("basil", settings=session.settings)
    session.submit(pair(1, 0, *texts))
    await pilot.press("f4")
    await until(pilot, lambda: "── 1" in shown(app) or " 1 " in shown(app))
    return session


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_of_a_long_prompt_the_end_is_in_sight_where_the_question_is(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await judging(app, pilot, "Yes.", "No.", f"{MANY}\nIs this a list?")
        await until(pilot, lambda: "Is this a list?" in shown(app))
        await until(pilot, lambda: "… z shows the whole prompt" in shown(app))
        assert "Is this a list?" in shown(app)
        assert "line 0\n" not in shown(app)
        await pilot.press("z")
        await until(pilot, lambda: "line 0" in shown(app))
        await pilot.press("z")
        await until(pilot, lambda: "Is this a list?" in shown(app))

    play(scene, size)


@pytest.mark.parametrize("size", [COMPACT, STANDARD])
def test_an_answer_says_that_more_is_below(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await judging(app, pilot, MANY, "No.", "Why?")
        await until(pilot, lambda: shown(app).count("↓ more below") == 1)
        await pilot.press("j")
        assert shown(app).count("↓ more below") == 1
        await pilot.press("G")
        await until(pilot, lambda: "the end" in shown(app))
        assert "line 79" in shown(app)
        assert "more below" not in shown(app)

    play(scene, size)


def test_short_answers_say_nothing_of_more() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await judging(app, pilot, "Yes.", "No.", "Why?")
        await until(pilot, lambda: "Yes." in shown(app))
        assert "more below" not in shown(app)
        assert "the end" not in shown(app)

    play(scene)


def test_long_lines_of_code_are_wrapped() -> None:
    code = f"```python\n{'word ' * 60}last\n```"

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await judging(app, pilot, code, "No.", "Why?")
        await pilot.press("m")
        await until(pilot, lambda: "last" in shown(app))

    play(scene, STANDARD)


def lines_of(pair: PairJudged, height: int) -> list[str]:
    return str(_text(pair, 60, False, height)).split("\n")


@pytest.mark.parametrize("height", [8, 12, 30])
def test_both_answers_of_the_newest_pair_are_in_sight(height: int) -> None:
    lines = lines_of(judged("How?", MANY, MANY), height)
    places = [lines.index(line) for line in lines if line.startswith(("1 ", "2 "))]
    assert len(places) == 2
    assert max(places) + 1 < height
    assert sum("more lines" in line for line in lines[:height]) == 2


def test_a_short_text_leaves_its_room_to_the_longer_ones() -> None:
    lines = lines_of(judged("How?", "Short.", MANY), 20)
    assert sum(line.strip().startswith(("line", "2")) for line in lines[:20]) >= 14
    whole = lines_of(judged("How?", "Short.", "Shorter."), 20)
    assert not any("more lines" in line for line in whole)


def test_who_reads_the_newest_pair_has_all_of_it() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession([*a_run(), judged("How?", MANY, MANY)])
        attach(app, session)
        await pilot.press("f3")
        await until(pilot, lambda: "more lines" in shown(app))
        await pilot.press("A", "A")  # to the list of the last ones, and to all of the newest
        await until(pilot, lambda: "line 20" in shown(app))

    play(scene, STANDARD)


def test_while_a_person_waits_there_is_a_bar_and_the_way_back() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = await judging(app, pilot, "Yes.", "No.", "Why?")
        await until(pilot, lambda: "Yes." in shown(app))
        await pilot.pause(0.1)
        await pilot.press("1")
        await until(pilot, lambda: "won · u takes it back" in said(app))
        session.sampling(30, 60)
        await until(pilot, lambda: "Sampling the next pairs: 30 of 60 tokens" in shown(app))
        assert "━━━━" in shown(app)
        assert "u takes the last verdict back." in shown(app)

    play(scene)
