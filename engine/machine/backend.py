"""Which of MLX's backends computes here, and the GPU's own facts, told without importing MLX."""

import importlib.metadata
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

Backend = Literal["metal", "cuda", "cpu"]


@cache
def backend() -> Backend:
    """The backend that MLX will use by default, told without importing it."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "metal"
    if Path("/dev/nvidiactl").exists() and _installed("mlx-cuda", "mlx-cuda-12", "mlx-cuda-13"):
        return "cuda"
    return "cpu"


def _installed(*distributions: str) -> bool:
    for name in distributions:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


@cache
def gpu_shares_memory() -> bool:
    """Whether models lie in the machine's memory for a GPU, as on a Mac and on some of NVIDIA's."""
    if backend() == "cuda":
        name, own_memory = nvidia_gpu()
        return name is not None and own_memory is None
    return backend() == "metal"


def nvidia_gpu() -> tuple[str | None, tuple[int, int] | None]:
    """Name, and total and free bytes, of the first GPU, from the driver's own tool.

    Without bytes where the GPU has no memory of its own, but shares the machine's.
    """
    query = "--query-gpu=name,memory.total,memory.free"
    line = command_output("nvidia-smi", query, "--format=csv,noheader,nounits").partition("\n")[0]
    name, *sizes = (part.strip() for part in line.rsplit(",", 2))
    if len(sizes) != 2:
        return None, None
    try:
        total, free = (int(size) << 20 for size in sizes)
    except ValueError:  # "[N/A]"
        return name, None
    return name, (total, free)


def command_output(*command: str) -> str:
    """What a system tool prints; empty when it is missing, fails or hangs."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()
