"""The libraries of `report_to`, each with the same four calls. They are imported when opened.

Whether one works offline, and where it sends what it is given, is its own matter: WANDB_MODE,
SWANLAB_MODE and the like in the environment hold. Files go into the run's folder, but for those of
trackio, which keeps all projects in one place (TRACKIO_DIR).
"""

import html
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from engine.markdown import inline

Rows = Sequence[Sequence[Any]]


class TrackerLibrary(Protocol):
    """A run in another program."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers of a step, by the names of metrics.jsonl."""
        ...

    def pairs(self, step: int, rows: Rows) -> None:
        """The newest pairs of a step, as a table."""
        ...

    def close(self, *, failed: bool) -> None:
        """Say that the run has ended, and send what is left."""
        ...


Open = Callable[[dict[str, Any]], TrackerLibrary]  # with what the run is, `trackers._opening`


def tensorboard() -> Open:
    library = import_module("tensorboardX")

    class TensorBoard:
        def __init__(self, run: dict[str, Any]) -> None:
            self._columns = run["columns"]
            folder = Path(run["folder"], "tensorboard")
            again = run["step"] > 0 or folder.exists()
            # What a killed run wrote after its checkpoint, or without one, is hidden.
            self._writer = library.SummaryWriter(
                logdir=str(folder), purge_step=run["step"] + 1 if again else None
            )
            if not again:
                config = json.dumps(run["config"], indent=2, ensure_ascii=False)
                self._writer.add_text(
                    "config", "\n".join(f"    {x}" for x in config.split("\n")), 0
                )

        def metrics(self, step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

        def pairs(self, step: int, rows: Rows) -> None:
            table = [self._columns, ["---"] * len(self._columns), *rows]
            lines = ("| " + " | ".join(map(_cell, row)) + " |" for row in table)
            self._writer.add_text("pairs", "\n".join(lines), step)
            self._writer.flush()

        def close(self, *, failed: bool) -> None:
            self._writer.close()

    return TensorBoard


def wandb() -> Open:
    library = import_module("wandb")

    class WeightsAndBiases:
        def __init__(self, run: dict[str, Any]) -> None:
            self._columns = list(run["columns"])
            self._run = library.init(
                project=run["project"],
                id=run["id"],
                name=run["name"],
                resume="allow",
                config=run["config"],
                dir=run["folder"],
                settings=library.Settings(console="off", silent=True, disable_git=True),
            )
            # A resumed run may go back behind its last line, which wandb's own count cannot.
            self._run.define_metric("*", step_metric="step")

        def metrics(self, step: int, values: dict[str, float]) -> None:
            self._run.log({**values, "step": step})

        def pairs(self, step: int, rows: Rows) -> None:
            table = library.Table(columns=self._columns, data=[list(row) for row in rows])
            self._run.log({"pairs": table, "step": step})

        def close(self, *, failed: bool) -> None:
            self._run.finish(exit_code=int(failed))

    return WeightsAndBiases


def trackio() -> Open:
    library = import_module("trackio")

    class Trackio:
        def __init__(self, run: dict[str, Any]) -> None:
            self._columns = list(run["columns"])
            library.init(
                project=run["project"],
                name=run["name"],
                config=run["config"],
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

        def metrics(self, step: int, values: dict[str, float]) -> None:
            library.log(values, step=step)

        def pairs(self, step: int, rows: Rows) -> None:
            table = library.Table(columns=self._columns, data=[list(row) for row in rows])
            library.log({"pairs": table}, step=step)

        def close(self, *, failed: bool) -> None:
            library.finish()

    return Trackio


def swanlab() -> Open:
    library = import_module("swanlab")

    class SwanLab:
        def __init__(self, run: dict[str, Any]) -> None:
            self._columns = list(run["columns"])
            library.init(
                project=run["project"],
                name=run["name"],
                id=run["id"],
                resume="allow",
                config=run["config"],
                log_dir=f"{run['folder']}/swanlog",
            )

        def metrics(self, step: int, values: dict[str, float]) -> None:
            library.log(values, step=step)

        def pairs(self, step: int, rows: Rows) -> None:
            table = library.echarts.Table()
            table.add(self._columns, [[_shown(each) for each in row] for row in rows])
            library.log({"pairs": table}, step=step)

        def close(self, *, failed: bool) -> None:
            library.finish()

    return SwanLab


def _shown(value: Any) -> str:
    """A value as text that is no markup, whoever draws it as HTML."""
    return html.escape(_text(value), quote=False)


def _cell(value: Any) -> str:
    return inline(_text(value))


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


LIBRARIES: dict[str, Callable[[], Open]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "trackio": trackio,
    "swanlab": swanlab,
}
