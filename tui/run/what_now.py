"""What one can do with a run that is over: where it is, how its answers changed, what is next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from engine.events import Example
from engine.runs.folder import Run
from engine.settings.schema import Settings
from tui.run.mlx_lm_commands import mlx_lm_commands
from tui.state.run_view import RunView
from tui.text.safe_text import cut, safe, safe_line, wrap
from tui.widgets.section_title import SectionTitle

EXAMPLES = 3
READING = 72  # cells of a line that one reads
MARGIN = 10  # cells before an answer
LOW = 24  # lines of the whole below which each text gets one
LIMIT = 20_000  # characters of a text
SHORT = 80  # characters of a prompt that a command line takes
TITLE = "before and after, on prompts held out"
NONE = "no answers before and after were kept: its win rate was not measured since it learned"


@dataclass(frozen=True, slots=True)
class Ended:
    """What is told of a run that is over."""

    folder: Path
    examples: tuple[Example, ...]
    commands: tuple[str, ...]
    weights: str = ""  # of which step they are; empty where there is no choice

    @classmethod
    def of(
        cls, view: RunView, run: Run, settings: Settings, exported: Mapping[str, str]
    ) -> "Ended":
        """Of a run, by its view and its folder. `exported` are the command lines of what was
        exported of it, by their programs: those that the run's folder has no line for."""
        rated = view.evaluation
        examples = rated.examples[:EXAMPLES] if rated and not view.only_start_measured else ()
        asked = examples[0].prompt if examples else ""
        prompt = asked if asked.isprintable() and 0 < len(asked) <= SHORT else "…"
        own = {line.partition(" ")[0]: line for line in mlx_lm_commands(run, settings, prompt)}
        others = (line for program, line in exported.items() if program not in own)
        commands = (*own.values(), *others)
        return cls(run.path, examples, commands, _weights(view, run, settings))


def _weights(view: RunView, run: Run, settings: Settings) -> str:
    best = run.best()
    if best is None:
        return ""
    if settings.keep == "best" and not best.is_start:
        return f"step {best.step:,}, the best"
    return f"step {view.step:,}, the last"


class WhatNow(Vertical):
    """The folder, the next steps by their keys, command lines of other programs, answers before
    and after."""

    DEFAULT_CSS = """
    WhatNow {
        height: 1fr; display: none;
        & .fixed { height: auto; }
        & VerticalScroll { height: 1fr; scrollbar-gutter: stable; }
        & VerticalScroll Static { height: auto; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("enter", "enlarge", "all of it", show=False, id="what_now.enlarge"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.ended: Ended | None = None
        self.keys: tuple[tuple[str, str], ...] = ()
        self._whole = False  # whether long answers are shown in full

    def compose(self) -> ComposeResult:
        """What stays in sight, and the answers, which scroll."""
        yield Static(classes="fixed", markup=False)
        yield SectionTitle(TITLE)
        with VerticalScroll():
            yield Static(markup=False)

    def show(self, ended: Ended | None, keys: Sequence[tuple[str, str]]) -> None:
        """Tell of a run; `keys` are those of the next steps with a word for each."""
        if (ended, tuple(keys)) != (self.ended, self.keys):
            self.ended, self.keys = ended, tuple(keys)
            self._draw()

    def focus_text(self) -> None:
        """Give the focus to the answers, which scroll."""
        self.query_one(VerticalScroll).focus()

    def on_resize(self, event: Resize) -> None:
        """More room shows more of the answers."""
        self.call_after_refresh(self._draw)

    def action_enlarge(self) -> None:
        """Show long answers in full, or their beginnings again."""
        self._whole = not self._whole
        self._draw()

    def _draw(self) -> None:
        ended = self.ended
        if ended is None:
            return
        scroll = self.query_one(VerticalScroll)
        room = scroll.scrollable_content_region.width or self.size.width
        width = max(MARGIN + 8, min(room, MARGIN + READING))
        low = self.size.height < LOW
        rows = 1 if low else 3
        text, is_cut = examples(ended.examples, width, LIMIT if self._whole else rows)
        self.query_one(".fixed", Static).update(self._fixed(ended, low=low))
        state = "enter shows less" if self._whole else "enter shows all of it" if is_cut else ""
        self.query_one(SectionTitle).show(TITLE, state, accented=scroll.has_focus)
        scroll.query_one(Static).update(text)

    def _fixed(self, ended: Ended, *, low: bool) -> Content:
        """Where it is, the next steps and the command lines, which are cut where it is low: a key
        copies them whole."""
        steps = [Content.assemble((key, "$accent"), f" {words}") for key, words in self.keys]
        of_step = f": {ended.weights} ·" if ended.weights else ""
        place = f"kept{of_step} in {safe_line(str(ended.folder))}"
        texts = [cut(text, self.size.width) if low else text for text in (place, *ended.commands)]
        muted = [Content.styled(safe_line(text), "$muted") for text in texts]
        keys = in_lines(steps, self.query_one(".fixed").size.width or self.size.width)
        parts = [muted[0], keys, Content("\n").join(muted[1:])]
        between = Content("\n" if low else "\n\n")
        return between.join(part for part in parts if part.cell_length) + ("" if low else "\n")


def examples(given: Sequence[Example], width: int, rows: int) -> tuple[Content, bool]:
    """Prompts with the answers before and after, each of at most so many rows; and whether
    something was cut."""
    if not given:
        return Content.styled(NONE, "$muted"), False
    lines: list[Content] = []
    is_cut = False
    for number, example in enumerate(given):
        if number and rows > 1:
            lines.append(Content(""))
        parts = (
            ("> ", example.prompt, "bold"),
            ("  before  ", example.before, "$muted"),
            ("  after   ", example.after, "$foreground"),
        )
        for mark, text, style in parts:
            rest = wrap(safe(text.strip(), LIMIT), width - len(mark))
            if len(rest) > rows:
                is_cut = True
                last = rest[rows - 1][: width - len(mark) - 2]
                rest = [*rest[: rows - 1], cut(f"{last} …", width - len(mark))]
            for at, line in enumerate(rest):
                margin = " " * len(mark) if at else mark
                lines.append(Content.assemble((margin, "$muted"), (line, style)))
    return Content("\n").join(lines), is_cut


def in_lines(parts: Sequence[Content], width: int, gap: str = "  ") -> Content:
    """Parts beside one another in as many lines as they need; none is broken."""
    lines: list[list[Content]] = []
    for part in parts:
        row = lines[-1] if lines else []
        taken = sum(each.cell_length + len(gap) for each in row)
        if row and taken + part.cell_length <= width:
            row.append(part)
        else:
            lines.append([part])
    return Content("\n").join(Content(gap).join(row) for row in lines)
