"""Files and folders that settings name, so that they are found from any folder."""

import contextlib
from pathlib import Path
from typing import Any

from engine.data_folder import at_home
from engine.settings import judge_names
from engine.settings.judge_names import BETWEEN
from engine.settings.schema import Settings

RESERVED = ("starter", judge_names.HYBRID)  # no folder, whatever lies here
NAMED = ("model", "reference_model_path", "data", "resume_adapter_file", "warm_start")
FUNCTIONS = (*judge_names.SETTINGS, "guard_function")  # may be FILE.py:FUNCTION, or a folder


def anchored(settings: Settings) -> Settings:
    """Checked settings with absolute paths for the files and folders that they name: a run that is
    resumed, or waits in a queue, may begin in another folder. Other names stay as they are."""
    named = {key: getattr(settings, key) for key in (*NAMED, *FUNCTIONS)}
    changes: dict[str, Any] = {
        key: _path(value) if key in NAMED else _judges(value)
        for key, value in named.items()
        if value is not None
    }
    changes["guard_suites"] = [
        _path(name) if Path(name).suffix else name for name in settings.guard_suites
    ]
    if settings.data_mix:
        mix = [{**each, "data": _path(str(each["data"]))} for each in settings.data_mix]
        changes |= {"data_mix": mix, "data": BETWEEN.join(each["data"] for each in mix)}
    if settings.output_root:  # made when a run begins
        root = at_home(settings.output_root)
        # That of a user who is not there is a problem (`checks`), and stays as it is written.
        changes["output_root"] = str(root if str(root).startswith("~") else root.absolute())
    return settings.model_copy(update=changes)


def _path(name: str) -> str:
    if name and name not in RESERVED:
        with contextlib.suppress(OSError, ValueError):
            path = at_home(name)
            if path.exists():
                return str(path.absolute())
    return name


def _judges(text: str) -> str:
    return BETWEEN.join(map(_judge, judge_names.split_judges(text)))


def _judge(name: str) -> str:
    kind = judge_names.judge_kind(name)
    if kind == "function":
        file, function = judge_names.file_and_function(name)
        return f"{_path(file)}:{function}"
    return _path(name) if kind == "model" else name
