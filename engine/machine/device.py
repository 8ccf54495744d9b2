"""The device that a run computes on: its facts, and MLX set up for it.

Nothing here imports MLX at import time, so that a screen may ask for facts cheaply.
"""

import math
import os
import platform
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.machine import cgroup
from engine.machine.backend import Backend, backend, command_output, nvidia_gpu
from engine.machine.launch import place
from engine.machine.memory import memory

if TYPE_CHECKING:
    import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Device:
    """What a run computes on. Memory is in bytes: the GPU's own with CUDA, else the machine's."""

    backend: Backend
    name: str
    cores: int
    memory_total: int
    memory_available: int


def device() -> Device:
    """The facts of the device, read anew at every call."""
    name, own_memory = nvidia_gpu() if backend() == "cuda" else (None, None)
    total, available = own_memory or memory()
    return Device(backend(), name or _processor_name(), cores(), total, available)


def cores() -> int:
    """Cores that this process may use: its affinity, capped by the cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for folder in cgroup.folders("cpu"):
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text()
            if quota not in ("max", "-1"):
                count = min(count, max(1, math.ceil(int(quota) / int(period))))
        except (OSError, ValueError):
            continue
    return max(1, count // _ranks_here())


def _ranks_here() -> int:
    """How many ranks of one run share this machine, as its launcher tells."""
    try:
        here = place()
    except UserError:  # which whoever starts a run is told of
        return 1
    return here.neighbours if here else 1


def _processor_name() -> str:
    if sys.platform == "darwin":
        return command_output("sysctl", "-n", "machdep.cpu.brand_string") or "Mac"
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return name.group(1).strip() if name else platform.machine()


def compute_dtype() -> "mx.Dtype | None":
    """float32 on the CPU backend, whose half-precision kernels are slow; None: as the model is."""
    import mlx.core as mx

    return mx.float32 if backend() == "cpu" else None


def configure_mlx() -> None:
    """Set MLX's memory limits for this device; the CPU backend has none to set."""
    import mlx.core as mx

    if backend() == "metal":
        working_set = int(mx.device_info()["max_recommended_working_set_size"])
        mx.set_wired_limit(working_set)
        mx.set_cache_limit(working_set // 4)
    elif backend() == "cuda":
        mx.set_cache_limit(device().memory_total // 4)


def measure_gflops() -> float:
    """Speed of a float32 matrix product on MLX's default device, in GFLOP/s; takes under 1 s."""
    import mlx.core as mx

    size = 1024 if backend() == "cpu" else 4096
    left, right = mx.random.normal((size, size)), mx.random.normal((size, size))
    mx.eval(left @ right)
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        mx.eval(left @ right)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
