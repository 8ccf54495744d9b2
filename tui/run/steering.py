"""What can be asked of the run that trains here, and what one can do once it is over."""

from typing import TYPE_CHECKING

from textual import work

from engine.errors import RunError, UserError
from engine.events import COMPLETE
from engine.runs.folder import Run
from tui.run.next_steps import copy_one, newest_weights
from tui.run.remote_commands import why_not_evaluated
from tui.run.what_now import WhatNow
from tui.shell.base import StudioScreen
from tui.state.run_control import THE_PERSON
from tui.text.fault import setting_at_fault
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.session import Session
    from engine.settings.schema import Settings

NO_RUN = "no run is going: start one in Setup (f2) or resume one in Runs (f5)"
ENDED = {
    "finished": "finished",
    "untrained": "learned from no pair",
    "stopped": "was stopped",
    "failed": "failed",
}


class SteeringScreen(StudioScreen):
    """A screen of the run of this process: its actions, and why one can do nothing now."""

    def trained_run(self) -> Run | None:
        """The run of this screen, where it is over and has learned something."""
        view, session = self.studio.view, self.studio.session
        if not view or not session or session.alive or view.status not in ("finished", "stopped"):
            return None
        return session.run if session.has_folder and view.step else None

    def why_not(self, action: str) -> str | None:
        """What the run's state does not allow."""
        view, session = self.studio.view, self.studio.session
        alive = session is not None and session.alive
        match action:
            case "pause" | "unpause" | "stop" | "evaluate" | "save" if not alive:
                return (
                    NO_RUN
                    if view is None
                    else f"the run is over: it {ENDED.get(view.status, view.status)}"
                )
            case "pause" | "unpause" | "stop" | "evaluate" | "save" if session and session.stopping:
                return "the run is stopping already"
            case "pause" if session and session.status == "paused":
                return "the run is paused already"
            case "unpause" if session and session.status != "paused":
                return "the run is not paused"
            case "evaluate" if session and (why := why_not_evaluated(session.settings)):
                return why
            case "go_on_and_evaluate" if alive:
                return "the run is still going"
            case "go_on_and_evaluate" if not self.can_measure():
                return "its win rate is measured already" if view else NO_RUN
            case "resume" if view is None or (not alive and self._resumable() is None):
                how = ENDED.get(view.status, view.status) if view else ""
                return f"the run is over: it {how}" if view else NO_RUN
            case "resume" if alive:
                return "the run is still going"
            case "review" if not (alive and session and session.settings.asks_person):
                return "no person judges this run" if session else NO_RUN
            case "try_it" | "detail" | "chart" if view is None:
                return NO_RUN
            case "settings" if view is None or session is None:
                return NO_RUN
            case "try_it" | "real_model" | "by_hand" | "settings" if alive:
                return "the run is still going"
            case "try_it" | "detail" if session and not session.has_folder:
                return "nothing was trained, so no run was kept"
            case "chat" | "export" | "publish" | "train_on" | "copy" if view is None:
                return NO_RUN
            case "chat" | "export" | "publish" | "train_on" | "copy" if self.trained_run() is None:
                return "the run is still going" if alive else "this run has trained nothing"
        return None

    # -- while it trains -------------------------------------------------------------------------

    def action_pause(self) -> None:
        """Hold the run still."""
        if session := self.studio.session:
            session.pause()
            self.say("pausing · p goes on")
            self.refresh_bindings()

    def action_unpause(self) -> None:
        """Let the run go on."""
        if session := self.studio.session:
            session.unpause()
            self.say("it goes on")
            self.refresh_bindings()

    def action_stop(self) -> None:
        """End the run with a checkpoint, after a question."""
        from tui.shell.ask import AskChoice

        session = self.studio.session
        loading = session is not None and session.unbegun
        question = "stop this run?" if loading else "stop this run? It can be resumed later."
        end = "nothing was trained yet" if loading else "write a checkpoint and end"
        choices = (("stop", end), ("go on", f"keep {'loading' if loading else 'training'}"))
        self.app.push_screen(AskChoice(question, choices), self._stop)

    def _stop(self, answer: str | None) -> None:
        if answer == "stop":
            self.studio.control.stop(by=THE_PERSON)
            self.run_changed(())

    def action_evaluate(self) -> None:
        """Measure the win rate after the current step."""
        if session := self.studio.session:
            session.evaluate_now()
            self.say(f"the win rate is measured {self._when(session)}")

    def can_measure(self) -> bool:
        """Whether a run that is over has a win rate to be measured by going on with it."""
        view, session = self.studio.view, self.studio.session
        return bool(
            (view and session and session.run and session.has_folder and view.can_measure)
            and not why_not_evaluated(session.settings)
        )

    def action_go_on_and_evaluate(self) -> None:
        """Resume the run, and measure the win rate before the next step."""
        if (session := self.studio.session) and session.run:
            self._resume(session.run, evaluate=True)

    def _resumable(self) -> Run | None:
        """The run of this screen, where it is over and has steps left."""
        view, session = self.studio.view, self.studio.session
        over = view and session and not session.alive and view.status not in COMPLETE
        return session.run if over and session and session.has_folder else None

    def action_resume(self) -> None:
        """Go on with the run from its newest checkpoint."""
        if run := self._resumable():
            self._resume(run)

    def _resume(self, run: Run, *, evaluate: bool = False) -> None:
        try:
            self.studio.resume_run(run, evaluate=evaluate)
        except (UserError, RunError) as error:
            self.say_error(error)

    def action_save(self) -> None:
        """Write a checkpoint after the current step."""
        if session := self.studio.session:
            session.save_now()
            self.say(f"a checkpoint is written {self._when(session)}")

    def _when(self, session: "Session") -> str:
        """When the run does what is asked of it between two steps."""
        if session.status == "paused":
            return "once the run goes on: p"
        return "after the current step"

    # -- once it is over -------------------------------------------------------------------------

    def action_review(self) -> None:
        """Go to the pairs that wait."""
        self.app.switch_mode("review")

    def action_try_it(self) -> None:
        """Ask the trained policy something."""
        if (session := self.studio.session) and session.run:
            self.studio.navigator.open_try_it(session.run)

    def action_chat(self) -> None:
        """Talk with the trained policy."""
        if run := self.trained_run():
            self.studio.navigator.open_chat(run)

    def action_export(self) -> None:
        """Write what was trained for other programs."""
        if run := self.trained_run():
            self.studio.navigator.open_export(run)

    def action_publish(self) -> None:
        """Send what was trained to the model hub."""
        if run := self.trained_run():
            self.studio.navigator.open_publish(run)

    def action_train_on(self) -> None:
        """Put the run's settings into the form, for a new run from where this one is."""
        if (run := self.trained_run()) and (session := self.studio.session):
            self._open_from(run, session.settings)

    def _open_from(self, run: Run, settings: "Settings") -> None:
        changes = {"run_name": None, "resume_adapter_file": str(newest_weights(run))}
        source = f"{safe_line(run.name, 40)}, from where it is"
        self.studio.navigator.open_setup(settings.model_copy(update=changes), source)

    @work
    async def action_copy(self) -> None:
        """Copy the run's folder, or a command line of another program."""
        if ended := self.query_one(WhatNow).ended:
            await copy_one(self, ended)

    def action_detail(self) -> None:
        """Show the run's pairs, config and files."""
        if (session := self.studio.session) and session.run:
            self.studio.navigator.open_run_detail(str(session.run.path))

    def action_settings(self) -> None:
        """Put the run's settings into the form, with the cursor on the one at fault."""
        view, session = self.studio.view, self.studio.session
        if view and session:
            self.studio.navigator.open_setup(session.settings, safe_line(view.name, 60))
            if key := setting_at_fault(view.error or ""):
                self.studio.navigator.open_setting(key)

    def action_real_model(self) -> None:
        """Put the settings of a real model into the form."""
        from engine.settings.schema import Settings

        self.studio.navigator.open_setup(Settings(), "the preset Qwen3-0.6B")

    def action_by_hand(self) -> None:
        """Put a run with a person as its judge into the form: of the starter, or from where the
        run of another model is."""
        from engine.settings.files import preset

        run, session = self.trained_run(), self.studio.session
        if run and session and session.settings.model != "starter":
            changes = {"judge": "human", "batch_size": 1, "steps_per_report": 1}
            self._open_from(run, session.settings.model_copy(update=changes))
        else:
            self.studio.navigator.open_setup(preset("starter-human"), "the preset starter-human")
