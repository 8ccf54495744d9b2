"""The models, data, judges and rubrics of earlier runs, from the folders of the runs themselves."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import UserError
from engine.runs import archive
from engine.runs.folder import Run
from engine.settings.schema import value
from tui.setup.suggestions import Earlier

SETTINGS = ("model", "data", "judge", "judge_system", "system_prompt")
RUNS = 40  # that are looked at, the newest first
VALUES = 12  # of a setting
PAUSE = 0.01  # seconds between two runs, for the screen


def earlier_values(root: Path | None = None) -> Mapping[str, Sequence[Earlier]]:
    """The values of `SETTINGS` in the newest runs, each once, with the newest run that had it."""
    values: dict[str, dict[str, Earlier]] = {key: {} for key in SETTINGS}
    for summary in archive.list_runs(root)[:RUNS]:
        try:
            settings = Run(summary.path).known_settings()[0]
        except (UserError, OSError):
            continue
        for key, known in values.items():
            if (text := value(settings, key)) and len(known) < VALUES:
                known.setdefault(text, Earlier(text, summary.name))
        time.sleep(PAUSE)
    return {key: list(known.values()) for key, known in values.items()}
