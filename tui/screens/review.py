"""Review: a person picks the better of two answers."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.errors import RunError
from engine.events import Event, PairSampled
from tui.differences import differences
from tui.review_desk import Desk, given_before
from tui.review_text import UNDO_SAYS, idle_reason, place_facts
from tui.safe_text import safe
from tui.screens.base import StudioScreen
from tui.widgets.answer_pane import AnswerPane, Look, length

if TYPE_CHECKING:
    from engine.session import Session, Shown

Layout = Literal["side by side", "stacked", "one at a time"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# What stands for a moment beside each number after a verdict: left, right.
MARKS: dict[str, tuple[str, str]] = {
    "left": ("✓", ""),
    "right": ("", "✓"),
    "tie": ("=", "="),
    "both_bad": ("✗", "✗"),
    "skip": ("–", "–"),
}
NOTE_HINT = "a note on this pair · enter keeps it, escape does not"
LOOKS: dict[Look, str] = {
    "plain": "plain text",
    "differences": "what the answers share in grey, what is their own in bold",
    "markdown": "Markdown",
}


class ReviewScreen(StudioScreen):
    """Shows the pair that waits, takes the verdict and shows the next."""

    TITLE = "review"
    AUTO_FOCUS = ""  # the keys belong to the pair; only a note takes the focus
    BINDINGS = [  # noqa: RUF012
        Binding("1", "give('left')", "first", id="review.first"),
        Binding("2", "give('right')", "second", id="review.second"),
        Binding("t", "give('tie')", "tie", id="review.tie"),
        Binding("b", "give('both_bad')", "both bad", id="review.both_bad"),
        Binding("s", "give('skip')", "skip", id="review.skip"),
        Binding("u", "undo", "undo", id="review.undo"),
        Binding("n", "note", "note", id="review.note"),
        Binding("f", "flag", "flag", show=False, id="review.flag"),
        Binding("d", "look('differences')", "diff", id="review.differences"),
        Binding("m", "look('markdown')", "Markdown or plain", show=False, id="review.markdown"),
        Binding("v", "layout", "side by side, stacked, one", show=False, id="review.layout"),
        Binding("p", "prompt", "the whole prompt", show=False, id="review.prompt"),
        Binding("tab,left,right", "other", "the other answer", show=False, id="review.other"),
        Binding("down,j", "scroll(1)", "down", show=False, id="review.down"),
        Binding("up,k", "scroll(-1)", "up", show=False, id="review.up"),
        Binding("pagedown,space", "page(1)", "a page down", show=False, id="review.page_down"),
        Binding("pageup", "page(-1)", "a page up", show=False, id="review.page_up"),
        Binding("home,g", "to_end(False)", "to the start", show=False, id="review.start"),
        Binding("end,G", "to_end(True)", "to the end", show=False, id="review.end"),
        Binding("escape", "cancel", "drop the note", show=False, id="review.cancel"),
    ]
    DEFAULT_CSS = """
    ReviewScreen {
        & #place { padding: 0 1; height: auto; color: $muted; }
        & #idle { padding: 1 1; height: auto; }
        & #pair { height: 1fr; padding: 1 1 0 1; }
        & #prompt { height: auto; max-height: 30%; margin-bottom: 1; }
        & #prompt-more { height: 1; color: $muted; display: none; }
        & #answers { height: 1fr; }
        & #remark { height: auto; padding: 0 1; color: $muted; display: none; }
        & #note { display: none; border: none; height: 1; padding: 0 1; background: $surface; }

        & .-side-by-side #answers { layout: horizontal; }
        & .-side-by-side AnswerPane#right { margin-left: 3; }
        & .-one-at-a-time.-on-left AnswerPane#right { display: none; }
        & .-one-at-a-time.-on-right AnswerPane#left { display: none; }
        & .-prompt-alone #prompt { max-height: 100%; height: 1fr; }
        & .-prompt-alone #answers { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self._session: Session | None = None
        self._painted: str | None = None  # the pair that has been on the screen
        self._busy = False  # a verdict is on its way to the disk
        self._look: Look = "plain"
        self._layout: Layout = "side by side"

    def body(self) -> Iterable[Widget]:
        """The pair with its place in the run, or why there is none."""
        yield Static(id="place", markup=False)
        yield Static(id="idle", markup=False)
        with Vertical(id="pair", classes="-side-by-side -on-left") as pair:
            with VerticalScroll(id="prompt", can_focus=False):
                yield Static(id="prompt-text", markup=False)
            yield Static("… p shows the whole prompt", id="prompt-more")
            with Container(id="answers"):
                yield AnswerPane(1, id="left")
                yield AnswerPane(2, id="right")
        pair.display = False
        yield Static(id="remark", markup=False)
        yield Input(
            id="note",
            placeholder="a note on this pair · enter keeps it, escape does not",
            compact=True,
        )

    # -- what is shown ---------------------------------------------------------------------------

    def run_changed(self, events: Sequence[Event]) -> None:
        """Show the next pair as soon as one waits."""
        if not self._busy:
            self._refresh()

    def _refresh(self) -> None:
        desk = self._desk_now()
        pair = desk.look() if desk else None
        self.query_one("#pair").display = pair is not None
        idle = self.query_one("#idle", Static)
        idle.display = pair is None
        if desk is None or pair is None:
            self._painted = None
            idle.update(idle_reason(self.studio.session, self.studio.view))
        else:
            self._show(pair)
        self._show_place(desk)
        self._show_remark(desk)

    def _desk_now(self) -> Desk | None:
        """The desk of the run that asks a person now; a new run gets a new desk."""
        session = self.studio.session
        if session is None or not session.alive or not session.settings.human_judge:
            self._desk = self._session = None
        elif session is not self._session:
            self._session = session
            self._desk = Desk(session, given_before(session.run) if session.run else [])
        return self._desk

    def _show(self, pair: PairSampled) -> None:
        left, right = safe(pair.left), safe(pair.right)
        spans = differences(left, right) if self._look == "differences" else ([], [])
        self.query_one("#prompt-text", Static).update(
            Content.assemble(("> ", "$muted"), safe(pair.prompt))
        )
        self._pane("left").show(left, length(pair.left_tokens, pair.left_cut), self._look, spans[0])
        self._pane("right").show(
            right, length(pair.right_tokens, pair.right_cut), self._look, spans[1]
        )
        if pair.pair_id != self._painted:
            self._painted = None
            self.query_one("#prompt").scroll_home(animate=False)
            self.call_after_refresh(self._seen, pair.pair_id)

    def _seen(self, pair_id: str) -> None:
        """The pair is on the screen: from now on a key can mean it."""
        self._painted = pair_id
        prompt = self.query_one("#prompt")
        self.query_one("#prompt-more").display = prompt.max_scroll_y > 0

    def _show_place(self, desk: Desk | None) -> None:
        name = safe(self.studio.view.name) if self.studio.view else ""
        facts = place_facts(desk) if desk and desk.current else []
        self.query_one("#place", Static).update(
            Content.assemble((name, "bold $foreground"), "   ", " · ".join(facts))
        )

    def _show_remark(self, desk: Desk | None) -> None:
        remark = desk.remark() if desk else None
        parts = []
        if remark and remark.flagged:
            parts.append("flagged")
        if remark and remark.note:
            parts.append(f"note: {safe(remark.note)}")
        line = self.query_one("#remark", Static)
        line.update(" · ".join(parts))
        line.display = bool(parts)

    def _pane(self, side: str) -> AnswerPane:
        return self.query_one(f"#{side}", AnswerPane)

    # -- verdicts --------------------------------------------------------------------------------

    def action_give(self, shown: "Shown") -> None:
        """Label the pair on the screen. A key pressed before it was there does not count."""
        desk = self._desk_or_say()
        if desk is None or self._busy:
            return
        if desk.current is None:
            self.say("no pair waits for a verdict yet")
        elif desk.current.pair_id != self._painted:
            self.say("that key came before this pair was on the screen; press it again")
        else:
            self._keep_busy(lambda: desk.give(shown), lambda _: self._given(shown))

    def _given(self, shown: "Shown") -> None:
        for side, mark in zip(("left", "right"), MARKS[shown], strict=True):
            self._pane(side).flash(mark, chosen=mark == "✓")

    def action_undo(self) -> None:
        """Take the newest label back."""
        desk = self._desk_or_say()
        if desk and not self._busy:
            self._keep_busy(desk.undo, lambda outcome: self.say(UNDO_SAYS[outcome]))

    def _keep_busy(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do `work`, which waits for the disk, on a thread; then draw what came of it."""
        self._busy = True

        async def run() -> None:
            try:
                outcome = await asyncio.to_thread(work)
            except RunError as error:
                self.say(f"{safe(str(error))}: nothing was changed, the pair still waits")
            else:
                done(outcome)
            finally:
                self._busy = False
                self._refresh()

        self.run_worker(run(), group="verdict")

    def _desk_or_say(self) -> Desk | None:
        if self._desk is None:
            self.say("no run asks for a person's verdict now")
        return self._desk

    # -- remarks ---------------------------------------------------------------------------------

    def action_note(self) -> None:
        """Write a note on the pair."""
        desk = self._desk_or_say()
        if desk is None:
            return
        if desk.current is None:
            self.say("no pair is here to write a note on")
            return
        note = self.query_one("#note", Input)
        note.value = desk.remark().note
        note.display = True
        note.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the note; it is stored with the verdict."""
        if self._desk:
            self._desk.remark().note = event.value.strip()
        self._leave_note()

    def action_cancel(self) -> None:
        """Leave the note as it was."""
        if self.query_one("#note").display:
            self._leave_note()
        else:
            self.say("no note is open · f3 shows the run")

    def _leave_note(self) -> None:
        self.query_one("#note", Input).display = False
        self.set_focus(None)
        self._refresh()

    def action_flag(self) -> None:
        """Flag the pair, or take the flag away."""
        desk = self._desk_or_say()
        if desk is None:
            return
        if desk.current is None:
            self.say("no pair is here to flag")
            return
        desk.remark().flagged = not desk.remark().flagged
        self._show_remark(desk)

    # -- looking ---------------------------------------------------------------------------------

    def action_look(self, look: Look) -> None:
        """Show differences or Markdown, or go back to plain text."""
        self._look = "plain" if self._look == look else look
        self.say(f"showing {LOOKS[self._look]}", 2)
        self._refresh()

    def action_layout(self) -> None:
        """Put the answers side by side, one over the other, or one at a time."""
        self._layout = LAYOUTS[(LAYOUTS.index(self._layout) + 1) % len(LAYOUTS)]
        pair = self.query_one("#pair")
        for layout in LAYOUTS:
            pair.set_class(layout == self._layout, "-" + layout.replace(" ", "-"))
        more = " · tab shows the other" if self._layout == "one at a time" else ""
        self.say(self._layout + more, 2)

    def action_other(self) -> None:
        """Show the other answer, where they are shown one at a time."""
        if self._layout != "one at a time":
            self.say("both answers are on the screen; v shows one at a time")
            return
        pair = self.query_one("#pair")
        pair.toggle_class("-on-left", "-on-right")

    def action_prompt(self) -> None:
        """Give the whole screen to the prompt, or back to the answers."""
        self.query_one("#pair").toggle_class("-prompt-alone")

    def _scrolled(self) -> list[VerticalScroll]:
        """What the scrolling keys move: both answers, or the prompt where it stands alone."""
        if self.query_one("#pair").has_class("-prompt-alone"):
            return [self.query_one("#prompt", VerticalScroll)]
        return [pane.scroll for pane in self.query(AnswerPane)]

    def action_scroll(self, lines: int) -> None:
        """Scroll both answers by lines."""
        for scroll in self._scrolled():
            scroll.scroll_relative(y=lines, animate=False)

    def action_page(self, pages: int) -> None:
        """Scroll both answers by a page."""
        for scroll in self._scrolled():
            scroll.scroll_relative(y=pages * max(1, scroll.size.height - 1), animate=False)

    def action_to_end(self, end: bool) -> None:
        """Scroll both answers to their start or end."""
        for scroll in self._scrolled():
            (scroll.scroll_end if end else scroll.scroll_home)(animate=False)
