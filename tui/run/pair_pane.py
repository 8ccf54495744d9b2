"""The newest pair and its verdict: four lines, or the whole of it where there is room."""

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from engine.data.chat_messages import spoken
from engine.events import PairJudged
from tui.text.choice import words
from tui.text.prompt_text import prompt_line, prompt_parts
from tui.text.safe_text import safe, safe_line, wrap
from tui.widgets.section_title import SectionTitle

COMPACT = 5  # lines of text up to which each part gets only one
LIMIT = 20_000  # characters of a text
MARK = 4  # cells before each line
SHORT = {"user": "usr", "assistant": "ast", "tool": "tl"}  # roles of earlier turns
FIRST_PAIR = "the first pair comes as soon as two answers are sampled"


class PairPane(Vertical):
    """A judged pair under a line that says how it was judged; scrolls where it is long."""

    DEFAULT_CSS = """
    PairPane { height: 4; }
    PairPane VerticalScroll { height: 1fr; }
    PairPane Static { height: auto; }
    """

    def __init__(self, title: str = "newest pair", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._about = title
        self._title = SectionTitle(title)
        self._text = Static(markup=False)
        self._scroll = VerticalScroll(self._text)
        self.pair: PairJudged | None = None
        self._empty = FIRST_PAIR

    def compose(self) -> ComposeResult:
        """The title and the text."""
        yield self._title
        yield self._scroll

    def show(self, pair: PairJudged | None, empty: str = FIRST_PAIR) -> None:
        """Show a pair, or the words `empty`; the same again costs nothing."""
        if pair is not self.pair or empty != self._empty:
            self.pair, self._empty = pair, empty
            self._draw()

    def on_resize(self, event: Resize) -> None:
        """More room shows more of the pair, once its parts have it too."""
        self.call_after_refresh(self._draw)

    def on_descendant_focus(self) -> None:
        """The title of the part in focus is lit, and all of the pair is there to be read."""
        self._draw()

    def on_descendant_blur(self) -> None:
        """And goes out again."""
        self._draw()
        self._scroll.scroll_home(animate=False)

    def _draw(self) -> None:
        self._draw_title()
        height = self._scroll.size.height
        # Whoever reads it scrolls; at a glance both answers are in sight, if not all of each.
        room = 0 if self._scroll.has_focus else height
        width = self._scroll.size.width or self.size.width
        if self.pair is None:
            self._text.update(Content.styled(self._empty, "$muted"))
        else:
            self._text.update(_text(self.pair, max(8, width - 1), height <= COMPACT, room))

    def _draw_title(self) -> None:
        title = self._about
        if self.pair:
            title += f" · step {self.pair.step:,} · {verdict(self.pair)}"
        self._title.show(safe_line(title, 200), accented=self._scroll.has_focus)

    def focus_text(self) -> None:
        """Give the focus to the text, which scrolls."""
        self._scroll.focus()


def verdict(pair: PairJudged) -> str:
    """Who said what: `judge 0.88 for the first`. A person names no probability; where the pair has
    one, it is of the judge whose label they changed."""
    phrase = words(pair.choice, pair.judge).phrase
    if pair.judge == "human":
        return f"you: {phrase}"
    if pair.q is None or pair.choice not in ("first", "second", "tie"):
        return f"judge: {phrase}"
    if pair.choice == "tie":
        return f"judge: {phrase} at {pair.q:.2f}"
    return f"judge {pair.q if pair.choice == 'first' else 1 - pair.q:.2f} for {phrase}"


def _text(pair: PairJudged, width: int, compact: bool, height: int = 0) -> Content:
    """Prompt and both answers, the winner marked; when `compact`, one line each, and with a
    `height` as many of each as leave room for both answers in so many lines."""
    prompt = prompt_parts(pair.prompt, pair.messages)
    answers = [("1", pair.first, "first"), ("2", pair.second, "second")]
    if compact:
        parts = [("> ", prompt_line(pair.prompt, pair.messages), ""), *answers]
    else:
        before = [(SHORT[turn.role], spoken(turn), "") for turn in prompt.earlier]
        system = [("sys", prompt.system, "")] if prompt.system else []
        # What the judge wrote is for whoever reads the pair, and leaves the answers their room.
        written = () if height else pair.rationale
        wrote = [("jdg", _wrote(at, each), "") for at, each in enumerate(written)]
        parts = [*system, ("> ", prompt.last, ""), *answers, *wrote, *before]
    lines: list[Content] = []
    texts = [
        [safe_line(text, width - MARK)] if compact else wrap(safe(text, LIMIT), width - MARK)
        for _, text, _ in parts
    ]
    if height and not compact:
        texts = _shared_out(texts, height)
    for (mark, _, choice), rows in zip(parts, texts, strict=True):
        won = bool(choice) and pair.choice == choice
        style = "$foreground" if won or not choice else "$muted"
        for number, line in enumerate(rows):
            margin = f"{mark} ✓" if won else mark
            margin = f"{'' if number else margin:<{MARK}}"
            lines.append(Content.assemble((margin, "$accent" if won else "$muted"), (line, style)))
        if not compact:
            lines.append(Content(""))
    return Content("\n").join(lines)


def _wrote(at: int, words: str) -> str:
    """What a judge wrote, with the order of the answers that it read."""
    return f"{'swapped' if at % 2 else 'as is'}: {words.strip() or 'nothing'}"


def _shared_out(texts: list[list[str]], height: int) -> list[list[str]]:
    """Each text cut to a share of `height` lines, with a blank one between two; what a short text
    leaves over goes to the longer ones. A last line tells how much is left out."""
    left, shares = height - len(texts) + 1, [0] * len(texts)
    by_length = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    for done, at in enumerate(by_length):
        shares[at] = min(len(texts[at]), max(2, left // (len(texts) - done)))
        left -= shares[at]
    return [
        rows
        if len(rows) <= share
        else [*rows[: share - 1], f"… {len(rows) - share + 1:,} more lines"]
        for rows, share in zip(texts, shares, strict=True)
    ]
