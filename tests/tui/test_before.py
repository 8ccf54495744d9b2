"""What was answered before in a sitting: seen, gone back through, changed; and the rubric."""

import pytest
from textual.widgets import Static

from tests.tui.person import pair
from tests.tui.test_review import LONG, Open, review, run
from tui.review.answer_pane import AnswerPane
from tui.review.before_list import BeforeList
from tui.review.change_label import ChangeLabel

__all__ = ["review"]  # the fixture
BROAD = (200, 50)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), BROAD])
def test_h_goes_back_to_a_label_that_can_be_given_anew(review: Open, size: tuple[int, int]) -> None:
    async def test() -> None:
        pairs = (pair(1, 0), pair(1, 1), pair(1, 2), pair(1, 3))
        async with review(*pairs, size=size, undo_seconds=600) as table:
            await table.press("1", "2", "t")
            before = table.screen.query_one(BeforeList)
            assert [label.shown for _, label in before.list.rows] == ["tie", "right", "left"]
            await table.press("h", "1")  # which is no verdict on the pair below
            assert len(table.session.labels()) == 3
            await table.press("down", "down", "enter")
            assert table.screen.query_one("#middle").display
            assert table.shown.prompt == "Question 1.0?"
            await table.press("2")
            assert len(table.session.labels()) == 3
            assert table.shown.prompt == "Question 1.3?"

    run(test)


def test_a_label_that_was_learned_from_is_asked_for(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(2, 0), pair(3, 0)) as table:
            await table.press("1", "1")
            assert table.session.learn()
            await table.press("h", "down", "enter")
            assert isinstance(table.app.screen, ChangeLabel)
            await table.press("escape")
            await table.press("h", "h")
            assert table.screen.query_one("#middle").display

    run(test)


def test_nothing_before_is_said(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0)) as table:
            await table.press("h")
            assert table.said == "nothing was answered before in this sitting"

    run(test)


def test_a_large_terminal_has_the_rubric_and_lines_to_read(review: Open) -> None:
    async def test() -> None:
        words = "word " * 60
        rubric = "Prefer the answer that is shorter than the other one and still\ncomplete."
        settings = {"size": BROAD, "judge_system": rubric}
        async with review(pair(1, 0, LONG + words, words), pair(1, 1), **settings) as table:
            assert "still complete." in table.text("#rubric")
            for pane in table.screen.query(AnswerPane):
                assert pane.query_one(".plain", Static).size.width <= 72
            await table.press("1")
            assert table.screen.query_one(BeforeList).display
            assert "Question 1.0?" in str(table.screen.query_one(BeforeList).list.rows)

    run(test)
