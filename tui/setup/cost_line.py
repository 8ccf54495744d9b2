"""The line under the form that is always true: what a run will take, and its parts."""

from typing import TYPE_CHECKING, NamedTuple

from textual import work
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from engine.errors import RunError, UserError
from engine.settings.schema import Settings
from tui.widgets.from_thread import show_from_thread

if TYPE_CHECKING:
    from tui.setup.cost import Cost

TIMEOUT = 0.3  # seconds without an edit before the cost is worked out anew


class Wanted(NamedTuple):
    """What a cost is asked of: the settings, and what is known of the data."""

    settings: Settings
    longest: int | None  # tokens
    prompts: int | None  # that are trained on
    reading: bool  # whether more of that is about to be known


class CostLine(Static):
    """Works out, on a thread, what a run with the form's settings will take."""

    DEFAULT_CSS = "CostLine { height: auto; max-height: 5; padding: 0 1; color: $muted; }"

    class Estimated(Message):
        """The cost is known, or why it cannot be."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted: Wanted | None = None  # what the cost is asked of
        self._known: Wanted | None = None  # what this is the cost of
        self._cost: Cost | None = None
        self._error = ""
        self._timer: Timer | None = None

    @property
    def refusal(self) -> str:
        """Why the run cannot start; empty where it can, and where that is not known yet."""
        if self._known != self._wanted:
            return ""
        return self._error or (self._cost.refusal or "" if self._cost else "")

    @property
    def absent(self) -> tuple[str, str] | None:
        """The key and the name of a model or of data that is not here and cannot be fetched."""
        return self._cost.absent if self._cost and self._of_these_settings else None

    @property
    def misnamed(self) -> tuple[str, str] | None:
        """The key of a model's name that can be none, and the reason."""
        return self._cost.misnamed if self._cost and self._of_these_settings else None

    @property
    def _of_these_settings(self) -> bool:
        """Whether the known cost is of the wanted settings, though perhaps of an earlier state of
        what is known of their data."""
        known, wanted = self._known, self._wanted
        return known is not None and wanted is not None and known.settings == wanted.settings

    def is_of(self, wanted: Wanted) -> bool:
        """Whether the known cost is the one of `wanted`."""
        return self._known == wanted

    def estimate(self, wanted: Wanted) -> None:
        """Work out a cost, once what is wanted stays so for a moment."""
        self._wanted = wanted
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(TIMEOUT, self._work_out)
        if self._cost:
            self._draw()

    def parts(self) -> Content:
        """A row a part: memory, download, time; then what is known of the rate, whole."""
        from tui.setup.cost import table

        rows = [
            Content.assemble((f"{name:<12}", "$muted"), f"{size:>8}  ", (remark, "$faint"))
            for name, size, remark in (table(self._cost) if self._cost else ())
        ]
        if self._cost and (rate := self._cost.rate) and rate.warning:
            rows += [Content(""), Content(rate.text)]
        return Content("\n").join(rows)

    @work(thread=True, exclusive=True)
    def _work_out(self) -> None:
        """Ask the files first, which is quick, and the hub only for what is not here."""
        from tui.setup.cost import cost

        wanted = self._wanted
        assert wanted is not None
        for ask_hub in (False, True):
            try:
                result = cost(
                    wanted.settings,
                    longest=wanted.longest,
                    prompts=wanted.prompts,
                    reading=wanted.reading,
                    ask_hub=ask_hub,
                )
                error = ""
            except (UserError, RunError, OSError) as reason:
                result, error = None, str(reason)
            show_from_thread(self, self._show_cost, wanted, result, error)
            if result is None or result.plan.download is not None:
                return

    def _show_cost(self, wanted: Wanted, result: "Cost | None", error: str) -> None:
        if wanted == self._wanted:
            self._known, self._cost, self._error = wanted, result, error
            self._draw()
            self.post_message(self.Estimated())

    def _draw(self) -> None:
        from tui.setup.cost import sentence

        if self._wanted:
            self.update(sentence(self._wanted.settings, self._cost))
