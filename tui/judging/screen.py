"""The judge's card: a judge tried on some pairs before it trains anything, and held against what a
person says of the same pairs without knowing its verdicts."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from engine.data_folder import at_home
from engine.errors import RunError, UserError
from engine.judge_card import read_pairs
from engine.judge_trial import JudgeTrial
from engine.runs import card_labels
from engine.settings.judge_roles import training_judge
from tui.judging import words
from tui.review.answer_pane import length
from tui.review.answers import READING_KEYS, Answers, AnswersScreen
from tui.review.writing import writing_content
from tui.setup import completions
from tui.shell.ask import AskText
from tui.state.judge_trial import JudgeTrialView, Side, TrialRow
from tui.text.choice import MARKS
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList

if TYPE_CHECKING:
    from engine.settings.schema import Settings

LOOKS_PER_SECOND = 10
OPEN_FIRST = "enter opens the pair"
Open = Callable[["Settings", Path | None], JudgeTrial]


class JudgeCardScreen(AnswersScreen):
    """The card above, the pairs below it; in a narrow terminal the pairs, or one of them."""

    TITLE = "judge's card"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(AnswersScreen.HORIZONTAL_BREAKPOINTS or ()), (180, "-broad"),
    ]  # fmt: skip
    BINDINGS = [  # noqa: RUF012
        Binding("1", "label('left')", "first", id="judge.first"),
        Binding("2", "label('right')", "second", id="judge.second"),
        Binding("t", "label('tie')", "tie", id="judge.tie"),
        Binding("u", "undo", "undo", id="judge.undo"),
        Binding("L", "open", "label by hand", id="judge.open"),
        Binding("a", "reveal", "reveal", id="judge.reveal"),
        Binding("o", "file", "load pairs", id="judge.load"),
        Binding("d", "look('differences')", "diff", id="judge.differences"),
        Binding("escape", "leave", "back", id="judge.leave"),
        *READING_KEYS,
    ]
    DEFAULT_CSS = """
    JudgeCardScreen {
        & #place { height: 1; padding: 0 1; color: $muted; }
        & #sums { height: auto; padding: 1 1 0 1; display: none; }
        & #sentence { height: auto; max-height: 4; padding: 0 1; display: none; }
        & #state { height: auto; max-height: 6; padding: 1 1 0 1; color: $muted; }
        & #writing { height: auto; padding: 1 1 0 1; display: none; }
        & #parts { height: 1fr; }
        & #table { display: none; margin: 1 0 0 0; padding: 0 0 0 1; }
        & #header { height: 1; color: $muted; }
        & #one { height: 1fr; display: none; }
        & #both-say { height: auto; max-height: 3; padding: 0 1; color: $muted; }
        &.-pairs #table { display: block; }
        &.-pairs.-one #table { display: none; }
        &.-pairs.-one #one { display: block; }
        &.-pairs.-wide #table, &.-pairs.-wide #one { display: block; }
        &.-pairs.-broad #table, &.-pairs.-broad #one { display: block; }
        &.-wide #table { width: 48; }
        &.-broad #table { width: 76; }
    }
    """

    def __init__(self, settings: "Settings", open_trial: Open = JudgeTrial) -> None:
        super().__init__()
        self._settings = settings
        self._judge = training_judge(settings) or settings
        self._open_trial = open_trial
        self._given: list[TrialRow] = []  # labelled in this sitting, for undo
        self._busy = False  # a label is on its way to the disk
        self._stopped = False
        self._trial = open_trial(settings, None)
        self.view = JudgeTrialView({}, settings.seed)

    def body(self) -> Iterable[Widget]:
        """The card, what is waited for, the pairs and the one at the cursor."""
        yield Static(id="place", markup=False)
        yield Static(id="sums", markup=False)
        yield Static(id="sentence", markup=False)
        yield Static(id="state", markup=False)
        yield Static(id="writing", markup=False)
        with Horizontal(id="parts"):
            with Vertical(id="table"):
                yield Static(words.HEADER, id="header", markup=False)
                yield RowList(words.row_line, id="pairs")
            with Vertical(id="one"):
                yield from self.answers_area()
                yield Static(id="both-say", markup=False)

    @property
    def table(self) -> "RowList[TrialRow]":
        """The rows of the pairs."""
        return self.query_one("#pairs", RowList)

    @property
    def _alone(self) -> bool:
        """Whether the pair has the keys, and not the table."""
        return self.has_class("-one")

    @property
    def _in_sight(self) -> bool:
        """Whether the pair at the cursor is shown."""
        return self._alone or not self.has_class("-narrow")

    def on_mount(self) -> None:
        """Begin to load."""
        self.set_interval(1 / LOOKS_PER_SECOND, self._listen)
        self._begin_trial(self._trial)

    def on_unmount(self) -> None:
        """Nobody waits for it any more."""
        self._trial.close()

    def _begin_trial(self, trial: JudgeTrial) -> None:
        try:
            known = card_labels.labels(self._settings)
        except OSError as error:
            known = {}
            self.say(safe_line(f"earlier labels cannot be read: {error}", 300), 15)
        self._trial, self._stopped = trial, False
        self.view = JudgeTrialView(known, self._settings.seed)
        self._given.clear()
        self.remove_class("-pairs", "-one")
        trial.start()
        self._refresh()

    # -- what is shown ---------------------------------------------------------------------------

    def _listen(self) -> None:
        events = self._trial.drain()
        for event in events:
            self.view.take_in(event)
        if events:
            self._refresh()

    def on_resize(self) -> None:
        """Lines are filled anew."""
        if self.ready:
            self._refresh()

    def _refresh(self) -> None:
        view, width = self.view, self.size.width - 2
        card, judged = view.card(), bool(view.judged)
        title = words.title(view, self._judge.judge, self._judge.judge_system or "", width)
        self.query_one("#place", Static).update(title)
        for name, content in (
            ("#sums", words.sums(view, card, width) if judged else None),
            ("#sentence", words.sentence(view, card) if judged else None),
            ("#state", words.state(view, stopped=self._stopped) or None),
        ):
            part = self.query_one(name, Static)
            part.display = content is not None
            part.update(content or "")
        writing = None if view.rows or view.over or self._stopped else view.writing
        part = self.query_one("#writing", Static)
        part.display = writing is not None
        part.update(writing_content(writing, width, self.size.height - 6) if writing else "")
        if view.rows and not self.has_class("-pairs"):
            self.add_class("-pairs")
            self.table.focus()
        if self.table.rows is view.rows:
            self.table.redraw()
        else:
            self.table.show(view.rows)
        self._show_pair()
        self.refresh_bindings()

    @on(RowList.Moved, "#pairs")
    def _show_pair(self) -> None:
        """Show the pair at the cursor."""
        row = self.table.current
        self.show_answers(row and answers_of(row))
        self.query_one("#both-say", Static).update(words.both_say(row) if row else "")

    def action_open(self) -> None:
        """Go to the next pair that can be labelled."""
        row = self.table.current
        if row not in self.view.blind:
            self._to_next(self.table.cursor)
        self._open_row()

    @on(RowList.Chosen, "#pairs")
    def _open_row(self) -> None:
        """Give the keys, and in a narrow terminal the room, to the pair at the cursor."""
        self.add_class("-one")
        self.set_focus(None)
        self._show_pair()
        self.refresh_bindings()

    def why_not(self, action: str) -> str | None:
        """What can be done while pairs are still to come, and in which part."""
        row = self.table.current if self.is_mounted else None
        if action in ("label", "open", "reveal", "undo", "look") and not self.view.rows:
            return "there are no pairs yet"
        if action == "open" and self._alone:
            return "the pair is open already · esc goes back to the list"
        if action == "look" and not self._in_sight:
            return OPEN_FIRST
        if action == "label" and row:
            return self._why_not_label(row)
        if action == "undo" and self._newest is None:
            return "there is no label to take back"
        if action == "reveal" and not self.view.blind:
            return "all that the judge says is shown"
        return super().why_not(action)

    def _why_not_label(self, row: TrialRow) -> str | None:
        if not self._in_sight:
            return OPEN_FIRST
        if not row.askable:
            return "its answers are equal or empty: there is nothing to prefer"
        if row.label:
            return "this pair has its label · u takes the newest back"
        if row.revealed:
            return "what the judge says of it was shown, so a label would not be blind"
        return None

    # -- labels ----------------------------------------------------------------------------------

    def action_label(self, side: Side) -> None:
        """Say which answer is better, and go to the next pair."""
        row = self.table.current
        if row is None or self._busy:
            return
        if not self.was_visible(str(row.number)):
            self.say("that key came before this pair was on the screen; press it again")
            return
        pair, label = row.pair, row.meant(side)
        self._write(
            lambda: card_labels.label(self._settings, pair.prompt, pair.first, pair.second, label),
            lambda: self._labelled(row, side),
        )

    def _labelled(self, row: TrialRow, side: Side) -> None:
        row.label = row.meant(side)
        self._given.append(row)
        for each, mark in zip(("left", "right"), MARKS[side], strict=True):
            self.pane(each).flash(mark, chosen=mark == "✓")
        sentence = words.both_say(row) if row.verdict else "kept · the judge has not read it yet"
        self.say(f"{row.number}: {sentence} · u takes it back", 6)
        self._to_next(self.table.cursor)

    def _to_next(self, after: int) -> None:
        at = words.first_blind(self.view.rows, self.view.blind, after)
        if at is None:
            self.say("every pair has its label or was shown · esc goes back to the list")
        else:
            self.table.cursor = at

    @property
    def _newest(self) -> TrialRow | None:
        """What an undo takes back: the newest label of this sitting, or else that at the cursor."""
        row = self._given[-1] if self._given else self.table.current
        return row if row and row.label else None

    def action_undo(self) -> None:
        """Take the newest label back."""
        if (row := self._newest) and not self._busy:
            self._write(
                lambda: card_labels.take_back(self._settings, row.id), lambda: self._undone(row)
            )

    def _undone(self, row: TrialRow) -> None:
        self._given = self._given[:-1]
        row.label = None
        self.table.cursor = self.view.rows.index(row)
        self.say("taken back: this pair waits for you again")

    def _write(self, write: Callable[[], None], then: Callable[[], None]) -> None:
        """Change the file of labels on a thread, then what is shown, where that is still the trial
        of the pair: another file may have been loaded meanwhile."""
        self._busy, view = True, self.view

        async def run() -> None:
            try:
                await asyncio.to_thread(write)
            except (RunError, OSError) as error:
                self.say(safe_line(f"{error}: nothing was changed", 400), 15)
            else:
                if self.view is view:
                    then()
            finally:
                self._busy = False
            self._refresh()

        self.run_worker(run(), group="label")

    def action_reveal(self) -> None:
        """Show all that the judge says."""
        self.view.reveal()
        self._refresh()

    # -- pairs of a file, and the way out --------------------------------------------------------

    @work
    async def action_file(self) -> None:
        """Try the judge on the pairs of a file."""
        question = "pairs of which file? A line has prompt, first, second, and perhaps winner"
        path = await self.app.push_screen_wait(
            AskText(question, check=_cannot_read, complete=completions.paths)
        )
        if path:
            self._trial.close()
            self._begin_trial(self._open_trial(self._settings, at_home(path)))

    async def action_leave(self) -> None:
        """From a pair to the list; stop what goes on; leave."""
        if self._alone:
            self.remove_class("-one")
            self.table.focus()
            self._refresh()
        elif not (self.view.over or self._stopped):
            self._trial.close()
            self._stopped = True
            self._refresh()
        else:
            await self.app.run_action("back")


def _cannot_read(path: str) -> str | None:
    try:
        read_pairs(at_home(path))
    except UserError as error:
        return safe_line(str(error).removeprefix("--pairs: "), 400)
    return None


def answers_of(row: TrialRow) -> Answers:
    """What is shown of a pair."""
    left, right = row.in_order((row.pair.first, row.pair.second))
    facts = ("", "")
    if row.pair.tokens:
        cut = row.in_order(row.pair.cut)
        one, two = row.in_order(row.pair.tokens)
        facts = length(one, cut[0]), length(two, cut[1])
    return Answers(
        key=str(row.number),
        prompt=row.pair.prompt.text,
        left=left,
        right=right,
        left_facts=facts[0],
        right_facts=facts[1],
        messages=row.pair.prompt.conversation,
    )
