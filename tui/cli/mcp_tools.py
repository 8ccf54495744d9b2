"""What `lora-studio mcp` lets another program do. Runs are named as the list names them, and no
path is taken: neither for a run nor in a config."""

import functools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from engine.data_folder import data_folder
from engine.errors import RunError, UserError
from engine.publish.public import is_local
from engine.runs import archive
from engine.runs.folder import LOCK, METRICS, PAIRS, UNDECIDED, Run
from engine.runs.json_lines import from_line
from engine.runs.lock import holder
from engine.runs.remote import Command
from engine.secrets import hide
from engine.settings.checks import problems
from engine.settings.files import from_mapping, notes, parse_yaml
from engine.settings.judge_names import judge_kind
from engine.settings.schema import Settings
from tui.cli import run_lines

MOST_LINES = 500
LONGEST = 4000  # characters of a text
START_SECONDS = 120.0  # until a run that was started has to be there
POLL_SECONDS = 0.2
Record = dict[str, Any]


def list_runs() -> list[Record]:
    """All runs, the newest first, with status, step, win rate and the like."""
    lines = run_lines.list_lines(json=True)
    return [_short(from_line(line.encode()) or {}) for line in lines]


def show_run(run: str) -> Record:
    """A run: its state and health, all its settings, its last metrics and win rates."""
    _open(run)
    [line] = run_lines.run_lines(run, json=True)
    return _short(from_line(line.encode()) or {})


def read_metrics(run: str, last: int = 50) -> list[Record]:
    """The last reports and evaluations of a run, oldest first."""
    return _short(_open(run).last(METRICS, _count(last)))


def read_pairs(run: str, last: int = 10, decided: bool = True) -> list[Record]:
    """The last judged pairs of a run, oldest first; with decided=false those without a winner."""
    return _short(_open(run).last(PAIRS if decided else UNDECIDED, _count(last)))


def check_config(config: str) -> Record:
    """Whether a config (YAML, as `lora-studio config` prints one) can run here: what contradicts
    itself in it, what has no effect, and the memory that it takes."""
    from engine.plan.memory import plan, refusal

    data = parse_yaml(config, "config")
    if not isinstance(data, dict):
        raise UserError("config: it has to be a mapping of settings, as {model: ORG/NAME, ...}")
    settings = from_mapping(data, "config")
    faults = [f"{each.key}: {each.message}" for each in problems(settings)]
    faults += _reaching_out(settings)
    if faults:
        return {"problems": faults, "notes": notes(data)}
    memory = plan(settings)
    too_much = refusal(memory, settings)
    return {
        "problems": [too_much] if too_much else [],
        "notes": notes(data),
        "memory_bytes": memory.known,
        "machine_bytes": memory.machine_total,
    }


def start_run(config: str, name: str) -> Record:
    """Start a run from a config (YAML), in a process of its own; its first state."""
    checked = check_config(config)
    if checked["problems"]:
        raise UserError("; ".join(checked["problems"]))
    data = parse_yaml(config, "config")
    if from_mapping(data, "config").asks_person:
        raise UserError("judge: a person can judge in the app alone; name a model")
    data_folder().mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", suffix=".yaml", dir=data_folder()
        ) as file,
        tempfile.TemporaryFile() as errors,
    ):
        file.write(config)
        file.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "tui.main", "train", file.name, "--run-name", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,  # it outlives who asked for it
        )
        run = _run_of(process, errors)
    threading.Thread(target=process.wait, daemon=True).start()  # else its end leaves a zombie
    return {"run": run.name, "status": run.state().get("status")}


def control_run(run: str, command: Literal["pause", "unpause", "stop", "save", "evaluate"]) -> str:
    """Pause a run that trains, let it go on, stop it with a checkpoint, have it save or evaluate;
    what became of it."""
    from tui.run.remote_commands import RemoteRequest, wait

    return wait(RemoteRequest(_open(run), _COMMANDS[command]))


READING = (list_runs, show_run, read_metrics, read_pairs, check_config)
CONTROL = (start_run, control_run)
_COMMANDS: dict[str, Command] = {
    "pause": "pause",
    "unpause": "unpause",
    "stop": "stop",
    "save": "save",
    "evaluate": "evaluate",
}


def answering(tool: Callable[..., Any], refusal: type[Exception]) -> Callable[..., Any]:
    """`tool` with what a person would be told of an error as a `refusal`, which the client sees."""

    @functools.wraps(tool)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return tool(*args, **kwargs)
        except (UserError, RunError) as error:
            raise refusal(hide(str(error))) from None

    return answer


def _open(name: str) -> Run:
    if os.sep in name or name.startswith(("~", ".")):
        raise UserError(f"{name[:60]!r} is no name of a run")
    return archive.open_run(name)


def _run_of(process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> Run:
    """The run that a process trains, once it has one; `errors` is what it prints of an error."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            errors.seek(0)
            words = " ".join(errors.read().decode(errors="replace").split())
            raise UserError(hide(words[-500:]) or "the run did not start")
        for path in _folders():
            owner = holder(path / LOCK)
            if owner and owner.pid == process.pid:
                return Run(path)
        time.sleep(POLL_SECONDS)
    process.kill()
    raise RunError(f"the run did not start within {START_SECONDS:g} seconds")


def _folders() -> Iterator[Path]:
    root = archive.runs_root()
    if root.is_dir():
        yield from (path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _count(last: int) -> int:
    if not 0 < last <= MOST_LINES:
        raise UserError(f"last: {last} is not between 1 and {MOST_LINES}")
    return last


def _short(value: Any) -> Any:
    """A value with no text longer than `LONGEST`."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, list) else value


def _reaching_out(settings: Settings) -> list[str]:
    """What of a config would have a run read or write files of this machine, or run code."""
    names = {
        "model": [settings.model],
        "data": settings.data_names,
        "judge": settings.judges,
        "eval_judge": settings.eval_judges,
        "reference_model_path": [settings.reference_model_path or ""],
        "guard_suites": settings.guard_suites,
        "guard_function": [settings.guard_function or ""],
    }
    faults = [
        f"{key}: {name} is on this machine; another program may name the hub, servers and starter"
        for key, values in names.items()
        for name in values
        if name and (is_local(name) or judge_kind(name) == "function")
    ]
    forbidden = (
        "trust_remote_code",
        "resume_adapter_file",
        "output_root",
        "lm_studio_name",
        "report_to",
        "notify_env",
        "judge_key_env",
        "eval_judge_key_env",
        "run_name",
    )
    faults += [
        f"{key}: it is not for other programs to set" for key in forbidden if getattr(settings, key)
    ]
    return faults
