"""The door to a run, on a thread of its own: start, pause, stop, verdicts in, events out.

Importing this is light. MLX is imported, and lives, on the thread that `start` makes.
"""

import contextlib
import threading
import time
import traceback
from typing import TYPE_CHECKING, Literal

from engine.control import Control, LoadingStopped
from engine.errors import CannotGoOn, NothingLearned, RunError, UserError
from engine.events import (
    Event,
    EventBuffer,
    Level,
    Log,
    PairSampled,
    Pick,
    RunEnded,
    RunStatus,
    Shown,
)
from engine.follow import Followers, check_followers
from engine.json_number import finite
from engine.machine.launch import place
from engine.model import adapter_files
from engine.runs import archive, card_labels
from engine.runs.folder import LOG, Run, timestamp
from engine.runs.remote import Watch
from engine.secrets import hide
from engine.settings.checks import problems
from engine.settings.local_paths import anchored
from engine.settings.schema import Settings

if TYPE_CHECKING:
    from engine.judges.human import HumanJudge, Label

LOAD_TIMEOUT = 0.3  # seconds that loading gets to end by itself when the run is to stop
LOAD_POLL_SECONDS = 0.05  # between two looks at whether it has


class Session:
    """A run and the thread that trains it. Every method may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        run: Run | None = None,
        *,
        beside_screen: bool = False,
        back_to: int | None = None,
    ) -> None:
        """With `run`, that run is resumed, by `settings`; without, a new one is made. `back_to` is
        the step of an earlier checkpoint to go on from, which `go_back.check` has looked at.

        `beside_screen`: this process also draws a screen, so the engine leaves it time to draw,
        and somebody sits there who can end a pause.
        """
        self._beside_screen = beside_screen
        self.settings = settings
        self.run = run
        self._back_to = back_to
        self.error: str | None = None
        self.error_is_users = False
        self.has_folder = True  # to look at: not where nothing could begin
        self._new = run is None
        self._stopped_by = ""  # who asked for the end, where that was somebody
        self._keep = False  # the run's folder, even if nothing was trained
        self._ended: RunStatus | None = None
        self._ending = threading.Lock()
        self._abandoned = False  # the thread goes on loading for nobody
        self._control = Control(attended=beside_screen)
        self._events = EventBuffer()
        self._person: HumanJudge | None = None
        self._lock = contextlib.ExitStack()
        self._followers: Followers | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make or lock the run's folder and start the thread.

        Raises:
            UserError: the settings contradict each other or the adapters to start from, the
                folder cannot be written, or another process trains this run.
        """
        notes: list[str] = []
        if self.run is None:
            self.settings, notes = adapter_files.settled(self.settings)
        if faults := problems(self.settings):
            raise UserError("; ".join(f"{each.key}: {each.message}" for each in faults))
        check_followers(self.settings)
        if self.run is None:
            if place() is None:  # another rank may have its files elsewhere
                self.settings = anchored(self.settings)
            self.run = archive.create(self.settings)
            notes += card_labels.copy_to(self.run, self.settings)
        for note in notes:
            self._log(note)
        self._lock.enter_context(self.run.lock())
        self._followers = Followers(
            self.settings, self.run, self._tell, lambda: [each.pair_id for each in self.waiting()]
        )
        # Of a run that a person judges alone, the files tell already.
        shared = self.settings.asks_person and not self.settings.human_judge
        count = (lambda: len(self.waiting())) if shared else None
        self._lock.callback(Watch(self.run, self._carry_out, count).close)
        self._thread = threading.Thread(target=self._work, args=(self.run,), name="engine")
        self._thread.start()
        threading.Thread(
            target=self._watch_loading, args=(self.run, self._thread), name="loading", daemon=True
        ).start()

    # -- what it does ----------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the run is at work."""
        return self._thread is not None and self._thread.is_alive() and not self._abandoned

    @property
    def unbegun(self) -> bool:
        """Whether it still loads, or ended while it did: nothing was there to save."""
        return not self._control.begun

    @property
    def lingers(self) -> bool:
        """Whether the run has ended while its thread loads on, which cannot be broken off: only
        the end of the process does. The process has to leave by `os._exit`."""
        return self._abandoned and self._thread is not None and self._thread.is_alive()

    @property
    def status(self) -> RunStatus:
        """What the run is doing now, or how it ended."""
        if self._ended is not None:
            return self._ended
        return "paused" if self._control.paused else "running"

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop, here or by another process."""
        return self._control.stopping

    def drain(self) -> list[Event]:
        """Events since the last call, oldest first."""
        return self._events.drain()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the run to end; whether it has."""
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.alive and (left := end - time.monotonic()) > 0 and self._thread is not None:
            self._thread.join(min(left, LOAD_POLL_SECONDS) if self.unbegun else min(left, 1.0))
        return not self.alive

    # -- what is asked of it ---------------------------------------------------------------------

    def pause(self) -> None:
        """Hold still after the current token or pair."""
        self._control.pause()

    def unpause(self) -> None:
        """Go on."""
        self._control.pause(False)

    def stop(self, *, keep: bool = False, by: str = "") -> None:
        """End with a checkpoint; within a second, and without one, while the run still loads.

        A new run in which nothing was trained is removed then, unless it is to be kept; one that
        was there before stays as it was. `by` is who asks for it, for the log.
        """
        self._keep |= keep
        self._stopped_by = self._stopped_by or by
        self._control.stop()

    def screen_has_gone(self) -> None:
        """Nobody sees the run any more, who could end a pause."""
        self._control.attended = False

    def evaluate_now(self) -> None:
        """Measure the win rate after the current step."""
        self._control.request("evaluate")

    def save_now(self) -> None:
        """Write a checkpoint after the current step."""
        self._control.request("save")

    # -- a person's verdicts ---------------------------------------------------------------------

    def waiting(self) -> list[PairSampled]:
        """Pairs that want the person's answer, in the order to show them."""
        return self._person.waiting() if self._person else []

    def answer(
        self, pair_id: str, shown: Shown | Pick, *, note: str = "", flagged: bool = False
    ) -> bool:
        """Give a verdict; it is on disk when this returns True. False: nothing waits there.

        Raises:
            StorageError: it could not be written, and the pair still waits.
        """
        if self._person is None:
            return False
        return self._person.answer(pair_id, shown, note=note, flagged=flagged)

    def undo(self, pair_id: str) -> Literal["undone", "learned", "unknown"]:
        """Take a verdict back, so that the pair waits again; nothing, once it was learned from."""
        return self._person.undo(pair_id) if self._person else "unknown"

    def labels_of(self, pair_id: str) -> list[str]:
        """The ids of the labels of a pair's prompt: more than one where a person's pick of many
        answers makes a pair with each other."""
        return self._person.labels_of(pair_id) if self._person else []

    def given(self, pair_id: str) -> "Label | None":
        """The label of a pair that was learned from, in terms of what the screen showed."""
        return self._person.given(pair_id) if self._person else None

    def relabel(self, pair_id: str, shown: Shown | None) -> bool:
        """Change the label of a pair that was learned from, or with None remove it. False, and
        nothing is changed, where there is none or the run has ended.

        Raises:
            StorageError: the label could not be changed.
        """
        return self.alive and self._person is not None and self._person.relabel(pair_id, shown)

    def agreement(self) -> tuple[int, int]:
        """How often the person judged a repeated pair as before, of how many."""
        return self._person.agreement() if self._person else (0, 0)

    def _carry_out(self, command: str) -> None:
        """Carry out a command that another process left in the run's folder."""
        actions = {
            "pause": self.pause,
            "unpause": self.unpause,
            "stop": self.stop,
            "evaluate": self.evaluate_now,
            "save": self.save_now,
        }
        actions[command]()
        self._log(f"another process asked to {command}")

    def _log(self, text: str) -> None:
        self._tell("info", text)

    def _tell(self, level: Level, text: str) -> None:
        """A line for the screen and for the run's log."""
        self._events.put(Log(level=level, text=text))
        if self.run and self.has_folder:
            with contextlib.suppress(RunError):
                self.run.log(level, text)

    # -- the thread ------------------------------------------------------------------------------

    def _work(self, run: Run) -> None:
        from engine.train import engine_thread

        status: RunStatus = "failed"
        error: str | None = None
        is_users = False
        if self._beside_screen:
            engine_thread.step_back()
        try:
            finished = engine_thread.work(
                self.settings, run, self._control, self._emit, self._set_person, self._back_to
            )
            status = "finished" if finished else "stopped"
        except LoadingStopped:
            status = "stopped"
        except (CannotGoOn, NothingLearned) as ended:
            status = "untrained" if isinstance(ended, NothingLearned) else "stopped"
            error = str(ended)
        except (UserError, RunError) as reason:
            error, is_users = hide(str(reason)), isinstance(reason, UserError)
        except Exception as defect:  # ours or a library's: in words, with the trace logged
            error = hide(f"{type(defect).__name__}: {defect}; the log has the details.")
            self._log_trace(run)
        except BaseException as told:  # the thread itself was told to end
            error = f"{type(told).__name__} ended the engine's thread."
            self._log_trace(run)
        finally:
            self._end(run, status, error, is_users=is_users)
            engine_thread.leave_thread()

    def _set_person(self, judge: "HumanJudge") -> None:
        self._person = judge

    def _emit(self, event: Event) -> None:
        if self._ended is None:  # else it comes from a thread that was let go
            self._put(event)

    def _put(self, event: Event) -> None:
        """Hand an event to the screen and to who follows the run."""
        self._events.put(event)
        if self._followers:
            self._followers.put(event)

    def _watch_loading(self, run: Run, thread: threading.Thread) -> None:
        """While the run loads, look whether it is to stop; then let go of its thread, since
        nothing can break off a load."""
        since = float("inf")
        while thread.is_alive() and not self._control.begun:
            now = time.monotonic()
            since = min(since, now) if self._control.stopping else since
            if now - since > LOAD_TIMEOUT and self._control.abandon():
                self._end(run, "stopped", abandoned=True)
                return
            time.sleep(LOAD_POLL_SECONDS)

    def _log_trace(self, run: Run) -> None:
        trace = hide(traceback.format_exc())
        self._events.put(Log(level="error", text=trace))
        with contextlib.suppress(RunError):
            run.append(LOG, [f"{timestamp()} error   {line}" for line in trace.splitlines()])

    def _end(
        self,
        run: Run,
        status: RunStatus,
        error: str | None = None,
        *,
        is_users: bool = False,
        abandoned: bool = False,
    ) -> None:
        """Close the run's folder and say how it ended; done once, by whoever comes first: what a
        thread that was let go meets afterwards is no news."""
        with self._ending:
            if self._ended is not None:
                return
            self.error, self.error_is_users = error, is_users
            begun = self._control.begun
            as_it_was = status == "stopped" and not begun  # it was to stop before anything was done
            step, seconds = 0, None
            with contextlib.suppress(RunError, UserError):
                state = run.state() if as_it_was else run.update(status=status, error=self.error)
                step, seconds = int(state.get("step") or 0), finite(state.get("seconds"))
            if self.error is not None:
                with contextlib.suppress(RunError):
                    run.log("error", self.error)
            self.has_folder = not (self._new and not begun and (as_it_was or self.error_is_users))
            self.has_folder |= self._keep and as_it_was
            if not self.has_folder:
                archive.discard(run)
                self._events.put(Log(level="info", text="nothing was trained, so no run is kept"))
            elif status == "stopped" and begun and self._stopped_by and self.error is None:
                self._log(f"stopped by {self._stopped_by} at step {step:,}")
            self._lock.close()
            self._abandoned = abandoned
            self._ended = status
            if self.error is not None:  # right before the end, whose readers say it once
                self._events.put(Log(level="error", text=self.error))
            self._put(RunEnded(status=status, step=step, error=self.error, seconds=seconds))
