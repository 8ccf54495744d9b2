"""Guide: topics on the left, the one under the cursor on the right, and a search over all."""

import re
from collections.abc import Iterable

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Markdown, Static

from engine.settings.schema import fields
from tui.guide.topics import METRICS, SETTINGS, Topic, find, first, search, topics
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line
from tui.text.setting_value import facts
from tui.widgets.row_list import RowList
from tui.widgets.safe_editors import LineEditor

PAUSE = 0.05  # seconds on a topic before its text is laid out, so that scrolling stays quick


class GuideScreen(StudioScreen):
    """The guide, opened at a topic: a setting, a metric, a screen or a title."""

    TITLE = "guide"
    DEFAULT_CSS = """
    GuideScreen {
        & #title { height: 1; padding: 0 1; }
        & #search { height: 1; border: none; padding: 0 1; display: none; background: $surface; }
        & #guide { height: 1fr; margin: 1 0 0 0; }
        & #topics { width: 30; height: 1fr; }
        & #text { width: 1fr; height: 1fr; padding: 0 2 0 3; }
        &.-wide #topics { width: 44; }
        &.-wide #text { padding: 0 4; }
        & #text Vertical { height: auto; max-width: 84; }
        & #chapter { color: $muted; }
        & Markdown { padding: 0; margin: 1 0 0 0; background: $background; }
        & MarkdownParagraph { margin: 0 0 1 0; }
        & .code_inline { color: $accent; background: $background; }
        & MarkdownH1 {
            color: $foreground; text-style: bold; content-align: left top; margin: 0 0 1 0;
        }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("slash", "search", "search", key_display="/", id="guide.search"),
        Binding("tab", "other_side", "text", id="guide.other_side"),
        Binding("space", "scroll(1)", "read on", id="guide.scroll_down"),
        Binding("backspace", "scroll(-1)", "read back", show=False, id="guide.scroll_up"),
        Binding("escape", "leave", "back", id="guide.back"),
    ]

    def __init__(self, topic: str | None = None) -> None:
        super().__init__()
        self._first = (topic and find(topic)) or first()
        self._topic: Topic | None = None

    @property
    def topics(self) -> "RowList[Topic]":
        """The list of topics."""
        return self.query_one("#topics", RowList)

    def body(self) -> Iterable[Widget]:
        """The list and the text."""
        yield Static(id="title")
        yield LineEditor(placeholder="words to look for", compact=True, id="search")
        with Horizontal(id="guide"):
            yield RowList(self._line, topics(), empty="  no topic has these words", id="topics")
            with VerticalScroll(id="text"), Vertical():
                yield Static(id="chapter")
                yield Markdown(open_links=False)

    def on_mount(self) -> None:
        """Open at the topic that was asked for."""
        self.topics.focus()
        self.topics.cursor = topics().index(self._first)
        self._show_title()
        self.call_after_refresh(self._show_text)

    def _line(self, topic: Topic, width: int) -> Content:
        if topic.heads_chapter:
            return Content.styled(topic.title, "$accent bold")
        line = Content(f"  {topic.title}")
        name = Content.styled(f"  {topic.name}", "$muted")
        fits = line.cell_length + name.cell_length <= width
        return line + name if fits and topic.name != topic.title else line

    def _words(self) -> str:
        return self.query_one("#search", Input).value.strip()

    def _show_title(self) -> None:
        words = self._words()
        state = f"/ {safe_line(words, 40)} · {len(self.topics.rows)} topics" if words else ""
        self.query_one("#title", Static).update(
            Content.assemble(("guide  ", "bold"), (state, "$muted"))
        )

    @on(RowList.Moved, "#topics")
    def _moved(self) -> None:
        self.set_timer(PAUSE, self._show_text)

    async def _show_text(self) -> None:
        topic = self.topics.current
        if topic is None or topic is self._topic:
            return
        self._topic = topic
        self.query_one("#chapter", Static).update(Content(_place(topic)))
        text = f"# {_escaped(topic.title)}\n\n{_about(topic)}{topic.text}"
        await self.query_one(Markdown).update(text)
        self.query_one("#text").scroll_home(animate=False)

    @on(RowList.Chosen, "#topics")
    def action_other_side(self) -> None:
        """From the list to the text and back."""
        text = self.query_one("#text")
        (self.topics if text.has_focus else text).focus()

    def action_scroll(self, pages: int) -> None:
        """Read on, or back, without leaving the list."""
        text = self.query_one("#text")
        if not text.max_scroll_y:
            self.say("the whole topic is in sight")
        text.scroll_relative(y=pages * max(1, text.size.height - 2), animate=False)

    def action_search(self) -> None:
        """Show only the topics that hold some words."""
        line = self.query_one("#search", Input)
        line.display = True
        line.focus()

    @on(Input.Changed, "#search")
    def _search(self) -> None:
        words = self._words()
        self.topics.searched = bool(words)
        self.topics.show(search(words) if words else topics(), 0)
        self._show_title()

    @on(Input.Submitted, "#search")
    def _searched(self) -> None:
        self.topics.focus()

    async def action_leave(self) -> None:
        """End the search, then leave."""
        line = self.query_one("#search", Input)
        if line.display or line.value:
            line.value, line.display = "", False
            self.topics.show(topics(), topics().index(self._topic) if self._topic else 0)
            self.topics.focus()
            self._show_title()
        else:
            await self.app.run_action("back")


def _place(topic: Topic) -> str:
    """The line above a title: the chapter, and where a metric's numbers are."""
    if topic.heads_chapter:
        return "chapter"
    recorded = f" · {topic.name} in metrics.jsonl" if topic.chapter == METRICS else ""
    return f"{topic.chapter}{recorded}"


def _about(topic: Topic) -> str:
    """What the form says of a setting, before the advice on it."""
    for field in fields() if topic.chapter == SETTINGS else ():
        if field.key == topic.title:
            return f"{_escaped(field.help)}\n\n*{_escaped(facts(field))}*\n\n"
    return ""


def _escaped(text: str) -> str:
    """A text as Markdown shows it literally: `max_seq_length` has no emphasis in it."""
    return re.sub(r"([\\_*`<\[])", r"\\\1", text)
