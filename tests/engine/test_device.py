"""What the machine says of itself, and the BLAS under MLX."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.machine import backend as backends
from engine.machine import blas, cgroup, kernels, openblas
from engine.machine import device as hardware
from engine.machine.backend import Backend, backend
from engine.machine.hub import hub_reachable, offline
from engine.machine.memory import disk_free, memory, process_memory

on_linux_cpu = pytest.mark.skipif(
    not sys.platform.startswith("linux") or backend() != "cpu",
    reason="the fast BLAS is for Linux without CUDA",
)


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints: MLX binds its BLAS once a process."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_the_device_states_plausible_facts():
    device = hardware.device()
    assert device.backend in ("metal", "cuda", "cpu")
    assert device.name
    assert 1 <= device.cores <= (os.cpu_count() or 1)
    assert 0 < device.memory_available <= device.memory_total
    assert 0 < process_memory() < device.memory_total


def test_facts_come_without_importing_mlx():
    printed = python(
        "import sys; from engine.machine import blas, device;"
        "blas.load_fast_blas(); device.device();"
        "print(any(name.split('.')[0] == 'mlx' for name in sys.modules))"
    )
    assert printed.strip() == "False"


@on_linux_cpu
def test_a_blas_is_loaded_once_and_speeds_up_mlx():
    code = (
        "from engine.machine import blas, device; first = blas.load_fast_blas();"
        "speed = device.measure_gflops();"
        "assert blas.load_fast_blas() == first; print(first, speed)"
    )

    def faster() -> bool:
        name, speed = python(code, LORA_STUDIO_BLAS="").split()
        if name == "None":
            pytest.skip("no OpenBLAS or MKL on this machine")
        nothing, slow = python(code, LORA_STUDIO_BLAS="none").split()
        assert nothing == "None"
        return float(speed) > 2 * float(slow)

    assert any(faster() for _ in range(5))  # another process may take a core away from either


def test_the_blas_of_numpy_is_named(monkeypatch: pytest.MonkeyPatch):
    assert blas.blas_of_numpy()
    monkeypatch.setattr("threadpoolctl.threadpool_info", list)  # where it finds none, as on a Mac
    assert re.fullmatch(r"[\w.-]+", blas.blas_of_numpy())


@on_linux_cpu
def test_products_repeat_bit_for_bit_with_each_library_at_hand():
    """A resumed run equals an unbroken one only if the same product gives the same bits."""
    code = (
        "from engine.machine import blas; blas.load_fast_blas();"
        "import mlx.core as mx, hashlib;"
        "mx.random.seed(0); a = mx.random.normal((129, 517)); b = mx.random.normal((517, 203));"
        "junk = [mx.zeros((n,)) + 1 for n in range(1, 60)]; mx.eval(junk);"
        "print(*{hashlib.sha256(bytes(memoryview((a + 0) @ (b + 0)))).hexdigest()"
        " for _ in range(20)})"
    )
    packaged = openblas.packaged()
    libraries = ["", *blas._mkl_paths()[:1], *([str(packaged)] if packaged else [])]
    for library in libraries:
        first, second = (python(code, LORA_STUDIO_BLAS=library).split() for _ in range(2))
        assert len(first) == 1
        assert first == second


@on_linux_cpu
def test_an_unusable_library_is_named():
    code = (
        "from engine.machine.blas import load_fast_blas\n"
        "from engine.errors import UserError\n"
        "try: load_fast_blas()\n"
        "except UserError as error: print(error)"
    )
    assert "/no/such/library.so" in python(code, LORA_STUDIO_BLAS="/no/such/library.so")
    libc = "libc.so.6"  # a library, but no BLAS
    assert "no library with cblas_sgemm" in python(code, LORA_STUDIO_BLAS=libc)


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="no cgroups here")
def test_the_limits_of_a_cgroup_are_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 200000\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(cgroup, "folders", lambda controller: [tmp_path])
    assert memory() == (1_000_000, 500_000)
    assert hardware.cores() == 1


def test_disk_space_of_a_folder_yet_to_be_made(tmp_path: Path):
    free = disk_free(tmp_path / "not" / "there" / "yet")
    assert free == pytest.approx(disk_free(tmp_path), rel=0.05)
    assert free > 0


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"HF_HUB_OFFLINE": "yes"}, "HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "false", "TRANSFORMERS_OFFLINE": "1"}, None),
        ({"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "1"}, "TRANSFORMERS_OFFLINE"),
        ({"HF_DATASETS_OFFLINE": "1"}, "HF_DATASETS_OFFLINE"),
    ],
)
def test_what_keeps_the_hub_from_being_asked_is_as_its_library_reads_it(
    variables: dict[str, str], told: str | None, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    assert offline("HF_DATASETS_OFFLINE") == told


def test_the_hub_is_out_of_reach_offline_and_behind_a_dead_address(
    monkeypatch: pytest.MonkeyPatch,
):
    assert hub_reachable() is False  # HF_HUB_OFFLINE is set for every test
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub_reachable(1.0) is False


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_no_address_of_a_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/a b")
    assert hub_reachable(60.0) is False


def test_the_hub_counts_as_reached_even_when_it_refuses(monkeypatch: pytest.MonkeyPatch):
    import http.server
    import threading

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        assert hub_reachable(60.0) is True


def test_the_cpu_backend_computes_in_float32():
    import mlx.core as mx

    hardware.configure_mlx()
    expected = mx.float32 if backend() == "cpu" else None
    assert hardware.compute_dtype() == expected


# -- machines that are not this one, by what their tools print ------------------------------------

GIB = 1 << 30
# `mx.device_info()` of a Mac with 16 GB.
M1 = {
    "resource_limit": 499000,
    "max_buffer_length": 8589934592,
    "architecture": "applegpu_g13g",
    "memory_size": 17179869184,
    "max_recommended_working_set_size": 11453251584,
    "device_name": "Apple M1",
}


class Machine:
    """Another machine: its backend, its tools, and what psutil says of it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._patch = folder, patch
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patch.setattr(cgroup, "folders", lambda controller: [])

    def has(self, backend: Backend, system: str, total: int, available: int) -> None:
        for module in (backends, hardware):
            self._patch.setattr(module, "backend", lambda: backend)
        self._patch.setattr(sys, "platform", system)
        memory = SimpleNamespace(total=total, available=available)
        self._patch.setattr(psutil, "virtual_memory", lambda: memory)

    def prints(self, tool: str, text: str, status: int = 0) -> None:
        """What a tool of the system answers, whatever it is asked."""
        file = self._folder / tool
        file.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        file.chmod(0o755)

    def holds(self, resident: int, arrays: int = 0, cached: int = 0) -> None:
        """What the system says of this process, and MLX of its arrays and its cache."""
        import mlx.core as mx

        info = SimpleNamespace(rss=resident)
        self._patch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: info))
        self._patch.setattr(mx, "get_active_memory", lambda: arrays)
        self._patch.setattr(mx, "get_cache_memory", lambda: cached)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    backends.gpu_shares_memory.cache_clear()
    yield Machine(tmp_path, monkeypatch)
    backends.gpu_shares_memory.cache_clear()


def test_a_mac(machine: Machine) -> None:
    machine.has("metal", "darwin", 16 * GIB, 5541871616)
    machine.prints("sysctl", "Apple M1")
    cores = hardware.cores()
    assert hardware.device() == hardware.Device("metal", "Apple M1", cores, 16 * GIB, 5541871616)


def test_a_mac_whose_tools_are_missing(machine: Machine) -> None:
    machine.has("metal", "darwin", 16 * GIB, 5541871616)
    machine.prints("sysctl", "sysctl: unknown oid 'machdep.cpu.brand_string'", status=1)
    assert hardware.device().name == "Mac"


def test_the_memory_that_a_process_holds_falls_again(machine: Machine) -> None:
    both: list[Backend] = ["metal", "cpu"]
    for each in both:
        machine.has(each, "darwin", 16 * GIB, 8 * GIB)
        backends.gpu_shares_memory.cache_clear()
        machine.holds(12 * GIB)
        assert process_memory() == 12 * GIB
        machine.holds(3 * GIB)
        assert process_memory() == 3 * GIB


def test_arrays_in_shared_memory_count_and_those_of_a_gpu_of_its_own_do_not(
    machine: Machine,
) -> None:
    machine.has("metal", "darwin", 16 * GIB, 8 * GIB)
    machine.holds(GIB, arrays=6 * GIB, cached=2 * GIB)
    assert process_memory() == 8 * GIB
    for printed, held in (
        ("NVIDIA GB10, [N/A], [N/A]", 8 * GIB),
        ("NVIDIA H100 80GB HBM3, 81559, 81079", GIB),
    ):
        machine.has("cuda", "linux", 128 * GIB, 100 * GIB)
        machine.prints("nvidia-smi", printed)
        backends.gpu_shares_memory.cache_clear()
        assert process_memory() == held


@pytest.mark.parametrize(
    ("printed", "name", "total", "available"),
    [
        ("NVIDIA H100 80GB HBM3, 81559, 81079", "NVIDIA H100 80GB HBM3", 81559 << 20, 81079 << 20),
        # Of several, the first.
        (
            "NVIDIA L40S, 46068, 45457\nNVIDIA A10, 23028, 22731",
            "NVIDIA L40S",
            46068 << 20,
            45457 << 20,
        ),
        # One that shares the machine's memory.
        ("NVIDIA GB10, [N/A], [N/A]", "NVIDIA GB10", 119 * GIB, 100 * GIB),
    ],
)
def test_a_machine_with_an_nvidia_gpu(
    machine: Machine, printed: str, name: str, total: int, available: int
) -> None:
    machine.has("cuda", "linux", 119 * GIB, 100 * GIB)
    machine.prints("nvidia-smi", printed)
    device = hardware.device()
    assert (device.backend, device.name) == ("cuda", name)
    assert (device.memory_total, device.memory_available) == (total, available)


@pytest.mark.parametrize(
    ("printed", "status"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch", 18),
        ("No devices were found", 6),
        ("No devices were found", 0),
        ("", 0),
    ],
)
def test_a_driver_that_does_not_answer(machine: Machine, printed: str, status: int) -> None:
    machine.has("cuda", "linux", 64 * GIB, 50 * GIB)
    machine.prints("nvidia-smi", printed, status)
    device = hardware.device()
    assert device.name == hardware._processor_name()
    assert (device.memory_total, device.memory_available) == (64 * GIB, 50 * GIB)


def test_a_system_that_does_not_tell_its_memory(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable() -> None:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", unreadable)
    assert memory() == (0, 0)


def test_limits_of_a_gpu_s_memory(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlx.core as mx

    limits: dict[str, Any] = {}
    for name in ("wired", "cache"):
        monkeypatch.setattr(mx, f"set_{name}_limit", lambda size, n=name: limits.update({n: size}))
    monkeypatch.setattr(mx, "device_info", lambda: M1)
    machine.has("metal", "darwin", 16 * GIB, 8 * GIB)
    hardware.configure_mlx()
    assert limits == {"wired": 11453251584, "cache": 2863312896}
    limits.clear()
    machine.has("cuda", "linux", 64 * GIB, 50 * GIB)
    machine.prints("nvidia-smi", "NVIDIA H100 80GB HBM3, 81559, 81079")
    hardware.configure_mlx()
    assert limits == {"cache": (81559 << 20) // 4}
    limits.clear()
    machine.has("cpu", "linux", 64 * GIB, 50 * GIB)
    hardware.configure_mlx()
    assert limits == {}


def test_compiled_kernels_are_kept_apart_by_version_and_gpu(
    studio_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", "")
    monkeypatch.delenv("MLX_PTX_CACHE_DIR")
    kernels.keep_compiled_kernels()
    assert "MLX_PTX_CACHE_DIR" not in os.environ  # a CPU has none
    monkeypatch.setattr(kernels, "backend", lambda: "cuda")
    monkeypatch.setattr(kernels, "nvidia_gpu", lambda: ("NVIDIA H100 80GB HBM3", None))
    kernels.keep_compiled_kernels()
    kept = Path(os.environ["MLX_PTX_CACHE_DIR"])
    assert kept.parent == studio_home / "kernels"
    assert kept.name == f"mlx-{version('mlx')}-nvidia-h100-80gb-hbm3"
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", "/elsewhere")
    kernels.keep_compiled_kernels()
    assert os.environ["MLX_PTX_CACHE_DIR"] == "/elsewhere"


@pytest.mark.parametrize(
    ("system", "processor", "files", "packages", "wanted"),
    [
        ("darwin", "arm64", False, (), "metal"),
        ("darwin", "x86_64", False, (), "cpu"),
        ("linux", "x86_64", True, ("mlx-cuda-13",), "cuda"),
        ("linux", "aarch64", True, ("mlx-cuda-12",), "cuda"),
        ("linux", "x86_64", True, (), "cpu"),  # a GPU, and MLX without CUDA
        ("linux", "x86_64", False, ("mlx-cuda-13",), "cpu"),  # MLX with CUDA, and no GPU
    ],
)
def test_the_backend(
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    processor: str,
    files: bool,
    packages: tuple[str, ...],
    wanted: str,
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(backends, "_installed", lambda *names: bool(set(names) & set(packages)))
    monkeypatch.setattr(Path, "exists", lambda path: files)
    found = backend.__wrapped__()
    monkeypatch.undo()
    assert found == wanted
