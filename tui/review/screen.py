"""Review: the pair that waits for a person, its place in the run, and why there is none."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.errors import RunError, UserError
from engine.events import COMPLETE, Event, PairSampled
from tui.review.answer_pane import length
from tui.review.answers import MOST, READING_KEYS, Answers, AnswersScreen
from tui.review.before_list import BeforeList
from tui.review.label_queue import LabelQueue, PastLabel, Remark, earlier_labels
from tui.review.labelling import LabellingScreen
from tui.review.words import CHOOSE, NO_PAIR, NOT_ASKED, idle_content, place_facts, rubric
from tui.review.writing import writing_content
from tui.shell.base import ERROR_SECONDS
from tui.state.live_run import LiveRun
from tui.text.safe_text import safe, wrap_cut
from tui.widgets.key_line import KeyLine
from tui.widgets.safe_editors import LineEditor

if TYPE_CHECKING:
    from engine.session import Session
    from engine.settings.schema import Settings

OTHER_LINES = 4  # of the screen: the head and the keys
BROAD, SIDES = 188, 30 + 34  # cells of a screen with more at its sides, and what that takes
REMARK_ROWS = 3  # of a flag and a note, so that they leave the answers their room
LABELLING = {"number", "give", "undo", "note", "flag", "look", "before"}  # actions
OF_PAIR = {"number", "give", "note", "flag"}  # those of the pair that waits
NOTE_HINT = "a note on this pair · enter keeps it, escape does not"


class ReviewScreen(LabellingScreen):
    """Shows the pair that waits, and the next as soon as there is a verdict."""

    TITLE = "review"
    # From 188 columns on, what was answered before and the rubric stand beside the pair.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(AnswersScreen.HORIZONTAL_BREAKPOINTS or ()), (BROAD, "-broad"),
    ]  # fmt: skip
    BINDINGS = [  # noqa: RUF012
        Binding("r", "resume", "resume", id="review.resume"),
        Binding("1", "number(1)", "first", id="review.first"),
        Binding("2", "number(2)", "second", id="review.second"),
        *(
            Binding(str(at), f"number({at})", f"answer {at}", show=False, id=f"review.answer_{at}")
            for at in range(3, MOST + 1)
        ),
        Binding("t", "give('tie')", "tie", id="review.tie"),
        Binding("b", "give('both_bad')", "both bad", id="review.both_bad"),
        Binding("s", "give('skip')", "skip", id="review.skip"),
        Binding("u", "undo", "undo", id="review.undo"),
        Binding("n", "note", "note", id="review.note"),
        Binding("f", "flag", "flag", show=False, id="review.flag"),
        Binding("d", "look('differences')", "diff", id="review.differences"),
        Binding("h", "before", "before", id="review.before"),
        Binding("escape", "cancel", "back to the pair", show=False, id="review.cancel"),
        *READING_KEYS,
    ]
    DEFAULT_CSS = """
    ReviewScreen {
        & #place { padding: 0 1; height: 1; color: $muted; }
        & #idle { padding: 1 1; height: auto; }
        & #table { height: 1fr; }
        & #middle { width: 1fr; height: 1fr; }
        & #writing { padding: 0 1; height: auto; max-height: 1fr; display: none; }
        & BeforeList, & #rubric { display: none; }
        &.-before BeforeList { display: block; width: 1fr; }
        &.-before #middle { display: none; }
        &.-broad BeforeList { display: block; width: 30; border-right: solid $faint; }
        &.-broad #middle { display: block; }
        &.-broad #rubric {
            display: block; width: 34; height: 1fr; padding: 1 1 0 1; border-left: solid $faint;
        }
        & #remark { height: auto; padding: 0 1; color: $muted; display: none; }
        & #note { display: none; border: none; height: 1; padding: 0 1; background: $surface; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._elsewhere = ""  # the name of the run that another process trains
        self._noted = Remark()  # what the open note is of

    def body(self) -> Iterable[Widget]:
        """The pair with its place in the run, or why there is none."""
        yield Static(id="place", markup=False)
        with Horizontal(id="table"):
            yield BeforeList()
            with Vertical(id="middle"):
                yield Static(id="idle", markup=False)
                yield Static(id="writing", markup=False)
                yield from self.answers_area()
            yield Static(id="rubric", markup=False)
        yield Static(id="remark", markup=False)
        yield LineEditor(id="note", placeholder=NOTE_HINT, compact=True, select_on_focus=False)

    @property
    def answers_width(self) -> int:
        return self.size.width - (SIDES if self.size.width >= BROAD else 0)

    def shows(self, live: LiveRun) -> bool:
        """Its head tells all of the run that is judged here."""
        return live.here and live.human

    def show_live(self, live: LiveRun | None) -> None:
        """Another process may train a run now."""
        super().show_live(live)
        name = live.name if live and not live.here else ""
        if name != self._elsewhere:
            self._elsewhere = name
            self.run_changed(())

    # -- what is shown ---------------------------------------------------------------------------

    def run_changed(self, events: Sequence[Event]) -> None:
        """Show the next pair as soon as one waits."""
        if not self._busy:
            self._refresh()

    def on_resize(self) -> None:
        """Another width has room for more facts, or fewer."""
        if self.ready:
            self._show_place(self._queue_now())
            self._show_remark(self._queue)

    def _refresh(self) -> None:
        queue = self._queue_now()
        pair = queue.refresh() if queue else None
        idle = self.query_one("#idle", Static)
        idle.display = pair is None
        self._show_pick(pair)
        self.show_answers(answers_of(pair) if pair else None)
        if pair is None:
            given = len(queue.labels) if queue else 0
            idle.update(
                idle_content(self.studio.session, self.studio.view, self._elsewhere, given=given)
            )
        else:
            self.query_one(KeyLine).take_back(*NO_PAIR.values())
        writing = self.studio.view.writing if queue and pair is None and self.studio.view else None
        part = self.query_one("#writing", Static)
        part.display = writing is not None
        if writing:
            room = self.size.height - idle.outer_size.height - OTHER_LINES
            part.update(writing_content(writing, self.size.width - 2, room))
        self._show_place(queue)
        self._show_remark(queue)
        self.query_one(BeforeList).show(queue.sitting() if queue else [])
        self.query_one("#rubric", Static).update(
            rubric(self._session.settings) if queue and self._session else ""
        )

    def _queue_now(self) -> LabelQueue | None:
        """The queue of the run that asks a person now; a new run gets a new queue."""
        session, before = self.studio.session, self._session
        if session is None or not self._asked:
            self._queue = self._session = None
        elif session is not before:
            self._session = session
            self._queue = LabelQueue(session, self._earlier(session))
        if self._session is not before:
            self.refresh_bindings()
        return self._queue

    @property
    def _asked(self) -> bool:
        """Whether a run that goes on here asks a person."""
        session = self.studio.session
        return session is not None and session.alive and session.settings.asks_person

    def _earlier(self, session: "Session") -> list[PastLabel]:
        """What was labelled in earlier sittings; of files that cannot be read, nothing."""
        if session.run is None:
            return []
        try:
            return earlier_labels(session.run)
        except OSError as error:
            place = error.filename or session.run.path
            why = f"{place} cannot be read: {error.strerror or error}"
            self.say(f"{why}; labels of earlier sittings are not counted", ERROR_SECONDS)
            return []

    def _show_place(self, queue: LabelQueue | None) -> None:
        name = self.studio.view.name if self.studio.view else ""
        facts = []
        if queue and queue.current and (session := self._session):
            facts = place_facts(queue, self._goal(session.settings))
        self.query_one("#place", Static).update(self.place_line(name, facts))

    def _goal(self, settings: "Settings") -> int | None:
        """The prompts that a person is asked of in the whole run, where one judges all of them and
        their number is known; those of a warm start were judged before."""
        steps = self.studio.view.own_steps if self.studio.view else 0
        return steps * settings.batch_size if settings.human_judge and steps else None

    def _show_remark(self, queue: LabelQueue | None) -> None:
        remark = queue.remark() if queue else None
        parts = []
        if remark and remark.flagged:
            parts.append("flagged")
        if remark and remark.note:
            parts.append(f"note: {safe(remark.note)}")
        line = self.query_one("#remark", Static)
        line.update(wrap_cut(" · ".join(parts), self.size.width - 2, REMARK_ROWS))
        line.display = bool(parts)

    def why_not(self, action: str) -> str | None:
        """Only a run that asks a person takes labels; it is resumed once it is over."""
        if action in LABELLING and not self._asked:
            return NOT_ASKED
        if action in OF_PAIR and self.has_class("-before"):
            return CHOOSE
        if action != "resume":
            return super().why_not(action)
        session = self.studio.session
        if session is None or session.alive or not session.settings.asks_person:
            return "no run that a person judges is over"
        if not session.run or not session.has_folder or session.status in COMPLETE:
            return "this run has nothing to go on with"
        return None

    def action_resume(self) -> None:
        """Go on with the run that is over from its newest checkpoint."""
        if (session := self.studio.session) and session.run:
            try:
                self.studio.resume_run(session.run)
            except (UserError, RunError) as error:
                self.say(safe(str(error)))

    # -- remarks ---------------------------------------------------------------------------------

    def action_note(self) -> None:
        """Write a note on the pair."""
        queue = self._queue_or_say()
        if queue is None:
            return
        if queue.current is None:
            self.say(NO_PAIR["note"])
            return
        self._noted = queue.remark()
        note = self.query_one("#note", Input)
        note.value = self._noted.note
        note.cursor_position = len(note.value)
        note.display = True
        note.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the note, which is stored with the verdict; one that comes too late stays in the
        line."""
        self.run_changed(())
        if self._queue is None or self._queue.remark() is not self._noted:
            why = "the pair of this note waits no more" if self._queue else "the run has ended"
            self.say(f"{why}: the note is not kept, escape closes it")
            return
        self._noted.note = event.value.strip()
        self._leave_note()

    def action_cancel(self) -> None:
        """Leave the note as it was, or what was answered before."""
        if self.query_one("#note").display:
            self._leave_note()
        elif self.has_class("-before"):
            self._leave_before()
        else:
            self.say("no note is open · f3 shows the run")

    def _leave_note(self) -> None:
        self.query_one("#note", Input).display = False
        self.set_focus(None)
        self._refresh()

    def action_flag(self) -> None:
        """Flag the pair, or take the flag away."""
        queue = self._queue_or_say()
        if queue is None:
            return
        if queue.current is None:
            self.say(NO_PAIR["flag"])
            return
        queue.remark().flagged = not queue.remark().flagged
        self._show_remark(queue)


def answers_of(pair: PairSampled) -> Answers:
    """What is shown of a pair."""
    return Answers(
        key=pair.pair_id,
        prompt=pair.prompt,
        left=pair.left,
        right=pair.right,
        left_facts=length(pair.left_tokens, pair.left_cut),
        right_facts=length(pair.right_tokens, pair.right_cut),
        messages=pair.messages,
        more=tuple((each.text, length(each.tokens, each.cut)) for each in pair.answers[2:]),
    )
