"""What Review says in words: where a pair stands, why there is none, what came of an undo."""

import re
from typing import TYPE_CHECKING

from textual.content import Content

from engine.events import COMPLETE, Shown
from engine.settings.judge_names import HYBRID
from tui.review.label_queue import LabelQueue, UndoOutcome
from tui.state.run_view import RunView
from tui.text.choice import label_changed, shown_choice
from tui.text.phase import amount, phase_sentence
from tui.text.safe_text import safe, safe_line
from tui.widgets.bar import bar

if TYPE_CHECKING:
    from engine.session import Session
    from engine.settings.schema import Settings

LINE_END = re.compile(r"([^\n]{60})\n(?=\w)")  # of a line that was broken for its length
RUBRIC = 2_000  # characters of the rubric
BAR = 12  # cells of the bar
WAITING_BAR = 40  # of the one while nothing can be judged
UNDO_SAYS: dict[UndoOutcome, str] = {
    "undone": "taken back: this pair waits for you again",
    "learned": "the label is as it was",
    "check": "that pair was shown a second time to check your consistency; it trains nothing",
    "nothing": "there is nothing to undo",
}
NO_RUN = """\
No run is going.

A run whose judge is human asks here which of two answers is better.
f2 opens the form: take the preset starter-human, or set judge to human."""
ELSEWHERE = """\
No run is going here; another process trains {name}.

0 shows it: r takes it over there."""
OTHER_JUDGE = """\
{name} is judged by {judge}, so no pair waits for you.

f2 opens the form: set judge to human to label pairs by hand. f3 shows the run."""
OVER = """\
{name} has {how}; no pair waits any more.

{back}f5 lists the runs: look at its pairs there, and try its model."""
NOT_KEPT = """\
{name} has {how} before its first step, so no run is kept.

f2 opens the form. f3 shows what the run said."""
BATCH_DONE = """\
Every pair of this batch has its verdict; the update follows in a moment.

u takes the last verdict back."""
SURE = """\
No pair waits: {model} labels those that it is sure of by itself.

One that it is not sure of comes here, and so do a few of the others. \
The run goes on without those that are not answered in time."""
COMING = "{phase}{done}. The next pair comes here by itself."
LAST = "{phase}{done}. The last step is done, and no further pair comes."
CHOOSE = "enter takes a label back, so that its pair is asked again · h goes back"
GONE = "that pair waits no more: the verdict came too late and is not kept"
NO_PAIR = {  # said of a key that is pressed before a pair is here
    "verdict": "no pair waits for a verdict yet",
    "note": "no pair is here to write a note on",
    "flag": "no pair is here to flag",
}
NOT_ASKED = "no run asks for a person's verdict now"
TAKE_BACK = "u takes the last verdict back."


def relabelled(shown: Shown | None) -> str:
    """What came of another label for a pair that was learned from; None: it was removed."""
    if shown is None:
        return "label removed; what the model has learned from it stays"
    return label_changed(shown_choice(shown))


def place_facts(queue: LabelQueue, goal: int | None) -> list[str | Content]:
    """How far the labelling is on its way to `goal` labels, if there is such a number, where the
    pair that is shown stands and how it goes, in a few words each, the first ones first to be
    kept."""
    place, pair = queue.place(), queue.current
    facts: list[str | Content] = [f"label {place.of_run:,}"]
    if goal is not None:
        way = bar((place.of_run - 1) / max(1, goal), BAR)
        facts = [Content.assemble(f"{place.of_run:,} of {goal:,} ", way)]
    agreed, checked = queue.session.agreement()
    if checked:
        facts.append(f"{agreed} of {checked} repeats alike")
    if place.batch > 1:
        facts.append(f"pair {place.index} of {place.batch}")
    if place.waiting:
        facts.append(f"{place.waiting} more wait{'s' if place.waiting == 1 else ''}")
    if pair:
        age = max(0, pair.step - 1 - pair.weights_step)
        facts.append(f"{age} step{'' if age == 1 else 's'} old" if age else "fresh")
    if pace := queue.labels_a_minute():
        facts.append(f"{pace:.0f} a minute" if pace >= 1 else f"{60 * pace:.0f} an hour")
    return facts


def rubric(settings: "Settings") -> Content:
    """What makes one answer better, as the run's settings say it."""
    title = Content.styled("rubric\n\n", "$muted")
    return title + Content(LINE_END.sub(r"\1 ", safe(settings.judge_system, RUBRIC)))


def idle_content(
    session: "Session | None", view: RunView | None, elsewhere: str = "", *, given: int = 0
) -> Content:
    """`idle_reason`, with a bar where the phase says how far it is, and once a verdict was `given`
    the key that takes it back."""
    parts = [Content(idle_reason(session, view, elsewhere))]
    going = session is not None and session.alive and session.settings.asks_person
    progress = view.progress if view and going else None
    if progress and progress.total and progress.phase != "waiting":
        parts.append(bar(progress.done_share, WAITING_BAR))
    waits = progress is not None and progress.phase == "waiting"
    if going and given and not waits and not _at_end(view):
        parts.append(Content.styled(TAKE_BACK, "$muted"))
    return Content("\n\n").join(parts)


def idle_reason(session: "Session | None", view: RunView | None, elsewhere: str = "") -> str:
    """Why no pair is on the screen, and what to do or to wait for; `elsewhere` names a run that
    another process trains."""
    if session is None or view is None:
        return ELSEWHERE.format(name=safe_line(elsewhere, 60)) if elsewhere else NO_RUN
    name = safe_line(view.name) or "This run"
    if not session.settings.asks_person:
        return OTHER_JUDGE.format(name=name, judge=safe_line(session.settings.judge))
    if not session.alive:
        how = "ended" if view.live else view.status
        if not session.has_folder:
            return NOT_KEPT.format(name=name, how=how)
        back = "" if session.status in COMPLETE else "r goes on with it. "
        return OVER.format(name=name, how=how, back=back)
    progress = view.progress
    if session.settings.judge == HYBRID:
        return SURE.format(model=safe_line(session.settings.hybrid_model or "", 60))
    if progress is None:
        return COMING.format(phase=phase_sentence("starting"), done="")
    if progress.phase == "waiting":
        return BATCH_DONE
    done = f": {amount(progress)}" if progress.total else ""
    words = LAST if _at_end(view) else COMING
    return words.format(phase=phase_sentence(progress.phase), done=done)


def _at_end(view: RunView | None) -> bool:
    """Whether all steps are done, so that only what they brought is measured and kept."""
    return view is not None and 0 < view.total_steps <= view.step
