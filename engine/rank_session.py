"""The door to a rank that follows rank 0 of a run, on a thread of its own.

Importing this is light. MLX is imported, and lives, on the thread that `start` makes.
"""

import threading
from typing import TYPE_CHECKING

from engine.errors import RunError, UserError
from engine.machine.blas import import_mlx
from engine.machine.launch import Place
from engine.secrets import hide

if TYPE_CHECKING:
    from engine.settings.schema import Settings
    from engine.train.ranks.worker import RankWorker


class RankSession:
    """One rank other than 0. Its process has to leave by `os._exit`: a sum over ranks that hangs
    cannot be broken off."""

    def __init__(self, place: Place, settings: "Settings | None") -> None:
        """`settings` have to be those of rank 0; None: those are taken."""
        self.status, self.error = 1, ""
        self._place, self._settings = place, settings
        self._worker: RankWorker | None = None
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end; whether it has come."""
        self._thread.join(seconds)
        if self._worker and (end := self._worker.hung or self._worker.end_of_load()):
            self.status, self.error = end.status, end.text
            return True
        return not self._thread.is_alive()

    def stop(self) -> bool:
        """Ask rank 0 to stop with a checkpoint; False where nobody is there to be asked."""
        return self._worker is not None and self._worker.stop()

    @property
    def outlives_terminal(self) -> bool:
        """Whether the run is known to go on where its terminal is lost, as this rank does then."""
        run = self._worker and self._worker.run_settings
        return run is not None and run.on_hangup == "continue"

    def _work(self) -> None:
        try:
            import_mlx()
            from engine.train.ranks.worker import RankWorker

            self._worker = RankWorker(self._place, self._settings)
            end = self._worker.work()
            self.status, self.error = end.status, end.text
        except UserError as error:
            self.status, self.error = 2, hide(str(error))
        except Exception as error:  # a defect, ours or a library's
            what = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            self.error = hide(f"rank {self._place.rank} has failed: {what}")


def refuse(place: Place, reason: str) -> None:
    """As rank 0, tell the others why the run cannot begin, if they come to hear it within half a
    minute. The process has to leave by `os._exit` then."""
    import_mlx()
    from engine.train.ranks.refusal import refuse as tell

    tell(place, reason)
