"""The machine: its device, memory and disk, and the fast BLAS that MLX computes with on a CPU.

Nothing here imports MLX at import time, so that a screen may ask for facts cheaply.
"""

import ctypes
import importlib.metadata
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from engine.errors import UserError
from engine.machine import open_files

if TYPE_CHECKING:
    import mlx.core as mx

Backend = Literal["metal", "cuda", "cpu"]

OPENBLAS_NAMES = ("libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0", "libopenblaso.so.0")
OLD_CGROUP_MEMORY = ("memory.limit_in_bytes", "memory.usage_in_bytes")
MKL_NAME = re.compile(r"libmkl_rt\.so(\.\d+)*$")


@dataclass(frozen=True, slots=True)
class Device:
    """What a run computes on. Memory is in bytes: the GPU's own with CUDA, else the machine's."""

    backend: Backend
    name: str
    cores: int
    memory_total: int
    memory_available: int


# -- the BLAS ------------------------------------------------------------------------------------

_blas: str | None = None


def load_fast_blas() -> str | None:
    """Make MLX's CPU backend on Linux use an optimised BLAS; return the file name of the library.

    The Linux wheel of MLX links a reference BLAS some 30 times slower. A library that is loaded
    with global symbols before the first `import mlx.core` takes its place. Call this first; a
    later call returns the first one's answer. None: nothing to do here (macOS, CUDA), nothing
    found, or MLX was already imported.

    `LORA_STUDIO_BLAS` overrides the search: the path of a library, or `none`.

    Raises:
        UserError: the library that `LORA_STUDIO_BLAS` names cannot be used.
    """
    global _blas
    if _blas or not sys.platform.startswith("linux") or "mlx.core" in sys.modules:
        return _blas
    chosen = os.environ.get("LORA_STUDIO_BLAS", "")
    if chosen == "none" or (not chosen and backend() == "cuda"):
        return None
    _settle_threads()
    keep_freed_memory()
    if chosen:
        if not _load_globally(chosen):
            raise UserError(
                f"LORA_STUDIO_BLAS names {chosen}, which is no library with cblas_sgemm: "
                "give the path of an OpenBLAS or libmkl_rt, or `none`"
            )
        _blas = Path(chosen).name
    else:
        # MKL first: it packs the weights less for the few rows of a decoding step.
        candidates = (*_mkl_paths(), *OPENBLAS_NAMES)
        _blas = next((Path(each).name for each in candidates if _load_globally(each)), None)
    return _blas


def _settle_threads() -> None:
    """Keep threads to the cores this process may use, and sums in the same order every time."""
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(cores()))
        os.environ.setdefault("MKL_NUM_THREADS", str(cores()))
    os.environ.setdefault("MKL_DYNAMIC", "FALSE")
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


def keep_freed_memory() -> None:
    """Let malloc keep what MLX frees, which is what it asks for again in the next layer.

    Giving pages back and faulting them in again costs up to a fifth of a step. One arena (-8)
    for all threads, up to 512 MB kept at the top (-1), blocks under 32 MB from the heap (-3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl has not
    if sys.platform.startswith("linux") and mallopt is not None:
        for parameter, value in ((-8, 1), (-1, 1 << 29), (-3, 1 << 25)):
            mallopt(parameter, value)


def _mkl_paths() -> list[str]:
    """Where the `mkl` package, or an environment with MKL in its lib folder, keeps libmkl_rt."""
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    packaged = [str(file.locate()) for file in files if MKL_NAME.match(file.name)]
    beside = sorted(str(path) for path in Path(sys.prefix, "lib").glob("libmkl_rt.so*"))
    return packaged + beside


def _load_globally(library: str) -> bool:
    try:
        # Looked at with local symbols first: a library without CBLAS must not shadow anything.
        if not hasattr(ctypes.CDLL(library), "cblas_sgemm"):
            return False
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


# -- the device ----------------------------------------------------------------------------------


@cache
def backend() -> Backend:
    """The backend that MLX will use by default, told without importing it."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "metal"
    if Path("/dev/nvidiactl").exists() and _installed("mlx-cuda", "mlx-cuda-12", "mlx-cuda-13"):
        return "cuda"
    return "cpu"


def device() -> Device:
    """The facts of the device, read anew at every call."""
    name, own_memory = _nvidia() if backend() == "cuda" else (None, None)
    total, available = own_memory or memory()
    return Device(backend(), name or _processor_name(), cores(), total, available)


def memory() -> tuple[int, int]:
    """Total and available memory of the machine in bytes, no more than the cgroup grants.

    (0, 0) where the system does not say.
    """
    try:
        machine = psutil.virtual_memory()
    except (OSError, psutil.Error):
        return 0, 0
    total, available = machine.total, machine.available
    for limit, used in _cgroup_memory():
        total, available = min(total, limit), min(available, max(limit - used, 0))
    return total, available


def process_memory() -> int:
    """Bytes of the machine's memory that this process holds now.

    That is its resident memory; a run's children hold nothing worth counting. Where the GPU works
    in the same memory, the system does not count all of that as resident: there, what MLX says
    that it holds, its cache included, if that is more.
    """
    resident = psutil.Process().memory_info().rss
    if "mlx.core" not in sys.modules or not _gpu_shares_memory():
        return resident
    import mlx.core as mx

    return max(resident, mx.get_active_memory() + mx.get_cache_memory())


def cores() -> int:
    """Cores that this process may use: its affinity, capped by the cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for folder in _cgroup_folders("cpu"):
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
    return count


def _installed(*distributions: str) -> bool:
    for name in distributions:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return True
    return False


def _processor_name() -> str:
    if sys.platform == "darwin":
        return _output_of("sysctl", "-n", "machdep.cpu.brand_string") or "Mac"
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found.group(1).strip() if found else platform.machine()


@cache
def _gpu_shares_memory() -> bool:
    """Whether models lie in the machine's memory for a GPU, as on a Mac and on some of NVIDIA's."""
    if backend() == "cuda":
        name, own_memory = _nvidia()
        return name is not None and own_memory is None
    return backend() == "metal"


def _nvidia() -> tuple[str | None, tuple[int, int] | None]:
    """Name, and total and free bytes, of the first GPU, from the driver's own tool.

    Without bytes where the GPU has no memory of its own, but shares the machine's.
    """
    query = "--query-gpu=name,memory.total,memory.free"
    line = _output_of("nvidia-smi", query, "--format=csv,noheader,nounits").partition("\n")[0]
    name, *sizes = (part.strip() for part in line.rsplit(",", 2))
    if len(sizes) != 2:
        return None, None
    try:
        total, free = (int(size) << 20 for size in sizes)
    except ValueError:  # "[N/A]"
        return name, None
    return name, (total, free)


def _cgroup_memory() -> list[tuple[int, int]]:
    """(limit, use) in bytes of each limited cgroup above this process; file cache is no use."""
    found = []
    for folder in _cgroup_folders("memory"):
        new = (folder / "memory.max").exists()
        names = ("memory.max", "memory.current") if new else OLD_CGROUP_MEMORY
        try:
            limit, used = ((folder / name).read_text().strip() for name in names)
            stat = (folder / "memory.stat").read_text()
            if limit == "max":
                continue
            key = "inactive_file" if new else "total_inactive_file"
            cached = re.search(rf"^{key} (\d+)$", stat, re.M)
            idle = int(cached.group(1)) if cached else 0
            found.append((int(limit), max(int(used) - idle, 0)))
        except (OSError, ValueError):
            continue
    return found


def _cgroup_folders(controller: str) -> list[Path]:
    """The cgroups of this process for a controller, innermost first; versions 1 and 2."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup", controller if controllers else "")
        inside = root / path.lstrip("/")
        folders += [each for each in (inside, *inside.parents) if each.is_relative_to(root)]
    return folders


def _output_of(*command: str) -> str:
    """What a system tool prints; empty when it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


# -- MLX -----------------------------------------------------------------------------------------


def import_mlx() -> None:
    """Import MLX, computing with the fast BLAS, and mlx-lm.

    Whoever computes calls this before anything imports one of the two.

    Raises:
        UserError: the library that `LORA_STUDIO_BLAS` names cannot be used.
    """
    load_fast_blas()
    open_files.import_mlx_lm()


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


# -- the world around ----------------------------------------------------------------------------


def disk_free(path: Path) -> int:
    """Free bytes for this user where `path` is or would be made."""
    path = path.absolute()
    existing = next(each for each in (path, *path.parents) if each.exists())
    return shutil.disk_usage(existing).free


def hub_reachable(timeout: float = 3.0) -> bool:
    """Whether the model hub answers within `timeout` seconds; False at once in offline mode."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answered = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=timeout):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()  # it refused, so it is there
        except (OSError, ValueError):
            pass

    # On a thread of its own, since looking up a name may hang for longer than any timeout.
    asking = threading.Thread(target=ask, name="hub-reachable", daemon=True)
    asking.start()
    asking.join(timeout)
    return answered.is_set()
