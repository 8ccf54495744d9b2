"""One of some answers: a titled column that scrolls; plain, against the other, or Markdown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from tui.text.differences import Span

if TYPE_CHECKING:
    from textual.widgets import Markdown

Look = Literal["plain", "differences", "markdown"]
MOST_MARKDOWN = 20_000  # characters; longer texts are shown plain
FLASH_SECONDS = 0.4


class AnswerPane(Vertical):
    """An answer under its number, and below it how long it is. It never has the focus."""

    DEFAULT_CSS = """
    AnswerPane {
        width: 1fr; max-width: 74; height: 1fr; min-height: 4;
        border-top: solid $faint; border-title-color: $muted; border-title-style: bold;
        & > VerticalScroll { height: 1fr; }
        & > .facts { height: auto; color: $muted; text-align: right; }
        & > .more { height: 1; color: $muted; display: none; }
        &.-more > .more { display: block; }
        & Markdown { padding: 0; margin: 0; }
        & MarkdownH1, & MarkdownH2, & MarkdownH3 {
            content-align: left middle; text-style: bold; margin: 1 0; color: $foreground;
        }
        & MarkdownFence {
            margin: 1 0; max-height: 999; background: $surface; overflow: hidden hidden;
            & > Label { width: 1fr; padding: 0 1; }
        }
        &.-chosen {
            border-top: heavy $accent; border-title-color: $accent; background: $accent 18%;
        }
    }
    """

    def __init__(self, number: int, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.number = number
        self.text = ""
        self._content_key: tuple[object, ...] = ()
        self._who = ""
        self._mark = ""  # beside its number, until it is unmarked
        self._markdown: Markdown | None = None
        self._flash: Timer | None = None  # that ends what is shown for a moment
        self._title()

    def compose(self) -> ComposeResult:
        """The text, which scrolls, and the facts, which do not."""
        with VerticalScroll(can_focus=False):
            yield Static(classes="plain", markup=False)
        yield Static(classes="more", markup=False)
        yield Static(classes="facts", markup=False)

    def on_mount(self) -> None:
        """Say whether more is below, wherever the text is scrolled to."""
        for seen in ("scroll_y", "virtual_size", "show_vertical_scrollbar"):
            self.watch(self.scroll, seen, self._mark_more, init=False)

    def on_resize(self) -> None:
        """More or less of the text may fit now."""
        self.call_after_refresh(self._mark_more)

    def _mark_more(self) -> None:
        scroll = self.scroll
        # By the room without this line, which would else be the reason for itself. The line stays
        # to the end of the text, so that nothing jumps.
        room = self.size.height - self.query_one(".facts").outer_size.height
        self.set_class(scroll.virtual_size.height > room, "-more")
        below = scroll.scroll_y < scroll.max_scroll_y
        self.query_one(".more", Static).update("↓ more below" if below else "the end")

    @property
    def scroll(self) -> VerticalScroll:
        """What moves when the pane is scrolled."""
        return self.query_one(VerticalScroll)

    def show(
        self, text: str, facts: str = "", look: Look = "plain", spans: Sequence[Span] = ()
    ) -> None:
        """Show a text that was made safe; `spans` say what the other text shares with it."""
        content_key = (text, facts, look, tuple(spans))
        if content_key == self._content_key:
            return
        if text != self.text:
            self.scroll.scroll_home(animate=False)
        self._content_key, self.text = content_key, text
        rich = look == "markdown" and len(text) <= MOST_MARKDOWN
        plain = self.query_one(".plain", Static)
        plain.display = not rich
        if self._markdown:
            self._markdown.remove()
            self._markdown = None
        if rich:
            self._show_markdown(text)
        else:
            plain.update(_against_other(text, spans) if look == "differences" else Content(text))
        if look == "markdown" and not rich:
            facts = f"too long for Markdown · {facts}"
        self.query_one(".facts", Static).update(facts)

    def whose(self, who: str) -> None:
        """Say beside the number whose answer this is; empty while that is hidden."""
        if who != self._who:
            self._who = who
            self._title()

    def mark(self, mark: str) -> None:
        """Show what was said of the answer so far, until it is marked otherwise; empty: nothing."""
        if mark != self._mark:
            self._mark = mark
            self._end_flash()

    def flash(self, mark: str, *, chosen: bool) -> None:
        """Show for a moment what was said of the answer that stood here."""
        self._title(mark)
        self.set_class(chosen, "-chosen")
        self._stop_flash()  # an earlier one would end this one early
        self._flash = self.set_timer(FLASH_SECONDS, self._end_flash)

    def _stop_flash(self) -> None:
        if self._flash:
            self._flash.stop()

    def _end_flash(self) -> None:
        self._stop_flash()
        self._title(self._mark)
        self.set_class(bool(self._mark), "-chosen")

    def _title(self, mark: str = "") -> None:
        self.border_title = f" {' '.join(filter(None, (str(self.number), mark, self._who)))} "

    def _show_markdown(self, text: str) -> None:
        """Put rendered Markdown into the pane; its parser takes time to import, so not before."""
        from markdown_it import MarkdownIt
        from textual.widgets import Markdown

        self._markdown = Markdown(
            text,
            # HTML is text like any other here: nothing that was written is left out.
            parser_factory=lambda: MarkdownIt("commonmark", {"html": False}).enable("table"),
            open_links=False,
        )
        self.scroll.mount(self._markdown)


def _against_other(text: str, spans: Sequence[Span]) -> Content:
    """The text with what the other shares in the background, and what is its own in front."""
    content = Content(text)
    for start, end, shared in spans:
        content = content.stylize("$muted" if shared else "bold", start, end)
    return content


def length(tokens: int, cut: bool) -> str:
    """How long a completion is, in words."""
    return f"{tokens:,} token{'' if tokens == 1 else 's'}" + (" · cut at the limit" if cut else "")
