"""What the screens share that show two answers to a prompt, or more: how they lie, look, scroll."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from textual.binding import Binding
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.data.prompts import Message
from tui import textual_private
from tui.review.answer_pane import AnswerPane, Look
from tui.shell.base import StudioScreen
from tui.text.differences import Span, differences
from tui.text.prompt_text import prompt_content
from tui.text.safe_text import cut, safe, safe_line

Layout = Literal["side by side", "stacked", "one at a time"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
LOOKS: dict[Look, str] = {
    "plain": "plain text",
    "differences": "what the answers share in grey, what is their own in bold",
    "markdown": "Markdown",
}
# A screen puts these after its own keys.
READING_KEYS = [
    Binding("m", "look('markdown')", "Markdown or plain", show=False, id="answers.markdown"),
    Binding("v", "layout", "side by side, stacked, one", show=False, id="answers.layout"),
    Binding("z", "prompt", "the whole prompt", show=False, id="answers.prompt"),
    Binding("tab,right", "other(1)", "the other answer", show=False, id="answers.other"),
    Binding("left", "other(-1)", "the one before", show=False, id="answers.before"),
    Binding("down,j", "scroll(1)", "down", show=False, id="answers.down"),
    Binding("up,k", "scroll(-1)", "up", show=False, id="answers.up"),
    Binding("pagedown,space", "page(1)", "a page down", show=False, id="answers.page_down"),
    Binding("pageup", "page(-1)", "a page up", show=False, id="answers.page_up"),
    Binding("ctrl+d", "page(0.5)", "half a page down", show=False, id="answers.half_down"),
    Binding("ctrl+u", "page(-0.5)", "half a page up", show=False, id="answers.half_up"),
    Binding("home,g", "to_end(False)", "to the start", show=False, id="answers.start"),
    Binding("end,G", "to_end(True)", "to the end", show=False, id="answers.end"),
]
MOST = 8  # answers
LEAST_WIDTH = 36  # cells of an answer that stands beside others, where there are more than two
LEAST_HEIGHT = 8  # rows of one that stands above others; with fewer one is shown at a time
AROUND = 8  # rows that the answers leave to all else
LEAST_NAME = 16  # cells of a run's name that the facts beside it leave


@dataclass(frozen=True, slots=True)
class Answers:
    """A prompt, its answers in the order in which they stand, and what is said under each.

    `more` are those after the first two, each with what is said under it. `key` tells apart
    answers that read the same. `messages` are the turns of a prompt that is more than one of a
    user. The texts are untrusted.
    """

    key: str
    prompt: str
    left: str
    right: str
    left_facts: str = ""
    right_facts: str = ""
    messages: tuple[Message, ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    @property
    def all(self) -> list[tuple[str, str]]:
        """Every answer with what is said under it."""
        return [(self.left, self.left_facts), (self.right, self.right_facts), *self.more]


class AnswersScreen(StudioScreen):
    """A screen with answers to a prompt, of which the keys need no focus."""

    DEFAULT_CSS = """
    AnswersScreen {
        & #pair { height: 1fr; padding: 1 1 0 1; }
        & #prompt { height: auto; max-height: 30%; margin-bottom: 1; }
        & #prompt-text { max-width: 72; }
        & #prompt-more { height: 1; color: $muted; display: none; }
        & #answers { height: 1fr; }

        & .-side-by-side #answers { layout: horizontal; }
        & .-side-by-side AnswerPane#right { margin-left: 3; }
        & .-grid #answers { layout: grid; grid-gutter: 0 3; }
        & #answers AnswerPane.-hidden { display: none; }
        & #tabs { height: 1; color: $muted; display: none; }
        & .-prompt-alone #prompt { max-height: 100%; height: 1fr; }
        & .-prompt-alone #answers { display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.painted: str | None = None  # the key of the answers that have been on the screen
        self._painted_at = 0.0
        self._answers: Answers | None = None
        self._adding = False  # panes, so that nothing is shown before they are there
        self._wanted: Answers | None = None  # which are shown once there are panes for them
        self._look: Look = "plain"
        self._layout: Layout = "side by side"
        self._one: bool | None = None  # of more than two one at a time; None: where they fit not
        self._at = 0  # which one, where one is shown at a time
        self.question = ""  # what the screen asks of more than two answers

    def answers_area(self) -> Iterable[Widget]:
        """The widgets for a prompt and its answers; not shown until there are some."""
        with Vertical(id="pair", classes="-side-by-side") as pair:
            yield Static("… z shows the whole prompt", id="prompt-more")
            with VerticalScroll(id="prompt", can_focus=False):
                yield Static(id="prompt-text", markup=False)
            yield Static(id="tabs", markup=False)
            with Container(id="answers"):
                yield AnswerPane(1, id="left")
                yield AnswerPane(2, id="right")
        pair.display = False

    def place_line(self, name: str, facts: Sequence[str | Content]) -> Content:
        """The run and where one is in it, on one line: the first facts, as many as fit, and of a
        long name what they leave room for."""
        width = self.size.width - 2
        line, text = Content(""), Content("")
        for fact in facts:
            text = Content.assemble(text, " · " if text else "", fact)
            if text.cell_length + len("   ") + LEAST_NAME > width and line:
                break
            line = text
        room = max(LEAST_NAME, width - line.cell_length - len("   "))
        return Content.assemble((cut(safe_line(name), room), "bold $foreground"), "   ", line)

    def pane(self, side: str) -> AnswerPane:
        """The pane of the answer on the "left" or "right"."""
        return self.query_one(f"#{side}", AnswerPane)

    def show_answers(self, answers: Answers | None) -> None:
        """Show answers, from their start where they are new, or none."""
        self._wanted = answers
        self.query_one("#pair").display = answers is not None
        if answers is None:
            self._answers = self.painted = None
            return
        if self._adding:
            return
        if len(answers.all) > len(self._panes()):
            self._adding = True
            self.run_worker(self._add_panes(len(answers.all)), group="panes")
            return
        texts = [safe(text) for text, _ in answers.all]
        spans: list[Sequence[Span]] = [[] for _ in texts]
        if self._look == "differences":  # of each against the first, and of that against the second
            others = [differences(texts[0], text) for text in texts[1:]]
            spans = [others[0][0], *(own for _, own in others)]
        each = zip(texts, answers.all, spans, strict=True)
        for pane, (text, (_, facts), own) in zip(self._panes(), each, strict=False):
            pane.show(text, facts, self._look, own)
        if answers != self._answers:
            self._answers, self._at = answers, 0
            self.query_one("#pair").remove_class("-prompt-alone")  # nobody has read the answers
            self.lay_out()
            prompt = prompt_content(answers.prompt, answers.messages)
            self.query_one("#prompt-text", Static).update(prompt)
            self.painted = None
            self.call_after_refresh(self._mark_painted, answers)

    async def _add_panes(self, count: int) -> None:
        """Show the answers that are wanted once there are so many panes."""
        more = range(len(self._panes()) + 1, count + 1)
        await self.query_one("#answers").mount(*map(AnswerPane, more))
        self._adding = False
        self.show_answers(self._wanted)

    def _mark_painted(self, answers: Answers) -> None:
        self._mark_long_prompt()
        if answers == self._answers:
            self.painted, self._painted_at = answers.key, textual_private.now()

    def was_visible(self, key: str) -> bool:
        """Whether the answers `key` were on the screen when the key was pressed that is handled."""
        return self.painted == key and self.studio.key_pressed >= self._painted_at

    def on_mount(self) -> None:
        """Learn of the length of a prompt once it is laid out."""
        self.watch(self.query_one("#prompt"), "virtual_size", self._prompt_laid_out, init=False)

    def _prompt_laid_out(self) -> None:
        self.call_after_refresh(self._mark_long_prompt)

    def _panes(self) -> list[AnswerPane]:
        return list(self.query(AnswerPane))

    @property
    def count(self) -> int:
        """How many answers are shown."""
        return len(self._answers.all) if self._answers else 0

    @property
    def answers_width(self) -> int:
        """Cells that the answers have beside each other."""
        return self.size.width

    def lay_out(self) -> None:
        """Let the answers lie as they fit, or as a person wants them."""
        if self._answers is None:
            return
        many = self.count > 2
        columns, rows = grid(self.count, self.answers_width)
        fits = (self.size.height - AROUND) // rows >= LEAST_HEIGHT
        one = (not fits if self._one is None else self._one) if many else self.one_at_a_time
        pair = self.query_one("#pair")
        for layout in LAYOUTS:
            chosen = layout == self._layout and not many
            pair.set_class(chosen, "-" + layout.replace(" ", "-"))
        pair.set_class(many and not one, "-grid")
        self.query_one("#answers").styles.grid_size_columns = columns
        for number, pane in enumerate(self._panes()):
            pane.set_class(number >= self.count or (one and number != self._at), "-hidden")
        tabs = self.query_one("#tabs", Static)
        tabs.display = many
        numbers = Content("")
        for number in range(self.count if one else 0):
            here = "reverse" if number == self._at else ""
            numbers = Content.assemble(numbers, (f" {number + 1} ", here))
        hint = " tab next · v all · " if one else ""
        tabs.update(Content.assemble(numbers, hint, (self.question, "$foreground")))

    @property
    def one_at_a_time(self) -> bool:
        """Whether of the answers one is shown."""
        if self.count > 2:
            return not self.query_one("#pair").has_class("-grid")
        return self._layout == "one at a time"

    def on_resize(self) -> None:
        """A prompt that fitted may do so no longer, nor answers."""
        self.lay_out()
        self.call_after_refresh(self._mark_long_prompt)

    def _mark_long_prompt(self) -> None:
        alone = self.query_one("#pair").has_class("-prompt-alone")
        prompt = self.query_one("#prompt")
        more = prompt.max_scroll_y > 0
        self.query_one("#prompt-more").display = more and not alone
        if not alone:  # what is asked stands at the end
            prompt.scroll_end(animate=False)

    # -- keys ------------------------------------------------------------------------------------

    def action_look(self, look: Look) -> None:
        """Show differences or Markdown, or go back to plain text."""
        self._look = "plain" if self._look == look else look
        self.say(f"showing {LOOKS[self._look]}", 2)
        self.show_answers(self._answers)

    def action_layout(self) -> None:
        """Put the answers side by side, one over the other, or one at a time."""
        if self.count > 2:
            self._one = not self.one_at_a_time
            self.lay_out()
            self.say("one at a time · tab shows the next" if self._one else "all at once", 2)
            return
        self._layout = LAYOUTS[(LAYOUTS.index(self._layout) + 1) % len(LAYOUTS)]
        self.lay_out()
        more = " · tab shows the other" if self._layout == "one at a time" else ""
        self.say(self._layout + more, 2)

    def action_other(self, by: int) -> None:
        """Show another answer, where they are shown one at a time."""
        if self.one_at_a_time and self._answers:
            self._at = (self._at + by) % self.count
            self.lay_out()
        else:
            these = "all" if self.count > 2 else "both"
            self.say(f"{these} answers are on the screen; v shows one at a time")

    def action_prompt(self) -> None:
        """Give the whole screen to the prompt, from its start, or back to the answers."""
        pair = self.query_one("#pair").toggle_class("-prompt-alone")
        self.query_one("#prompt").scroll_home(animate=False)
        if self._answers and pair.has_class("-prompt-alone"):
            self.say("the whole prompt · z shows the answers", 4)
        self.call_after_refresh(self._mark_long_prompt)

    def action_scroll(self, lines: int) -> None:
        """Scroll the answers by lines."""
        for scroll in self._scrolled_or_say():
            scroll.scroll_relative(y=lines, animate=False)

    def action_page(self, pages: float) -> None:
        """Scroll the answers by a page or half of one."""
        for scroll in self._scrolled_or_say():
            lines = max(1, round(abs(pages) * (scroll.size.height - 1)))
            scroll.scroll_relative(y=lines if pages > 0 else -lines, animate=False)

    def action_to_end(self, end: bool) -> None:
        """Scroll the answers to their start or end."""
        for scroll in self._scrolled_or_say():
            (scroll.scroll_end if end else scroll.scroll_home)(animate=False)

    def _scrolled_or_say(self) -> list[VerticalScroll]:
        """What the scrolling keys move; that there is nothing to scroll is said."""
        scrolled = self._scrolled()
        if not any(scroll.max_scroll_y for scroll in scrolled):
            self.say("all of it is in sight" if self._answers else "there is nothing to scroll", 2)
        return scrolled

    def _scrolled(self) -> list[VerticalScroll]:
        """What the scrolling keys move: the answers, or the prompt where it stands alone."""
        if self.query_one("#pair").has_class("-prompt-alone"):
            return [self.query_one("#prompt", VerticalScroll)]
        panes = self._panes()[: max(2, self.count)]
        if self.count > 2:
            panes = [pane for pane in panes if not pane.has_class("-hidden")]
        return [pane.scroll for pane in panes]


def grid(count: int, width: int) -> tuple[int, int]:
    """Columns and rows in which so many answers lie on a screen of so many cells."""
    rows = math.ceil(count / max(1, min(count, width // LEAST_WIDTH)))
    return math.ceil(count / rows), rows
