"""The head of a run: who it is, how far it is, and what it does at this moment."""

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.state.run_view import RunView
from tui.text.format import count, duration
from tui.text.phase import activity, speeds, time_left
from tui.text.safe_text import cut, safe_line
from tui.widgets.bar import bar

NO_RUN = (
    "no run yet",
    "f2 sets one up and starts it · f5 lists earlier ones, to look at or resume",
)
PHASE_BAR = 12  # cells


class RunHeader(Widget):
    """Three lines: the run and its step, its bar, and the phase with its speed."""

    DEFAULT_CSS = "RunHeader { height: 3; }"

    instead: reactive[tuple[str, str]] = reactive(NO_RUN)  # lines as long as there is no view

    def __init__(self, instead: tuple[str, str] = NO_RUN, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.set_reactive(RunHeader.instead, instead)
        self._view: RunView | None = None
        self._memory = 0
        self._stopping = False

    def show(self, view: RunView | None, *, memory: int = 0, stopping: bool = False) -> None:
        """Draw a view. `memory` is the machine's, in bytes; 0: not known."""
        self._view, self._memory, self._stopping = view, memory, stopping
        self.refresh()

    def render(self) -> Content:
        """The three lines."""
        width = self.size.width
        if self._view is None:
            first, second = self.instead
            return Content.assemble((f"{first}\n", "$foreground bold"), (second, "$muted"))
        return Content("\n").join(
            [
                _title(self._view, width),
                _bar_line(self._view, width),
                _phase_line(self._view, width, self._memory, self._stopping),
            ]
        )


def _title(view: RunView, width: int) -> Content:
    step = Content.assemble(
        ("step ", "$muted"),
        (count(view.step), "$foreground bold"),
        (f" / {count(view.total_steps)}" if view.total_steps else "", "$muted"),
    )
    room = width - step.cell_length - 2
    name = cut(safe_line(view.name or "new run", 200), max(8, room))
    about = ""
    for part in (view.train_type, _short(view.model), f"judge {_short(view.judge)}"):
        longer = safe_line(f"{about} · {part}" if about else part, 200)
        if cell_len(longer) > room - cell_len(name) - 2:
            break
        about = longer
    gap = "  " if about else ""
    left = Content.assemble((name, "$foreground bold"), gap, (about, "$muted"))
    return left + Content(" " * max(1, width - left.cell_length - step.cell_length)) + step


def _short(model: str) -> str:
    """The last part of a hub id or path."""
    return model.rstrip("/").rpartition("/")[2] or model


def _bar_line(view: RunView, width: int) -> Content:
    share = view.step / view.total_steps if view.total_steps else 0.0
    parts = [f"{share:.0%}"]
    if elapsed := view.elapsed():
        parts.append(duration(elapsed))
    if view.status == "running" and (left := time_left(view.seconds_left(), warming=view.warming)):
        parts.append(left)
    text = " " + " · ".join(parts)
    return bar(share, width - len(text), live=view.live) + Content.styled(text, "$muted")


def _phase_line(view: RunView, width: int, memory: int, stopping: bool) -> Content:
    """What it does, and the facts about speed that fit."""
    if view.status in ("failed", "untrained"):  # why is said below
        return Content.styled(f"{view.status} at step {count(view.step)}", "$bad")
    doing = _doing(view, stopping)
    line = Content.assemble((doing, "$accent" if view.status == "running" else "$foreground bold"))
    progress = view.progress
    if view.status == "running" and progress and progress.total > 0:
        line = line + Content("  ") + bar(progress.done_share, PHASE_BAR)
    for fact in _facts(view, memory):
        if line.cell_length + len(fact) + 3 > width:
            break
        line = line + Content.styled(f" · {fact}", "$muted")
    return line


def _doing(view: RunView, stopping: bool) -> str:
    if view.live and stopping:
        return "stopping with a checkpoint; a step that is not done is taken again"
    if not view.live:
        return f"{view.status} at step {count(view.step)}"
    return activity(view.phase, view.progress)


def _agreement(view: RunView) -> list[str]:
    """How well a person and the model beside them agree."""
    count, kappa = view.latest("both_judged"), view.latest("kappa")
    if not count or kappa is None:
        return []
    low, high = view.latest("kappa_low"), view.latest("kappa_high")
    interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
    return [f"kappa {kappa:.2f}{interval} of {count:.0f} pairs"]


def _facts(view: RunView, memory: int) -> list[str]:
    facts = [*_agreement(view), *speeds(view.latest)]
    if (peak := view.latest("peak_memory_gb")) is not None:
        of = f" of {memory / 1e9:.0f}" if memory else ""
        facts.append(f"{peak:.1f}{of} GB")
    if view.device:
        facts.append(safe_line(view.device, 40))
    return facts
