"""Try it: ask the starting and the trained policy, and pick blind which answered better."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from textual.binding import Binding
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.try_it import (
    SideBySide,
    SideBySideAnswers,
    SideBySideEvent,
    SideBySideFailed,
    SideBySideProgress,
    SideBySideReady,
)
from tui.review.answers import READING_KEYS, Answers, AnswersScreen
from tui.text.safe_text import safe, safe_line
from tui.widgets.safe_editors import PromptLine

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from tui.state.judge_trial import Side

LOOKS_PER_SECOND = 10
Winner = Literal["trained", "starting", "tie"]
HINT = "a prompt · enter asks both, escape leaves the line"
LOADING = "Loading the policy as it started and as it was trained …"
ASK_FIRST = """\
Type a prompt and press enter.

Both policies answer it, in an order that you do not see. Pick the better answer, \
and the screen says whose it was. The score counts while this screen is open."""


class TryItScreen(AnswersScreen):
    """The starting and the trained policy side by side, whose is whose hidden until a verdict."""

    TITLE = "try it"
    BINDINGS = [  # noqa: RUF012
        Binding("1", "pick('left')", "first", id="try_it.first"),
        Binding("2", "pick('right')", "second", id="try_it.second"),
        Binding("t", "pick('tie')", "tie", id="try_it.tie"),
        Binding("ctrl+t", "greedy", "greedy", id="try_it.greedy"),
        Binding("a", "reveal", "reveal", id="try_it.reveal"),
        Binding("enter", "ask", "new prompt", id="try_it.ask"),
        Binding("d", "look('differences')", "diff", id="try_it.differences"),
        Binding("escape", "leave", "back", id="try_it.back"),
        *READING_KEYS,
    ]
    DEFAULT_CSS = """
    TryItScreen {
        & #place { padding: 0 1; height: auto; color: $muted; }
        & #ask { border: none; height: 1; margin: 1 1 0 1; padding: 0 1; background: $surface; }
        & #state { padding: 1 1 0 1; height: auto; color: $muted; }
    }
    """

    def __init__(
        self, run: "Run", open_side_by_side: "Callable[[Run], SideBySide]" = SideBySide
    ) -> None:
        super().__init__()
        self.run = run
        self.score: Counter[Winner] = Counter()
        self._side_by_side = open_side_by_side(run)
        self._weights: str | None = None  # which the trained policy has, once it is loaded
        self._temperature = 1.0  # that the run samples at
        self._greedy = False  # whether the next prompt is answered without chance
        self._error = ""
        self._answering = False  # whether a prompt is being answered
        self._tokens = 0
        self._reply: SideBySideAnswers | None = None
        self._count = 0  # prompts answered
        self._revealed = False  # whether the screen has said whose answers these are

    def body(self) -> Iterable[Widget]:
        """The score, the line for the prompt, and the answers."""
        yield Static(id="place", markup=False)
        yield PromptLine(id="ask", placeholder=HINT, compact=True, select_on_focus=False)
        yield Static(id="state", markup=False)
        yield from self.answers_area()

    def on_mount(self) -> None:
        """Begin to load, with the cursor where the prompt goes."""
        self._side_by_side.start()
        self.set_interval(1 / LOOKS_PER_SECOND, self._listen)
        self.query_one("#ask").focus()
        self._refresh()

    def on_unmount(self) -> None:
        """Nobody asks any more."""
        self._side_by_side.close()

    # -- what is shown ---------------------------------------------------------------------------

    def _listen(self) -> None:
        if events := self._side_by_side.drain():
            for event in events:
                self._take_in(event)
            self._refresh()

    def _take_in(self, event: SideBySideEvent) -> None:
        match event:
            case SideBySideReady():
                self._weights, self._temperature = event.weights, event.temperature
                if event.note:
                    self.say(safe_line(event.note, 300), 15)
            case SideBySideProgress():
                self._tokens = event.tokens
            case SideBySideFailed():
                self._error = event.error
            case SideBySideAnswers():
                self._reply, self._answering, self._revealed = event, False, False
                self._count += 1

    def _refresh(self) -> None:
        reply = None if self._answering else self._reply
        self.show_answers(
            reply and Answers(str(self._count), reply.prompt, reply.left, reply.right)
        )
        for side in ("left", "right"):
            self.pane(side).whose(self._whose(side) if reply and self._revealed else "")
        facts = [] if self._weights is None else [f"{self._weights} vs the start"]
        if self.score.total():
            facts += [f"{who} {self.score[who]}" for who in ("trained", "starting", "tie")]
        self.query_one("#place", Static).update(self.place_line(self.run.name, facts))
        self.query_one("#state", Static).update(self._state())

    def _state(self) -> str:
        """What the screen waits for, or what there is to do."""
        if self._error:
            return f"{safe(self._error)}\n\nescape goes back."
        if self._answering:
            return f"Both answer: {self._tokens:,} tokens" if self._tokens else "Both answer …"
        if self._reply is None:
            return (
                f"{ASK_FIRST}\n\nThey answer {self._chance()}."
                if self._weights is not None
                else LOADING
            )
        ask = "type the next prompt" if self._revealed else "Which is better? 1, 2, or t for a tie"
        return f"{ask} · {self._chance()}"

    def _whose(self, side: str) -> Literal["trained", "starting"]:
        assert self._reply is not None
        return "trained" if (side == "left") == self._reply.trained_is_left else "starting"

    def _chance(self) -> str:
        """How the next answers are drawn."""
        if self._greedy or not self._temperature:
            return "without chance"
        return f"at temperature {self._temperature:g}, one seed"

    # -- keys ------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Have the prompt answered."""
        prompt = event.value.strip()
        if self._error:
            self.say("nothing can be asked: the policies could not be loaded")
        elif self._answering:
            self.say("both still answer the last prompt")
        elif not prompt:
            self.say("type a prompt first")
        else:
            self._answering, self._tokens = True, 0
            self._side_by_side.ask(prompt, 0.0 if self._greedy else None)
            event.input.clear()
            self.set_focus(None)
            self._refresh()

    def action_ask(self) -> None:
        """Go to the line for the prompt."""
        self.query_one("#ask").focus()

    def action_greedy(self) -> None:
        """Have the next prompts answered without chance, or with it again."""
        self._greedy = not self._greedy
        self._refresh()
        self.say(f"the next prompt: {self._chance()}", 4)

    def action_pick(self, side: "Side") -> None:
        """Say which answer is better, and learn whose it was."""
        if not self._may_judge():
            return
        self.score["tie" if side == "tie" else self._whose(side)] += 1
        self._reveal()
        for each in ("left", "right"):
            mark = "=" if side == "tie" else "✓" * (side == each)
            self.pane(each).flash(mark, chosen=side == each)

    def action_reveal(self) -> None:
        """Learn whose answers these are without a verdict."""
        if self._may_judge():
            self._reveal()

    def _reveal(self) -> None:
        """Say whose answers these are; what is typed next is the next prompt."""
        self._revealed = True
        self._refresh()
        self.query_one("#ask").focus()

    def _may_judge(self) -> bool:
        """Whether answers are on the screen that nobody judged; says so where not."""
        if self._answering or self._reply is None:
            self.say("there are no answers to judge yet")
        elif self._revealed:
            self.say("these are judged already · type the next prompt")
        elif not self.was_visible(str(self._count)):
            self.say("that key came before the answers were on the screen; press it again")
        else:
            return True
        return False

    async def action_leave(self) -> None:
        """Leave the line for the prompt, or the screen."""
        if self.focused:
            self.set_focus(None)
        else:
            await self.app.run_action("back")
