"""What rows of the list of runs show beyond a run's summary, read once for as long as it holds."""

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.events import UNDER_WAY
from engine.runs.archive import Run, RunSummary
from engine.runs.folder import METRICS
from engine.settings.schema import fields, value
from tui.archive.run_rows import Glance, glance

Stamp = tuple[int, int]  # of a file: modified in ns, bytes


class RunGlances:
    """The ends of metrics files and the sizes of folders. Reads on any thread, one at a time."""

    def __init__(self) -> None:
        self._glances: dict[Path, tuple[Stamp, Glance]] = {}
        self._sizes: dict[Path, int] = {}
        self._settings: dict[Path, Mapping[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._glances)

    def of(self, run: RunSummary) -> Glance:
        """What is known of a run's metrics; nothing before `read`."""
        return self._glances[run.path][1] if run.path in self._glances else Glance()

    def read(self, run: RunSummary) -> bool:
        """Read a run's metrics where they are new or have changed; whether they are."""
        with contextlib.suppress(OSError):
            stat = (run.path / METRICS).stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if run.path not in self._glances or self._glances[run.path][0] != stamp:
                self._glances[run.path] = (stamp, glance(run))
                return True
        return False

    def measure(self, run: RunSummary) -> None:
        """Sum the files of a run that has ended; they change little, so it is done once."""
        if run.path not in self._sizes and run.status not in UNDER_WAY:
            with contextlib.suppress(OSError):
                self._sizes[run.path] = Run(run.path).size()

    def size(self, runs: Iterable[RunSummary]) -> int:
        """Bytes of the runs that were measured."""
        return sum(self._sizes.get(run.path, 0) for run in runs)

    def read_settings(self, run: RunSummary) -> bool:
        """Read a run's settings, which do not change, once; whether they are new."""
        if run.path in self._settings or run.damaged:
            return False
        self._settings[run.path] = {}
        with contextlib.suppress(UserError, OSError):
            settings = Run(run.path).known_settings()[0]
            self._settings[run.path] = {each.key: value(settings, each.key) for each in fields()}
        return True

    def settings(self, run: RunSummary) -> Mapping[str, Any]:
        """A run's settings by key; none before `read_settings`."""
        return self._settings.get(run.path, {})
