"""What a person says of the pairs in Review: verdicts, undo, and other labels of earlier pairs."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from textual import on

from engine.errors import RunError, UserError
from engine.events import PairSampled, Pick, Shown
from tui.review.answer_pane import AnswerPane
from tui.review.answers import AnswersScreen
from tui.review.before_list import BeforeList
from tui.review.label_queue import LabelQueue, UndoOutcome
from tui.review.words import CHOOSE, GONE, NO_PAIR, NOT_ASKED, UNDO_SAYS, relabelled
from tui.text.choice import label_kept, label_log, marks, pick_words, shown_choice
from tui.text.safe_text import safe
from tui.widgets.row_list import RowList

if TYPE_CHECKING:
    from engine.judges.human import Label

Outcome = TypeVar("Outcome")  # of what is done on a thread


class LabellingScreen(AnswersScreen):
    """Takes verdicts on the pair that is shown, and changes those that were given before."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: LabelQueue | None = None
        self._busy = False  # a verdict is on its way to the disk
        self._best: tuple[str, int] | None = None  # picked already, of which pair; the worst is not

    def _refresh(self) -> None:
        """Show the pair that waits now."""
        raise NotImplementedError

    def action_number(self, number: int) -> None:
        """Pick an answer by its number: the better one of two, of more the best one, and then the
        worst one where that is asked for."""
        queue = self._queue_ready()
        if queue is None:
            return
        pair, at = queue.current, number - 1
        assert pair is not None
        count = max(2, len(pair.answers))
        if at >= count:
            self.say(f"there are {count} answers: 1 to {count}")
        elif count == 2:
            self.action_give("left" if at == 0 else "right")
        elif not pair.asks_worst:
            self._give(queue, Pick(at))
        elif self._best is None:
            self._best = pair.pair_id, at
            self._show_pick(pair)
            self.lay_out()
        elif self._best[1] == at:
            self.say(f"{number} is the best one already; the worst is another, u takes it back")
        else:
            self._give(queue, Pick(self._best[1], at))

    def action_give(self, shown: Shown) -> None:
        """Label what is on the screen."""
        if queue := self._queue_ready():
            self._give(queue, shown)

    def _give(self, queue: LabelQueue, shown: Shown | Pick) -> None:
        pair = queue.current

        def after(given: bool) -> None:
            if given:
                self._flash(queue, pair, shown)
            else:  # the run went on without it, or has ended
                self.say(GONE)

        self._run_busy(lambda: queue.give(shown), after)

    def _queue_ready(self) -> LabelQueue | None:
        """The queue whose pair is on the screen. A key pressed before it was there does not
        count."""
        queue = self._queue_or_say()
        if queue is None or self._busy:
            return None
        if self.has_class("-before"):
            self.say(CHOOSE)
        elif queue.current is None:
            self.say(NO_PAIR["verdict"])
        elif not self.was_visible(queue.current.pair_id):
            self.say("that key came before this pair was on the screen; press it again")
        else:
            return queue
        return None

    def _show_pick(self, pair: PairSampled | None) -> None:
        """Mark the answer that was picked as the best, and say what is asked."""
        if self._best and (pair is None or self._best[0] != pair.pair_id):
            self._best = None
        for number, pane in enumerate(self.query(AnswerPane)):
            pane.mark("✓ best" if self._best and self._best[1] == number else "")
        count = len(pair.answers) if pair else 0
        self.question = f"which is the best? 1 to {count}"
        if self._best:
            self.question = f"{self._best[1] + 1} is best; the worst? 1 to {count}"

    def _flash(self, queue: LabelQueue, pair: PairSampled | None, shown: Shown | Pick) -> None:
        """Light the chosen answer; where no pair follows at once, say what was given."""
        if queue.refresh() is None:
            self.say(f"{pick_words(shown)} · u takes it back", 4)
        count = max(2, len(pair.answers)) if pair else 2
        panes = list(self.query(AnswerPane))[:count]
        for pane, mark in zip(panes, marks(shown, count), strict=True):
            pane.flash(mark, chosen=mark == "✓")

    def action_undo(self) -> None:
        """Take the newest label back; one that was learned from can be changed."""
        queue = self._queue_or_say()
        if queue and self._best and not self._busy:
            self._best = None
            self._refresh()
            self.lay_out()
            self.say("the best is not picked any more")
        elif queue and not self._busy:
            self._run_busy(
                lambda: (queue.undo(), queue.label()),
                lambda result: self._after_undo(queue, *result),
            )

    def action_before(self) -> None:
        """To what was answered before in this sitting, and back."""
        if self.has_class("-before"):
            self._leave_before()
            return
        self._refresh()  # a label of this moment is in the list
        if not self.query_one(BeforeList).list.rows:
            self.say("nothing was answered before in this sitting")
        else:
            self.add_class("-before")
            self.query_one(BeforeList).list.focus()
            self.refresh_bindings()
            self.say(CHOOSE)

    def _leave_before(self) -> None:
        self.remove_class("-before")
        self.set_focus(None)
        self.refresh_bindings()

    @on(RowList.Chosen, "#before-list")
    def _chosen_before(self) -> None:
        """Show the pair again, or, where it was learned from, ask for another label of it."""
        queue, row = self._queue_or_say(), self.query_one(BeforeList).list.current
        if queue and row and not self._busy:
            pair_id = row[1].pair_id
            back = queue.back_to(pair_id)
            self._leave_before()
            self._run_busy(
                lambda: (queue.take_back(pair_id), queue.label(back)),
                lambda result: self._after_undo(queue, *result, back=back),
            )

    def _after_undo(
        self, queue: LabelQueue, outcome: UndoOutcome, label: "Label | None", back: int = 0
    ) -> None:
        if outcome == "learned" and label:
            self._ask_for_change(queue, label, back)
        else:
            self.say(UNDO_SAYS[outcome])

    def _ask_for_change(self, queue: LabelQueue, label: "Label", back: int) -> None:
        """Ask for another label of a pair that was learned from, `back` before the newest."""
        from tui.review.change_label import Change, ChangeLabel

        def answered(change: Change | None) -> None:
            if change == "before":
                self._run_busy(
                    lambda: queue.label(back + 1),
                    lambda earlier: self._ask_for_change(
                        queue, earlier or label, back + 1 if earlier else back
                    ),
                )
            elif change is None:
                self.say(UNDO_SAYS["learned"])
            elif change == label.shown:
                self.say(label_kept(shown_choice(label.shown)))
            else:
                shown = None if change == "remove" else change
                self._run_busy(
                    lambda: queue.relabel(label.pair_id, shown),
                    lambda changed: self._after_change(label.pair_id, shown, changed),
                )

        self.app.push_screen(ChangeLabel(label), answered)

    def _after_change(self, pair_id: str, shown: Shown | None, changed: bool) -> None:
        self.say(relabelled(shown) if changed else UNDO_SAYS["learned"])
        if changed:
            self.studio.control.log(label_log(pair_id, removed=shown is None))

    def _run_busy(self, work: Callable[[], Outcome], then: Callable[[Outcome], None]) -> None:
        """Do `work`, which waits for the disk, on a thread; then draw what came of it."""
        self._busy = True

        async def run() -> None:
            try:
                outcome = await asyncio.to_thread(work)
            except (UserError, RunError, OSError) as error:
                self.say(f"{safe(str(error))}: nothing was changed, the pair still waits")
            else:
                then(outcome)
            finally:
                self._busy = False
            self._refresh()

        self.run_worker(run(), group="verdict")

    def _queue_or_say(self) -> LabelQueue | None:
        if self._queue is None:
            self.say(NOT_ASKED)
        return self._queue
