"""The keys for a run that another process trains: they ask it, and say what became of it."""

import asyncio
import contextlib

from textual import work
from textual.binding import Binding

from engine.errors import RunError, UserError
from engine.runs.folder import Run
from engine.runs.lock import Holder
from engine.runs.remote import Command
from tui.run.remote_commands import PERSON, RemoteRequest, process
from tui.shell.base import StudioScreen
from tui.state.live_elsewhere import is_elsewhere
from tui.state.live_run import LiveRun
from tui.text.safe_text import safe_line
from tui.widgets.from_thread import is_reading, show_from_thread

POLL_SECONDS = 0.25  # between two looks at what became of a command
HOLDER_SECONDS = 1.0  # between two looks at who trains the run
HERE = "this program trains it: f3 shows it, with these keys"
TAKE_OVER = (
    ("take over", "it stops there with a checkpoint and goes on here from it"),
    ("leave it", "it goes on there as it does"),
)


class WatchedScreen(StudioScreen):
    """A screen about one `run`, which may go on in another process."""

    BINDINGS = [  # noqa: RUF012
        Binding("p", "pause", "pause", id="watched.pause"),
        Binding("p", "unpause", "go on", id="watched.pause"),
        Binding("s", "stop", "stop", id="watched.stop"),
        Binding("e", "evaluate", "evaluate", show=False, id="watched.evaluate"),
        Binding("e", "go_on_and_evaluate", "go on and evaluate", id="watched.evaluate"),
        Binding("w", "save", "save now", show=False, id="watched.save"),
        Binding("r", "resume", "resume", id="watched.take_over"),
        Binding("r", "take_over", "take over", id="watched.take_over"),
    ]

    run: Run
    holder: Holder | None = None  # who trains it
    paused = False
    human = False
    _pending: Command | None = None  # that was left for that process and is not settled yet
    _asks = 0  # commands left so far

    def on_mount(self) -> None:
        """Keep an eye on who trains the run."""
        self._poll_holder()
        self.set_interval(HOLDER_SECONDS, self._poll_holder)

    def _poll_holder(self) -> None:
        if not is_reading(self, "holder"):
            self._read_holder()

    @work(thread=True, group="holder")
    def _read_holder(self) -> None:
        holder = self.run.holder()
        paused = human = False
        with contextlib.suppress(UserError):
            state = self.run.state()
            paused = state.get("status") == "paused"
            human = state.get("judge") == "human" and not state.get("eval_judge")
        show_from_thread(self, self._take_holder, holder, paused, human)

    def shows(self, live: LiveRun) -> bool:
        """Whether it is this run that goes on."""
        return live.path == self.run.path

    def _take_holder(self, holder: Holder | None, paused: bool, human: bool) -> None:
        if (holder, paused, human) != (self.holder, self.paused, self.human):
            self.holder, self.paused, self.human = holder, paused, human
            self.refresh_bindings()

    def why_not(self, action: str) -> str | None:
        """What may be asked of the process that trains the run."""
        if action == "resume" and self.holder:
            return "another process trains this run" if is_elsewhere(self.holder) else HERE
        if action not in ("pause", "unpause", "stop", "evaluate", "save", "take_over"):
            return None
        if self.holder is None:
            return "nobody trains this run now"
        if not is_elsewhere(self.holder):
            return HERE
        match action:
            case "pause" | "unpause" | "stop" | "evaluate" | "save" if self._pending == "stop":
                return "the run is stopping already"
            case "pause" if self._pauses:
                return "the run is paused already"
            case "unpause" if not self._pauses:
                return "the run is not paused"
            case "evaluate" if self.human:
                return PERSON
        return None

    @property
    def _pauses(self) -> bool:
        """Whether the run is paused, or will be once that process has heard of it."""
        if self._pending in ("pause", "unpause"):
            return self._pending == "pause"
        return self.paused

    # -- asking ----------------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Hold the run still."""
        self.ask("pause")

    def action_unpause(self) -> None:
        """Let the run go on."""
        self.ask("unpause")

    def action_evaluate(self) -> None:
        """Have the win rate measured after the current step."""
        self.ask("evaluate")

    def action_save(self) -> None:
        """Have a checkpoint written after the current step."""
        self.ask("save")

    def action_stop(self) -> None:
        """End the run with a checkpoint, after a question."""
        from tui.shell.ask import AskChoice

        if self.holder is None:
            return
        question = f"stop this run, in {process(self.holder)}? It can be resumed later."
        choices = (("stop", "it writes a checkpoint and ends"), ("go on", "keep training"))

        def answered(answer: str | None) -> None:
            if answer == "stop":
                self.ask("stop")

        self.app.push_screen(AskChoice(question, choices), answered)

    def ask(self, command: Command) -> None:
        """Leave a command, and say what becomes of it; one that waits already is left once."""
        if command == self._pending:
            return
        self._pending = command
        self._asks += 1
        self._ask(command, self._asks)
        self.refresh_bindings()

    @work(exclusive=True, group="asked")
    async def _ask(self, command: Command, number: int) -> None:
        try:
            await follow(self, RemoteRequest(self.run, command))
        except (UserError, RunError) as error:
            self.say_error(error)
        finally:
            if number == self._asks:
                self._pending = None
        self._poll_holder()

    @work(exclusive=True, group="asked")
    async def action_take_over(self) -> None:
        """Stop the run there and resume it here."""
        await take_over(self, self.run)


async def follow(screen: StudioScreen, request: RemoteRequest) -> None:
    """Say what becomes of a command until it is obeyed. One that is still not taken when the
    screen is left is taken back."""
    try:
        while not request.settled:
            await asyncio.to_thread(request.poll)
            screen.say(request.sentence(), gives_way=not request.settled)
            if not request.settled:
                await asyncio.sleep(POLL_SECONDS)
    finally:
        if request.outcome == "silent":
            request.withdraw()


async def take_over(screen: StudioScreen, run: Run) -> None:
    """Ask, have the process that trains the run stop, and resume it in this one."""
    from tui.shell.ask import AskChoice

    try:
        screen.studio.control.refuse_second_run()
        if holder := run.holder():
            question = f"{process(holder)} trains {safe_line(run.name, 60)}."
            if await screen.app.push_screen_wait(AskChoice(question, TAKE_OVER)) != "take over":
                return
            if run.holder():
                request = RemoteRequest(run, "stop")
                await follow(screen, request)
                if request.outcome != "done":
                    return
        screen.studio.resume_run(run)
    except (UserError, RunError) as error:
        screen.say_error(error)
