"""Review of more than two answers: the best by its number, then the worst, on any screen."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from textual.widgets import Static

from engine.data.completion import Answer
from engine.data.pairs import Pair
from engine.events import PairSampled
from tests.tui.person import pair
from tests.tui.review_table import ReviewTable, reviewed
from tui.review.answer_pane import AnswerPane
from tui.review.answers import grid
from tui.review.change_label import ChangeLabel


def prompt_of(step: int, count: int, index: int = 0) -> Pair:
    """A prompt with so many answers."""
    texts = [f"Answer {at} of {step}.{index}." for at in range(count)]
    one = pair(step, index, first=texts[0], second=texts[1])
    return replace(
        one, others=tuple(Answer(text, (5, *map(ord, text)), True) for text in texts[2:])
    )


class Table(ReviewTable):
    """With what many answers show."""

    def panes(self) -> list[AnswerPane]:
        """The answers that can be seen."""
        return [pane for pane in self.app.screen.query(AnswerPane) if pane.region.area > 0]

    def number_of(self, text: str) -> int:
        """The number under which an answer is on the screen, or beside others behind it."""
        (shown,) = self.session.waiting()[:1]
        texts = [each.text for each in shown.answers]
        return 1 + texts.index(text)

    @property
    def shown(self) -> PairSampled:
        return self.session.waiting()[0]

    @property
    def tabs(self) -> str:
        return str(self.screen.query_one("#tabs", Static).visual)


review = partial(reviewed, Table, completions=8)


def run(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def texts_of(table: Table) -> list[str]:
    return [each.text for each in table.shown.answers]


@pytest.mark.parametrize(
    ("count", "width", "expected"),
    [(8, 200, (4, 2)), (3, 200, (3, 1)), (5, 200, (5, 1)), (4, 80, (2, 2)), (3, 80, (2, 2)),
     (8, 80, (2, 4)), (6, 200, (3, 2)), (3, 40, (1, 3)), (8, 20, (1, 8))],
)  # fmt: skip
def test_how_answers_lie(count: int, width: int, expected: tuple[int, int]) -> None:
    assert grid(count, width) == expected


@pytest.mark.parametrize("count", [3, 5, 8])
def test_many_answers_side_by_side_on_a_wide_screen(count: int) -> None:
    async def test() -> None:
        async with review(prompt_of(1, count), size=(200, 50)) as table:
            panes = table.panes()
            assert [pane.number for pane in panes] == [*range(1, count + 1)]
            assert [pane.text for pane in panes] == texts_of(table)
            assert sorted(texts_of(table)) == [f"Answer {at} of 1.0." for at in range(count)]
            areas = [pane.region for pane in panes]
            assert all(not a.overlaps(b) for a in areas for b in areas if a is not b)
            assert min(area.width for area in areas) >= 30
            assert min(area.height for area in areas) >= 8
            assert f"which is the best? 1 to {count}" in table.tabs

    run(test)


def test_eight_answers_on_a_small_screen_are_leafed_through() -> None:
    async def test() -> None:
        async with review(prompt_of(1, 8)) as table:
            seen = []
            for _ in range(8):
                (pane,) = table.panes()
                assert pane.region.width > 70
                assert pane.region.height >= 8
                seen.append(pane.text)
                await table.press("tab")
            assert seen == texts_of(table)
            assert table.panes()[0].number == 1
            await table.press("left")
            assert table.panes()[0].number == 8
            await table.press("v")
            assert [pane.number for pane in table.panes()] == [*range(1, 9)]
            areas = [pane.region for pane in table.panes()]
            assert all(not a.overlaps(b) for a in areas for b in areas if a is not b)
            await table.press("v")
            assert len(table.panes()) == 1

    run(test)


def test_four_answers_fit_beside_each_other_on_a_small_screen() -> None:
    async def test() -> None:
        async with review(prompt_of(1, 4), completions=4) as table:
            assert [pane.text for pane in table.panes()] == texts_of(table)
            assert min(pane.region.width for pane in table.panes()) >= 30

    run(test)


def test_a_long_answer_of_many_is_scrolled() -> None:
    async def test() -> None:
        one = prompt_of(1, 8)
        long = "\n".join(f"line {at}" for at in range(60))
        others = (*one.others[:5], replace(one.others[5], text=long, ids=(7,)))
        async with review(replace(one, others=others)) as table:
            for _ in range(table.number_of(long) - 1):
                await table.press("tab")
            (pane,) = table.panes()
            assert pane.text == long
            await table.press("end")
            assert pane.scroll.scroll_y == pane.scroll.max_scroll_y > 0

    run(test)


def test_the_best_is_picked_and_then_the_worst() -> None:
    async def test() -> None:
        async with review(prompt_of(1, 8), prompt_of(2, 8)) as table:
            best, worst = table.number_of("Answer 6 of 1.0."), table.number_of("Answer 2 of 1.0.")
            await table.press(str(best))
            assert table.session.labels() == {}
            assert table.tabs.endswith(f"{best} is best; the worst? 1 to 8")
            assert len(table.tabs) <= 78  # on one line
            await table.press(str(best))
            assert "is the best one already" in table.said
            await table.press("u")  # the pick alone
            assert "which is the best? 1 to 8" in table.tabs
            assert table.session.labels() == {}
            await table.press(str(best), str(worst))
            assert table.session.labels() == {"0000001-000-26": "second"}
            assert sorted(texts_of(table))[0] == "Answer 0 of 2.0."
            assert "which is the best? 1 to 8" in table.tabs

    run(test)


@pytest.mark.parametrize(("key", "choice"), [("t", "tie"), ("b", "both_bad"), ("s", "skip")])
def test_verdicts_on_all_of_them(key: str, choice: str) -> None:
    async def test() -> None:
        async with review(prompt_of(1, 8)) as table:
            await table.press("3", key)  # the best is picked, and then it is another verdict
            assert [*table.session.labels().values()] == [choice]
            (judged,) = table.session.learn()
            assert len(judged.answers) == 8

    run(test)


def test_one_press_where_the_rejected_one_is_drawn() -> None:
    async def test() -> None:
        async with review(prompt_of(1, 5), rejected="random", completions=5) as table:
            await table.press("8")
            assert "there are 5 answers: 1 to 5" in table.said
            best = table.number_of("Answer 3 of 1.0.")
            await table.press(str(best))
            ((pair_id, choice),) = table.session.labels().items()
            assert pair_id in {"0000001-000-03", "0000001-000-13", "0000001-000-23",
                               "0000001-000-34"}  # fmt: skip
            assert choice == ("first" if pair_id.endswith("34") else "second")

    run(test)


def test_a_pick_may_become_a_pair_with_each_other() -> None:
    async def test() -> None:
        settings = {"pairs_per_pick": "all", "completions": 4, "undo_seconds": 0.0}
        async with review(prompt_of(1, 4), prompt_of(2, 4), **settings) as table:
            await table.press(str(table.number_of("Answer 1 of 1.0.")))
            labels = {
                "0000001-000-01": "second",
                "0000001-000-12": "first",
                "0000001-000-13": "first",
            }
            assert table.session.labels() == labels
            await table.press("u")  # takes all of them back
            assert table.session.labels() == {}
            await table.press(str(table.number_of("Answer 1 of 1.0.")))
            assert table.session.labels() == labels
            judged = table.session.learn()
            assert [len(each.answers) for each in judged] == [4, 0, 0]
            place = str(table.screen.query_one("#place", Static).visual)
            assert "2 of 1,000" in place  # one press, one label of the way
            # Each can be changed by itself once it was learned from.
            await table.press("u")
            assert isinstance(table.app.screen, ChangeLabel)
            await table.press("t")
            assert table.session.labels() == {**labels, "0000001-000-13": "tie"}
            await table.press("u", "u", "t")
            assert table.session.labels() == {
                **labels,
                "0000001-000-12": "tie",
                "0000001-000-13": "tie",
            }

    run(test)


def test_a_pair_of_two_follows_a_prompt_of_many() -> None:
    """An earlier pair comes again as two answers, and equal answers are shown once."""

    async def test() -> None:
        same = prompt_of(2, 3)
        same = replace(same, others=(replace(same.others[0], text=same.first),))
        async with review(prompt_of(1, 3), same, completions=3) as table:
            await table.press("1", "2")
            panes = table.panes()
            assert [pane.number for pane in panes] == [1, 2]
            assert {pane.text for pane in panes} == {same.first, same.second}
            assert not table.screen.query_one("#tabs").display
            await table.press("1")
            assert "0000002-000-01" in table.session.labels()

    run(test)
