"""Memory and disk: what this machine has, what is free of it, what this process holds."""

import shutil
import sys
from pathlib import Path

import psutil

from engine.machine import cgroup
from engine.machine.backend import gpu_shares_memory


def memory() -> tuple[int, int]:
    """Total and available memory of the machine in bytes, no more than the cgroup grants.

    (0, 0) where the system does not say.
    """
    try:
        machine = psutil.virtual_memory()
    except (OSError, psutil.Error):
        return 0, 0
    total, available = machine.total, machine.available
    for limit, used in cgroup.memory_limits():
        total, available = min(total, limit), min(available, max(limit - used, 0))
    return total, available


def process_memory() -> int:
    """Bytes of the machine's memory that this process holds now.

    That is its resident memory; a run's children hold nothing worth counting. Where the GPU works
    in the same memory, the system does not count all of that as resident: there, what MLX says
    that it holds, its cache included, if that is more.
    """
    resident = psutil.Process().memory_info().rss
    if "mlx.core" not in sys.modules or not gpu_shares_memory():
        return resident
    import mlx.core as mx

    return max(resident, mx.get_active_memory() + mx.get_cache_memory())


def disk_free(path: Path) -> int:
    """Free bytes for this user where `path` is or would be made."""
    path = path.absolute()
    existing = next(each for each in (path, *path.parents) if each.exists())
    return shutil.disk_usage(existing).free
