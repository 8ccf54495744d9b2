"""The data that the form names, seen before a run: its first prompts, their number, its columns."""

from typing import TYPE_CHECKING

from textual import work
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import get_current_worker

from engine.settings.schema import Settings, value
from tui.text.safe_text import cut, safe_line
from tui.widgets.from_thread import show_from_thread

if TYPE_CHECKING:
    from engine.plan.preview import DataPreview
    from engine.plan.preview_process import Preview

TIMEOUT = 0.3  # seconds without an edit before the data is read
DATA = (  # settings about the data
    "data",
    "data_split",
    "data_config",
    "data_mix",
    "text_prompts",
    "prompt_feature",
    "system_feature",
    "system_prompt",
)
READ_BY = (*DATA, "model", "max_seq_length")  # those that its preview depends on
NAMES = 6  # columns that are listed
ROWS = 16  # prompts that are shown, at most
PROMPT = "> "
OTHERS = (("valid", "held out"), ("test", "to test"))  # splits


class DataPane(Static):
    """Reads the data of the form's settings, off the thread of the screen, and shows it."""

    DEFAULT_CSS = "DataPane { height: auto; }"

    class Read(Message):
        """More of the data is known."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.preview: DataPreview | None = None  # None while nothing is known
        self.reading = True
        self._settings: Settings | None = None  # whose data is wanted
        self._source: Preview | None = None
        self._timer: Timer | None = None

    @property
    def finding(self) -> tuple[str, str] | None:
        """The setting that has to be mended for the data to be read, and why."""
        key, separator, reason = (self.preview.error if self.preview else "").partition(": ")
        return (key, reason) if separator else None

    @property
    def longest(self) -> int | None:
        """About the tokens of the longest prompt, once all of the data was read."""
        return self.preview.longest_tokens if self.preview else None

    @property
    def prompts(self) -> int | None:
        """How many prompts a run trains on, once all of the data was read."""
        from engine.plan.rates import training_prompts

        if self._settings is None or self.preview is None or not self.preview.whole:
            return None
        return training_prompts(self._settings, self.preview.count)

    def read(self, settings: Settings) -> None:
        """Read the data of these settings, once they stay for a moment; the same costs nothing."""
        before, self._settings = self._settings, settings
        if before and all(value(before, key) == value(settings, key) for key in READ_BY):
            return
        self.cancel()
        self.preview, self.reading = None, True
        self._timer = self.set_timer(TIMEOUT, self._begin)
        self.refresh(layout=True)

    def cancel(self) -> None:
        """Read no more."""
        if self._timer:
            self._timer.stop()
        if self._source:
            self._source.cancel()

    def on_unmount(self) -> None:
        """Leave no process behind."""
        self.cancel()

    @work(thread=True, exclusive=True)
    def _begin(self) -> None:
        from engine.plan.preview_process import Preview

        worker = get_current_worker()
        assert self._settings is not None
        source = self._source = Preview(self._settings)
        for preview in source:
            if worker.is_cancelled:
                source.cancel()
                return
            show_from_thread(self, self._take, source, preview)
        show_from_thread(self, self._take, source, None)

    def _take(self, source: "Preview", preview: "DataPreview | None") -> None:
        """Show what was read; None: that was the end of it."""
        if source is not self._source:
            return
        if preview is None or preview.whole or preview.error:
            self.reading = False
        self.preview = preview or self.preview
        self.refresh(layout=True)
        self.post_message(self.Read())

    def render(self) -> Content:
        """Counts and lengths, columns, then the first prompts, a line each."""
        width = max(20, self.size.width)
        lines = [Content.assemble(("data  ", "$muted"), self.facts())]
        if (each := self.preview) and each.columns:
            lines.append(columns(each))
        if each and each.rows:
            lines.append(Content(""))
            for row in each.rows[:ROWS]:
                line = cut(safe_line(row, 400), width - len(PROMPT))
                lines.append(Content.assemble((PROMPT, "$muted"), line))
        return Content("\n").join(lines)

    def facts(self) -> Content:
        """How many prompts there are and how long they are, or why that is not known."""
        each = self.preview
        if each is None or (self.reading and not each.count):
            return Content.styled("reading …", "$muted")
        if each.absent:
            return Content.styled("its prompts are shown once a run has fetched it", "$muted")
        error = Content.styled(safe_line(each.error, 400), "$bad")
        if not each.count:
            return error
        words = Content(" · ".join(amounts(each, reading=self.reading)))
        return Content.assemble(words, " · ", error) if each.error else words


def amounts(each: "DataPreview", *, reading: bool) -> list[str]:
    """How many prompts there are, what was left out, and how long they are."""
    train = each.count.get("train", 0)
    more = "" if each.whole else " so far …" if reading else " and more"
    parts = [f"{train:,} prompt{'s' * (train != 1)}{more}"]
    parts += [f"{each.count[split]:,} {words}" for split, words in OTHERS if split in each.count]
    parts += [f"{count:,} {reason}" for reason, count in each.dropped.items()]
    parts.append(f"{each.shortest:,} to {each.longest:,} characters, half up to {each.median:,}")
    if each.longest_tokens:
        parts.append(f"the longest about {each.longest_tokens:,} tokens")
    return parts


def columns(each: "DataPreview") -> Content:
    """Which columns prompts are made of, and which are left alone."""
    if not each.used:
        return Content.assemble(("columns  ", "$muted"), _listed(each.columns))
    unused = (f" · not used: {_listed(each.unused)}", "$muted") if each.unused else ""
    return Content.assemble(("of  ", "$muted"), _listed(each.used), unused)


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(safe_line(name, 40) for name in names[:NAMES]) + more
