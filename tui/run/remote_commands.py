"""Asking the process that trains a run for something, and finding out whether it was done."""

import socket
import time
from typing import TYPE_CHECKING, Literal

from engine.errors import RunError, UserError
from engine.runs import remote
from engine.runs.folder import METRICS, Run, shown_status
from engine.runs.json_lines import Record
from engine.runs.lock import Holder
from engine.runs.remote import Command

if TYPE_CHECKING:
    from engine.settings.schema import Settings

Outcome = Literal["waiting", "silent", "taken", "done", "over"]

ANSWER_SECONDS = 5.0  # after which a process that has not taken a command is said to be silent
POLL_SECONDS = 0.2
PERSON = "a person judges this run, and is never asked for an evaluation"
DONE: dict[Command, str] = {
    "pause": "paused",
    "unpause": "it goes on",
    "stop": "stopped with a checkpoint",
    "evaluate": "the win rate was measured",
    "save": "a checkpoint was written",
}


class RemoteRequest:
    """A command that was left for the process that trains a run. Every method reads files."""

    def __init__(self, run: Run, command: Command) -> None:
        """Leave the command.

        Raises:
            UserError: nobody trains the run, or it has no evaluation to ask for.
            StorageError: its folder cannot be written.
        """
        holder = run.holder()
        if holder is None:
            status = shown_status(run.state(), lambda: False)
            raise UserError(f"nobody trains the run {run.name!r} now: it is {status}")
        if command == "evaluate" and (why := why_not_evaluated(run.known_settings()[0])):
            raise UserError(why)
        self.run = run
        self.command: Command = command
        self.holder: Holder = holder
        self.outcome: Outcome = "waiting"
        self.seconds = 0.0  # from the asking to the last look
        self._has_checkpoint = True  # a run that stopped, its state
        self._has_win_rate = True  # an evaluation that was made, with a win rate
        self._checkpoints = _checkpoints(run)
        self._metrics = run.follow(METRICS)
        if command == "evaluate":
            self._metrics.skip()
        self._start = time.monotonic()
        self._file = remote.post(run, command)

    @property
    def settled(self) -> bool:
        """Whether nothing more can come of it."""
        return self.outcome in ("done", "over")

    def poll(self) -> Outcome:
        """What has become of it: still `waiting` to be taken, or `silent` when that takes long;
        `taken`; `done`; or `over`: the run ended first.

        Raises:
            UserError: the run is gone.
        """
        if self.settled:
            return self.outcome
        self.seconds = time.monotonic() - self._start
        holder = self.run.holder()
        if holder != self.holder:
            was_taken = not remote.withdraw(self._file)
            self.outcome = "done" if self.command == "stop" and self._stopped(was_taken) else "over"
        elif self._file.exists():
            self.outcome = "silent" if self.seconds > ANSWER_SECONDS else "waiting"
        else:
            self.outcome = "done" if self._obeyed(self.run.state()) else "taken"
        return self.outcome

    def withdraw(self) -> bool:
        """Take the command back; False: it is being obeyed already."""
        return remote.withdraw(self._file)

    def sentence(self) -> str:
        """What has become of it, for the person who asked."""
        who = process(self.holder)
        match self.outcome:
            case "waiting":
                return f"asked {who} to {self.command} …"
            case "silent":
                return f"{who} has not answered for {self.seconds:.0f} s; it was asked to " + (
                    self.command
                )
            case "taken":
                return f"{who} was asked to {self.command}, and has heard it …"
            case "done":
                done = DONE[self.command] if self._has_checkpoint else "stopped while loading"
                if not self._has_win_rate:
                    done = "no win rate could be measured, and the run's log says why"
                return f"{done}, {self.seconds:.1f} s after it was asked"
        return f"the run ended before it could {self.command}"

    def _stopped(self, was_taken: bool) -> bool:
        """Whether a run that is over was stopped: with a checkpoint, or while it was loading, which
        leaves no trace of it, or no run."""
        try:
            status = self.run.state().get("status")
        except UserError:
            status = None
        self._has_checkpoint = status == "stopped"
        return self._has_checkpoint or (was_taken and status not in ("finished", "failed"))

    def _obeyed(self, state: Record) -> bool:
        match self.command:
            case "pause":
                return state.get("status") == "paused"
            case "unpause":
                return state.get("status") == "running"
            case "save":
                return bool(_checkpoints(self.run) - self._checkpoints)
            case "evaluate":
                evaluations = [line for line in self._metrics.read()[1] if "win_rate" in line]
                self._has_win_rate = not evaluations or evaluations[-1]["win_rate"] is not None
                return bool(evaluations)
        return False  # a stop is seen by the end of the process


def wait(request: RemoteRequest) -> str:
    """Wait until a command was obeyed, however long that takes; the sentence that says so.

    Raises:
        RunError: the process does not answer, and the command was taken back; or the run ended
            before it could obey.
    """
    while not request.settled:
        if request.poll() == "silent" and request.withdraw():
            raise RunError(
                f"{process(request.holder)} has not answered for {ANSWER_SECONDS:.0f} s, and was "
                f"not asked to {request.command} after all; see whether it still runs"
            )
        time.sleep(POLL_SECONDS)
    if request.outcome == "over":
        raise RunError(request.sentence())
    return request.sentence()


def why_not_evaluated(settings: "Settings") -> str | None:
    """Why a run with these settings has no evaluation, if it has none."""
    if not settings.measures:
        return PERSON
    off = {
        "steps_per_eval": settings.steps_per_eval <= 0,
        "eval_prompts": settings.eval_prompts == 0,
        "val_batches": settings.val_batches == 0,
    }
    reasons = [f"{name} is {getattr(settings, name)}" for name, is_off in off.items() if is_off]
    return f"nothing is evaluated in this run: {', '.join(reasons)}" if reasons else None


def process(holder: Holder) -> str:
    """A process in words; its host is named where that is another one."""
    there = "" if holder.host == socket.gethostname() else f" on {holder.host}"
    return f"process {holder.pid}{there}"


def _checkpoints(run: Run) -> set[tuple[str, int]]:
    stamps: set[tuple[str, int]] = set()
    for path in run.checkpoints():
        try:
            stamps.add((path.name, path.stat().st_mtime_ns))
        except OSError:
            continue
    return stamps
