"""Review: every key, what is shown, and that no label is lost or asked for twice."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import pytest
from rich.cells import cell_len
from textual import events
from textual.widgets import Input, Static

from engine.data.prompts import Message
from engine.events import Evaluated, PairSampled, Progress, StepDone, Writing
from engine.runs import archive
from tests.tui.person import PersonSession, human_settings, pair
from tests.tui.review_table import ReviewTable, attach, reviewed
from tests.tui.stage import shown
from tui.app import StudioApp
from tui.review.answer_pane import AnswerPane
from tui.review.answers import Answers
from tui.review.before_list import BeforeList
from tui.review.change_label import ChangeLabel
from tui.review.label_queue import PastLabel
from tui.review.words import CHOOSE, place_facts
from tui.widgets.key_line import KeyLine

LONG = "\n".join(f"line {number} of a long answer" for number in range(100))


class Table(ReviewTable):
    """With what two answers show."""

    def text(self, query: str) -> str:
        return str(self.screen.query_one(query, Static).visual)

    def pane(self, side: str) -> AnswerPane:
        return self.screen.query_one(f"#{side}", AnswerPane)

    @property
    def shown(self) -> PairSampled:
        """The waiting pair that is on the screen, found by its texts."""
        texts = (self.pane("left").text, self.pane("right").text)
        return next(p for p in self.session.waiting() if (p.left, p.right) == texts)

    @property
    def before(self) -> Sequence[tuple[int, PastLabel]]:
        """What the list of earlier labels has."""
        return self.screen.query_one(BeforeList).list.rows


Open = Callable[..., contextlib.AbstractAsyncContextManager[Table]]


@pytest.fixture
def review() -> Open:
    return partial(reviewed, Table)


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_shows_the_pair_and_where_it_stands(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1), pair(2, 0)) as table:
            assert table.text("#prompt-text") == "> Question 1.0?"
            assert {table.pane("left").text, table.pane("right").text} == {
                "Answer one of 1.0.",
                "Answer two of 1.0.",
            }
            place = table.text("#place")
            assert re.search("1 of 1,000 ─{12} · pair 1 of 2 · 2 more wait · fresh", place), place
            facts = [str(each.visual) for each in table.screen.query(".facts").results(Static)]
            assert sorted(facts) == ["1 token · cut at the limit", "2 tokens"]

    run(test)


@pytest.mark.parametrize(
    ("key", "choice"),
    [("1", "left"), ("2", "right"), ("t", "tie"), ("b", "both_bad"), ("s", "skip")],
)
def test_verdict_keys(review: Open, key: str, choice: str) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            left = table.session.left(table.shown)
            right = "second" if left == "first" else "first"
            await table.press(key)
            expected = {"left": left, "right": right}.get(choice, choice)
            assert table.session.labels() == {"0000001-000": expected}
            assert table.text("#prompt-text") == "> Question 1.1?"

    run(test)


def test_the_label_is_on_the_disk_before_the_next_pair_is_drawn(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            seen: list[dict[str, str]] = []
            show = table.screen.show_answers

            def watched(answers: Answers | None) -> None:
                if answers and answers.key == "0000001-001":
                    seen.append(table.session.labels())
                show(answers)

            table.screen.show_answers = watched  # type: ignore[method-assign]
            await table.press("1")
            assert seen
            assert all("0000001-000" in labels for labels in seen)

    run(test)


def test_keys_typed_ahead_label_nothing(review: Open) -> None:
    """Of five presses in one go, the first is for the pair on the screen; the rest saw nothing."""

    async def test() -> None:
        async with review(*(pair(1, index) for index in range(6))) as table:
            for _ in range(5):
                table.app.simulate_key("1")
            await table.settled()
            assert list(table.session.labels()) == ["0000001-000"]

    run(test)


def test_pairs_that_read_the_same_are_told_apart(review: Open) -> None:
    async def test() -> None:
        same = {"first": "yes one", "second": "no", "prompt": "Well?"}
        async with review(*(pair(1, index, **same) for index in range(8))) as table:
            for _ in range(8):
                await table.press("1")
            assert len(table.session.labels()) == 8

    run(test)


def test_undo_walks_back_to_what_was_learned_from(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(2, 0), pair(2, 1)) as table:
            await table.press("u")
            assert "nothing to undo" in table.said
            await table.press("1", "2", "u")
            assert table.text("#prompt-text") == "> Question 2.0?"
            assert list(table.session.labels()) == ["0000001-000"]
            await table.press("t")
            assert len(table.session.learn()) == 1
            await table.press("u")
            assert table.text("#prompt-text") == "> Question 2.0?"
            before = table.session.labels()
            assert list(before) == ["0000001-000"]
            await table.press("u")
            assert isinstance(table.app.screen, ChangeLabel)
            assert table.session.labels() == before
            await table.press("escape")
            assert table.said == "the label is as it was"
            assert table.session.labels() == before
            assert table.text("#prompt-text") == "> Question 2.0?"

    run(test)


@pytest.mark.parametrize(
    ("key", "choice"),
    [("1", "left"), ("2", "right"), ("t", "tie"), ("b", "both_bad"), ("delete", None)],
)
def test_a_label_that_was_learned_from_is_changed(
    review: Open, key: str, choice: str | None
) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(2, 0)) as table:
            left = table.session.left(table.shown)
            await table.press("s")
            table.session.learn()
            await table.press("u")
            asked = str(table.app.screen.query_one(".why:last-of-type", Static).visual)
            texts = [str(each.visual) for each in table.app.screen.query(Static)]
            assert "esc keep it" in asked
            assert "its label is: skipped" in "\n".join(texts)
            first, second = "1 Answer one of 1.0.", "2 Answer two of 1.0."
            if left == "second":
                first, second = "1 Answer two of 1.0.", "2 Answer one of 1.0."
            assert {"> Question 1.0?", first, second} <= set(texts)
            await table.press(key)
            right = "second" if left == "first" else "first"
            wanted = {"left": left, "right": right}.get(str(choice), choice)
            assert table.session.labels() == ({"0000001-000": wanted} if wanted else {})
            assert "label changed" in table.said or "label removed" in table.said
            log = (table.session.run.path / "log.txt").read_text()
            assert f" {'changed' if choice else 'removed'} by hand" in log
            assert table.text("#prompt-text") == "> Question 2.0?"

    run(test)


def test_what_a_label_is_asked_for_again_is_told_by_the_turn_that_was_answered(
    review: Open,
) -> None:
    turns = [("user", "Hi. " * 200), ("assistant", "Yes."), ("user", "Now?")]
    chat = replace(pair(1, 0), messages=tuple(Message(*turn) for turn in turns))

    async def test() -> None:
        async with review(chat, pair(2, 0)) as table:
            await table.press("1", "h")
            assert [label.prompt for _, label in table.before] == ["Now?"]
            table.session.learn()
            await table.press("escape", "u")
            texts = [str(each.visual) for each in table.app.screen.query(".text").results(Static)]
            assert texts[0] == "> Now?"

    run(test)


def test_what_was_answered_before_takes_no_verdict_and_offers_none(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            await table.press("1", "h")
            keys = table.screen.query_one(KeyLine)
            keys.clear()
            offered = str(keys.render())
            assert offered.startswith("⏎ open")
            assert "first" not in offered
            await table.press("2", "f")
            assert table.said == CHOOSE
            assert len(table.session.labels()) == 1
            await table.press("h")
            keys.clear()
            assert "1 first" in str(keys.render())

    run(test)


def test_a_long_answer_of_a_label_that_is_changed_shows_that_it_is_cut(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0, "One. " * 60, "Two."), pair(2, 0)) as table:
            await table.press("1")
            table.session.learn()
            await table.press("u")
            texts = [*table.app.screen.query(".text").results(Static)]
            assert all(each.size.height <= 3 for each in texts)
            ends = [str(each.visual)[-1] for each in texts]
            assert sorted(ends) == [".", "?", "…"]
            assert "One. …" in shown(table.app) or "One.…" in shown(table.app)

    run(test)


@pytest.mark.parametrize(
    ("key", "name"),
    [("1", "the first won"), ("2", "the second won"), ("t", "a tie"), ("b", "both bad")],
)
def test_the_label_that_a_pair_has_already_is_no_change(review: Open, key: str, name: str) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(2, 0)) as table:
            await table.press(key)
            table.session.learn()
            before = table.session.labels()
            await table.press("u")
            about = str(table.app.screen.query(Static).first().visual)
            assert "\n" not in about.strip()  # it is wrapped where it is drawn
            await table.press(key)
            assert table.said == f"its label is that already: {name}"
            assert table.session.labels() == before

    run(test)


def test_a_label_before_the_newest_is_changed(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1), pair(2, 0)) as table:
            await table.press("t", "b")
            table.session.learn()
            await table.press("u", "u")
            assert table.session.labels() == {"0000001-000": "tie", "0000001-001": "both_bad"}
            await table.press("u", "b")  # there is none before the first
            assert table.session.labels() == {"0000001-000": "both_bad", "0000001-001": "both_bad"}

    run(test)


def test_a_key_typed_ahead_changes_no_label(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(2, 0)) as table:
            await table.press("t")
            table.session.learn()
            for key in ("u", "1", "2"):
                table.app.simulate_key(key)
            await table.pilot.pause()
            assert table.session.labels().get("0000001-000") == "tie"

    run(test)


def test_a_full_disk_keeps_the_label_that_was_learned_from(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(2, 0)) as table:
            await table.press("t")
            table.session.learn()
            table.session.full = True
            await table.press("u", "1")
            assert "No space left" in table.said
            assert table.session.labels() == {"0000001-000": "tie"}
            labels = table.session.judge._labels
            labels.of_prompt = Mock(side_effect=OSError(116, "Stale file handle"))  # type: ignore[method-assign]
            await table.press("u")
            assert "Stale file handle" in table.said

    run(test)


def test_note_and_flag_are_stored_with_the_label(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            await table.press("n", *"1 is rude", "enter", "f")
            assert table.text("#remark") == "flagged · note: 1 is rude"
            await table.press("2")
            assert not table.screen.query_one("#remark").display
            [line] = table.session.run.read("pairs.jsonl")
            assert (line["note"], line["flagged"]) == ("1 is rude", True)
            await table.press("f", "f", "n", "x", "escape", "n", "y", "escape")
            assert not table.screen.query_one("#remark").display
            assert not table.screen.query_one(Input).display
            await table.press("t")
            [line] = table.session.run.read("undecided.jsonl")
            assert (line["note"], line["flagged"]) == ("", False)
            await table.press("escape")
            assert "no note is open" in table.said

    run(test)


def test_a_note_that_is_opened_again_goes_on_at_its_end(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0)) as table:
            await table.press("n", *"ab", "left", "escape", "n", *"bad", "enter")
            await table.press("n", "home", "enter", "n", *"ly", "enter", "1")
            [line] = table.session.run.read("pairs.jsonl")
            assert line["note"] == "badly"

    run(test)


def test_a_note_stays_with_its_pair_when_a_judge_takes_that_away(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            await table.press("n", *"odd")
            table.session.answer("0000001-000", "tie")
            table.screen.run_changed(())
            await table.press("enter")
            assert "waits no more" in table.said
            await table.press("escape", "1")
            [line] = table.session.run.read("pairs.jsonl")
            assert (line["pair_id"], line["note"]) == ("0000001-001", "")
            await table.submit(pair(2, 0))
            table.session.answer = lambda *_, **__: False  # as of a pair that is taken away
            await table.press("1")
            assert "not kept" in table.said

    run(test)


def test_a_note_that_the_end_of_the_run_overtakes_stays_to_be_read(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0)) as table:
            await table.press("n", *"odd")
            table.session.alive = False
            await table.pilot.press("enter")
            assert "the run has ended: the note is not kept" in table.said
            note = table.screen.query_one("#note", Input)
            assert (note.value, note.display) == ("odd", True)
            await table.pilot.press("escape")
            assert not note.display

    run(test)


def test_labels_that_cannot_be_read_are_said_to_be_missing(
    review: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> list[PastLabel]:
        raise PermissionError(13, "Permission denied", "pairs.jsonl")

    monkeypatch.setattr("tui.review.screen.earlier_labels", refuse)

    async def test() -> None:
        async with review(pair(1, 0)) as table:
            assert table.said.startswith("pairs.jsonl cannot be read: Permission denied; labels")
            assert table.text("#prompt-text") == "> Question 1.0?"

    run(test)


def test_a_long_note_leaves_the_answers_their_room(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0)) as table:
            await table.press("n")
            note = "word " * 1000 + "end"
            table.screen.query_one("#note", Input).post_message(events.Paste(note))
            await table.press("enter")
            assert table.pane("left").size.height >= 4
            assert table.text("#remark").endswith("…")
            await table.press("1")
            [line] = table.session.run.read("pairs.jsonl")
            assert line["note"] == note

    run(test)


def test_hostile_text_pasted_into_a_note_is_harmless(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1)) as table:
            await table.press("n")
            note = table.screen.query_one("#note", Input)
            note.post_message(events.Paste("\x1b[2J\x9b31m\u202enote\x07"))
            await table.press("enter")
            assert "note" in table.text("#remark")
            await table.press("1")
            [line] = table.session.run.read("pairs.jsonl")
            assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(
                line["note"] + table.text("#remark")
            )

    run(test)


def test_layouts(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0)) as table:
            left, right = table.pane("left"), table.pane("right")
            assert left.region.y == right.region.y
            assert left.region.right <= right.region.x
            await table.press("tab")
            assert "v shows one at a time" in table.said
            await table.press("v")
            assert left.region.bottom <= right.region.y
            assert left.region.x == right.region.x
            await table.press("v")
            assert (left.display, right.display) == (True, False)
            for key in ("tab", "left", "right"):
                before = left.display
                await table.press(key)
                assert (left.display, right.display) == (not before, before)
            await table.press("v")
            assert (left.display, right.display) == (True, True)
            assert left.region.y == right.region.y

    run(test)


def test_scrolling_moves_both_and_a_new_pair_starts_at_the_top(review: Open) -> None:
    async def test() -> None:
        first = pair(1, 0, first=LONG + " one", second=LONG)
        second = pair(1, 1, first=LONG + " one!", second=LONG + "!")
        async with review(first, second) as table:

            def offsets() -> list[float]:
                return [table.pane(side).scroll.scroll_y for side in ("left", "right")]

            for key in ("down", "j"):
                await table.press(key)
            assert offsets() == [2, 2]
            for key in ("up", "k"):
                await table.press(key)
            assert offsets() == [0, 0]
            for down, up in (("pagedown", "pageup"), ("end", "home"), ("G", "g"), ("space", "g")):
                await table.press(down)
                assert min(offsets()) > 3
                await table.press(up)
                assert offsets() == [0, 0]
            await table.press("end", "1")
            assert offsets() == [0, 0]

    run(test)


def test_scrolling_what_is_in_sight_says_so(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1)) as table:
            for key in ("j", "k", "pagedown", "end"):
                await table.press(key)
                assert table.said == "all of it is in sight"

    run(test)


def test_the_head_is_one_line_with_the_way_to_the_goal(review: Open) -> None:
    """It once wrapped at 80 columns, which moved the pair."""

    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1), pair(2), iters=2, batch_size=2) as table:
            for _ in range(2):
                await table.press("1")
                await table.settled()
            table.session.agreement = lambda: (9, 10)
            table.screen._refresh()
            await table.pilot.pause()
            head = table.app.screen.query_one("#place")
            assert head.size.height == 1
            assert "3 of 4 ━━━━━━" in table.text("#place")
            assert "wait" not in table.text("#place")
            assert cell_len(table.text("#place").splitlines()[0]) <= 78
            queue = table.screen._queue
            assert queue
            queue.labels_a_minute = lambda: 0.4  # type: ignore[method-assign]
            assert place_facts(queue, None)[-1] == "24 an hour"

    run(test)


def test_the_goal_is_what_the_run_asks_for_and_not_iters(review: Open) -> None:
    async def test() -> None:
        async with review(pair(3), epochs=1.0, iters=1000, batch_size=2) as table:
            assert table.app.view
            table.app.view.total_steps, table.app.view.warm_steps = 12, 2
            table.screen._refresh()
            await table.pilot.pause()
            assert "1 of 20 " in table.text("#place")

    run(test)


def test_each_flash_lasts_as_long(review: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with review(pair(1)) as table:
            timers: list[Mock] = []

            def set_timer(*_: object) -> Mock:
                timers.append(Mock())
                return timers[-1]

            pane = table.pane("left")
            monkeypatch.setattr(pane, "set_timer", set_timer)
            pane.flash("✓", chosen=True)
            pane.flash("✗", chosen=False)
            assert [each.stop.called for each in timers] == [True, False]

    run(test)


def test_a_long_name_leaves_room_for_where_one_is(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1)) as table:
            assert table.app.view
            table.app.view.name = "starter-lora-online-dpo-20261122-205011-and-a-second-try"
            await table.settled()
            table.screen._refresh()
            await table.pilot.pause()
            assert table.screen.query_one("#place").size.height == 1
            assert re.search("…   1 of 1,000 ─{12} · fresh$", table.text("#place"))

    run(test)


def test_a_long_prompt_can_be_read_to_its_end(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0, prompt=LONG)) as table:
            prompt = table.screen.query_one("#prompt")
            assert prompt.size.height <= 8
            assert table.screen.query_one("#prompt-more").display
            assert table.pane("left").size.height >= 4
            await table.press("z")
            assert not table.pane("left").region
            await table.press("end")
            assert prompt.scroll_y == prompt.max_scroll_y > 0
            assert "z shows the answers" in table.said
            await table.press("z")
            assert table.pane("left").region

    run(test)


@pytest.mark.parametrize("key", ["1", "t", "s"])
def test_the_answers_of_the_next_pair_are_seen_whatever_hid_the_last_ones(
    review: Open, key: str
) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            await table.press("z", key)
            assert table.text("#prompt-text") == "> Question 1.1?"
            assert table.pane("left").region
            assert table.pane("right").region

    run(test)


def test_differences_and_markdown(review: Open) -> None:
    async def test() -> None:
        first, second = "# Title\nwater the **soil** well", "Please water the **soil** now"
        async with review(pair(1, 0, first=first + " one", second=second)) as table:
            await table.press("d")
            styles = {
                str(span.style)
                for pane in table.screen.query(AnswerPane)
                for span in pane.query_one(".plain", Static).visual.spans  # type: ignore[union-attr]
            }
            assert styles == {"bold", "$muted"}
            await table.press("m")
            assert len(table.screen.query("Markdown")) == 2
            assert not any(each.display for each in table.screen.query(".plain"))
            await table.press("m")
            assert len(table.screen.query("Markdown")) == 0
            assert all(each.display for each in table.screen.query(".plain"))

    run(test)


@pytest.mark.parametrize("key", ["d", "m"])
def test_hostile_text_is_shown_harmlessly(review: Open, key: str) -> None:
    evil = (
        "[bold]x[/] \x1b]52;c;aGk=\x07 <b>html</b> \u202egnp.exe [l](javascript:x) \r\n# a\x9b31m"
    )

    async def test() -> None:
        async with review(pair(1, 0, evil + " one", evil + ">" * 300, evil)) as table:
            await table.press(key)
            strips = table.screen._compositor.render_strips()
            drawn = "\n".join("".join(segment.text for segment in strip) for strip in strips)
            assert "\x1b" not in drawn
            assert "\x9b" not in drawn
            assert "\u202e" not in drawn
            assert "<b>html</b>" in drawn
            await table.press("1")
            assert list(table.session.labels()) == ["0000001-000"]

    run(test)


def test_million_characters_do_not_stop_the_screen(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0, "x" * 1_000_000, "y " * 500_000), pair(1, 1)) as table:
            await table.press("m", "d", "1")
            assert list(table.session.labels()) == ["0000001-000"]

    run(test)


def test_a_full_disk_loses_no_verdict(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1)) as table:
            table.session.full = True
            await table.press("1")
            assert "No space left" in table.said
            assert table.text("#prompt-text") == "> Question 1.0?"
            table.session.full = False
            await table.press("1")
            assert list(table.session.labels()) == ["0000001-000"]

    run(test)


def test_leaving_coming_back_and_resuming(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0), pair(1, 1), pair(2, 0)) as table:
            await table.press("1", "f3")
            await table.press("f4")
            assert table.text("#prompt-text") == "> Question 1.1?"
            await table.press("2")
            before = table.session.labels()

            again = PersonSession(table.session.settings, archive.open_run(table.session.run.name))
            again.judge.restore(table.session.verdicts())
            attach(table.app, again)
            table.session = again
            await table.submit(pair(1, 0), pair(1, 1), pair(2, 0))
            assert table.text("#prompt-text") == "> Question 2.0?"
            assert "3 of 1,000" in table.text("#place")
            await table.press("u")
            assert table.text("#prompt-text") == "> Question 1.1?"
            await table.press("2", "t")
            assert again.labels() == {**before, "0000002-000": "tie"}

    run(test)


def test_repeats_are_not_told_apart_and_agreement_is_shown(review: Open) -> None:
    async def test() -> None:
        async with review(*(pair(1, index) for index in range(4))) as table:
            table.session.judge._self_check_every = 2
            await table.press("1", "1")
            assert table.shown.repeat
            assert "pair 3 of 4" in table.text("#place")
            await table.press("1")
            assert "0 of 1 repeats alike" in table.text("#place")
            assert len(table.session.labels()) == 2

    run(test)


@pytest.mark.parametrize("key", ["1", "n", "f"])
def test_that_no_pair_is_here_is_said_until_one_comes(review: Open, key: str) -> None:
    async def test() -> None:
        async with review() as table:
            await table.press(key)
            assert table.said.startswith("no pair")
            await table.submit(pair(1, 0))
            assert table.said == ""

    run(test)


def test_a_pair_that_comes_leaves_other_messages_alone(review: Open) -> None:
    async def test() -> None:
        async with review() as table:
            table.screen.say("something else", 600)
            await table.submit(pair(1, 0))
            assert table.said == "something else"

    run(test)


def test_what_is_said_when_no_pair_waits(review: Open) -> None:
    async def test() -> None:
        async with review() as table:
            assert "starting" in table.text("#idle")
            table.session.sampling(12, 64)
            await table.settled()
            assert "Sampling the next pairs: 12 of 64 tokens" in table.text("#idle")
            texts = ("Six hours of light,", "A herb \x1b[31m\n" + "and so on\n" * 40)
            table.session.tell(Writing(prompt="How do I keep basil?", texts=texts))
            await table.settled()
            shown = table.text("#writing")
            assert "> How do I keep basil?" in shown
            assert "Six hours of light," in shown
            assert "and so on" in shown
            assert "\x1b" not in shown
            assert shown.count("and so on") < 20  # the end of it, where the writing goes on
            for key in ("1", "n", "f"):
                await table.press(key)
                assert "no pair" in table.said
            table.session.tell(Progress(phase="waiting", step=1))
            await table.settled()
            assert not table.screen.query_one("#writing").display
            assert "Every pair of this batch has its verdict" in table.text("#idle")
            table.session.alive = False
            table.session.tell(Progress(phase="idle", step=1))
            await table.settled()
            assert "no pair waits any more" in table.text("#idle")
            for key in ("1", "u", "n", "f"):
                await table.press(key)
                assert "no run asks" in table.said

    run(test)


def test_after_the_last_step_no_pair_is_promised(review: Open) -> None:
    async def test() -> None:
        async with review(pair(1, 0)) as table:
            await table.press("1")
            table.session.tell(
                StepDone(step=1, total_steps=1, metrics={}),
                Progress(phase="evaluating", step=1, done=12, total=64, unit="tokens"),
            )
            await table.settled()
            idle = " ".join(table.text("#idle").split())
            assert "Evaluating: 12 of 64 tokens. The last step is done, and no further" in idle
            assert "takes the last verdict back" not in idle

    run(test)


def test_without_a_run_or_with_another_judge() -> None:
    async def test() -> None:
        app = StudioApp()
        async with app.run_test(size=(80, 24)) as pilot:
            app.switch_mode("review")
            await pilot.pause()
            idle = app.screen.query_one("#idle", Static)
            assert "No run is going" in str(idle.visual)
            attach(app, PersonSession(human_settings(judge="some/model")))
            app.drain()
            await pilot.pause()
            assert "judged by some/model" in str(idle.visual)
            keys = app.screen.query_one(KeyLine)
            assert "first" not in str(keys.render())  # nothing that it would answer
            await pilot.press("1")
            assert "no run asks" in keys.message
            attach(app, PersonSession(human_settings()))
            app.drain()
            await pilot.pause()
            keys.clear()
            assert "1 first  2 second" in str(keys.render())

    run(test)


def test_many_events_a_second_do_not_disturb(review: Open) -> None:
    async def test() -> None:
        async with review(*(pair(1, index) for index in range(10))) as table:
            for round_ in range(3):
                for step in range(100):
                    table.session.tell(
                        Evaluated(
                            step=step, split="valid", win_rate=0.5, win_rate_low=0.4,
                            win_rate_high=0.6, prompts=3, examples=(),
                        )
                    )  # fmt: skip
                await table.press("1")
                assert len(table.session.labels()) == round_ + 1

    run(test)


def test_a_run_that_is_not_kept_is_not_offered(review: Open) -> None:
    async def test() -> None:
        async with review() as table:
            table.session.alive = table.session.has_folder = False
            table.session.tell(Progress(phase="idle", step=0))
            await table.settled()
            said = table.text("#idle")
            assert "has ended before its first step, so no run is kept" in said
            assert "r goes on" not in said

    run(test)


def test_a_conversation_shows_its_system_message_and_last_turn_first(review: Open) -> None:
    turns = [("system", "Answer in JSON."), ("user", "Hi."), ("assistant", "{}"), ("user", "Now?")]
    chat = replace(pair(1, 0), messages=tuple(Message(*turn) for turn in turns))

    async def test() -> None:
        async with review(chat, pair(1, 1)) as table:
            lines = table.text("#prompt-text").splitlines()
            assert lines[:2] == ["system Answer in JSON.", "> Now?"]
            assert lines[-2:] == ["user Hi.", "assistant {}"]
            await table.press("1")
            assert table.text("#prompt-text") == "> Question 1.1?"

    run(test)


def test_a_prompt_as_long_as_a_book_can_be_judged(review: Open) -> None:
    book = pair(1, 0, prompt="word " * 1_000_000)

    async def test() -> None:
        async with review(book, pair(1, 1)) as table:
            assert "more characters" in table.text("#prompt-text")
            await table.press("z", "end", "z", "1")
            assert table.text("#prompt-text") == "> Question 1.1?"

    run(test)
