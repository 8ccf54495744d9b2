"""The questions before the program is left while it has something to do."""

from collections.abc import Sequence

from textual.binding import Binding

from tui.shell.ask import AskChoice

STOP, LEAVE_RUNNING, STAY, AT_ONCE, WAIT = (
    "stop",
    "leave running",
    "stay",
    "leave at once",
    "wait",
)


class LeaveQuestion(AskChoice):
    """A choice whose first answer is the safe one: another Ctrl+C takes it."""

    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+c", "first", "the first answer", show=False, id="leave.first"),
    ]

    def __init__(self, question: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(question, choices)
        self._first = choices[0][0]

    def action_first(self) -> None:
        """Take the first answer."""
        self.dismiss(self._first)


def leaving(name: str, *, bound: bool, loading: bool = False) -> LeaveQuestion:
    """What is to become of a run that trains, or of one that loads and has nothing to save. One is
    bound to this process where nobody could judge it by hand without a screen, or where other
    ranks train it too."""
    saved = "write a checkpoint, then quit; the run can be resumed"
    choices = [(STOP, "quit; nothing was trained yet" if loading else saved)]
    if not bound:
        choices.append((LEAVE_RUNNING, "quit; the run goes on without a screen"))
    choices.append((STAY, f"keep {'loading' if loading else 'training'}"))
    if not loading:
        choices.append((AT_ONCE, "quit now, without a checkpoint of the newest steps"))
    return LeaveQuestion(f"{name} is still {'loading' if loading else 'training'}.", choices)


def still_exporting() -> LeaveQuestion:
    """Whether the export that is being written is waited for."""
    choices = (
        (WAIT, "quit as soon as it is written"),
        (STAY, "let it be written, and quit later"),
        (AT_ONCE, "quit now; nothing of it is kept"),
    )
    return LeaveQuestion("an export is being written.", choices)


def still_saving(name: str) -> LeaveQuestion:
    """Whether the checkpoint that is being written is waited for."""
    choices = (
        (WAIT, "quit as soon as the checkpoint is written"),
        (AT_ONCE, "quit now, without a checkpoint of the newest steps"),
    )
    return LeaveQuestion(f"{name} is still writing its checkpoint.", choices)
