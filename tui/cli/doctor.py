"""What the program finds on this machine, for `lora-studio doctor`."""

import importlib.metadata
import locale
import os
import platform
import shutil
import sys

from engine.data_folder import data_folder
from engine.machine import open_files
from engine.machine.backend import backend
from engine.machine.blas import blas_of_numpy, load_fast_blas
from engine.machine.device import device, measure_gflops
from engine.machine.hub import hub_reachable
from engine.machine.memory import disk_free
from engine.runs.json_lines import to_json
from tui.text.safe_text import safe_line

PACKAGES = ("lora-studio", "mlx", "mlx-lm", "transformers", "datasets", "textual")
GB = 1e9


def lines(*, json: bool) -> list[str]:
    """The findings: a line each, or one JSON object."""
    facts = findings()
    if json:
        return [to_json(facts)]
    words = {key: safe_line(_words(value)) for key, value in facts.items()}
    width = max(map(len, words))
    return [f"{key.replace('_', ' '):<{width}}  {value}" for key, value in words.items()]


def findings() -> dict[str, object]:
    """Everything that decides how well a run will go here."""
    blas = load_fast_blas()  # before anything imports mlx
    machine = device()
    return {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "device": f"{machine.backend}, {machine.name}, {machine.cores} cores",
        "blas": blas or without_blas(),
        "numpy_blas": blas_of_numpy(),
        "gflops": round(measure_gflops(), 1),
        "memory_gb": round(machine.memory_total / GB, 1),
        "memory_free_gb": round(machine.memory_available / GB, 1),
        "open_files": _open_files(),
        "home": str(data_folder()),
        "disk_free_gb": round(disk_free(data_folder()) / GB, 1),
        "hub_reachable": hub_reachable(),
        "terminal": _terminal(),
    }


def without_blas() -> str:
    """What computes without a fast BLAS under MLX, and how to get one."""
    words = "the one that MLX brings"
    if backend() != "cpu" or not sys.platform.startswith("linux"):
        return words
    return (
        f"{words}: slow, but for the common models, which numpy computes; `pip install "
        "'lora-studio[cpu]'` brings a fast one, or the system's OpenBLAS (apt install libopenblas0)"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _open_files() -> dict[str, int | str]:
    now, most = ("unlimited" if limit is None else limit for limit in open_files.limits())
    return {"now": now, "at_most": most}


def _terminal() -> str:
    if not sys.stdout.isatty():
        return "none"
    columns, rows = shutil.get_terminal_size()
    true_colour = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    facts = [
        f"{columns} x {rows}",
        os.environ.get("TERM") or "TERM is not set",
        "true colour" if true_colour else "256 colours or fewer",
        locale.getpreferredencoding(),
        *(["over SSH"] if "SSH_CONNECTION" in os.environ else []),
        *(["in tmux"] if "TMUX" in os.environ else []),
    ]
    return ", ".join(facts)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {each}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
