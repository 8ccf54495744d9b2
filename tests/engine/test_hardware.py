"""What the machine says of itself, and the BLAS under MLX."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import hardware

on_linux_cpu = pytest.mark.skipif(
    not sys.platform.startswith("linux") or hardware.backend() != "cpu",
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
    assert 0 < hardware.process_memory() < device.memory_total


def test_facts_come_without_importing_mlx():
    printed = python(
        "import sys; from engine import hardware as h; h.load_fast_blas(); h.device();"
        "print(any(name.split('.')[0] == 'mlx' for name in sys.modules))"
    )
    assert printed.strip() == "False"


@on_linux_cpu
def test_a_blas_is_loaded_once_and_speeds_up_mlx():
    code = (
        "from engine import hardware as h; first = h.load_fast_blas(); speed = h.measure_gflops();"
        "assert h.load_fast_blas() == first; print(first, speed)"
    )
    name, speed = python(code, LORA_STUDIO_BLAS="").split()
    if name == "None":
        pytest.skip("no OpenBLAS or MKL on this machine")
    nothing, slow = python(code, LORA_STUDIO_BLAS="none").split()
    assert nothing == "None"
    assert float(speed) > 2 * float(slow)


@on_linux_cpu
def test_products_repeat_bit_for_bit_with_each_library_at_hand():
    """A resumed run equals an unbroken one only if the same product gives the same bits."""
    code = (
        "from engine import hardware as h; h.load_fast_blas(); import mlx.core as mx, hashlib;"
        "mx.random.seed(0); a = mx.random.normal((129, 517)); b = mx.random.normal((517, 203));"
        "junk = [mx.zeros((n,)) + 1 for n in range(1, 60)]; mx.eval(junk);"
        "print(*{hashlib.sha256(bytes(memoryview((a + 0) @ (b + 0)))).hexdigest()"
        " for _ in range(20)})"
    )
    libraries = ["", *hardware._mkl_paths()[:1]]
    for library in libraries:
        first, second = (python(code, LORA_STUDIO_BLAS=library).split() for _ in range(2))
        assert len(first) == 1
        assert first == second


@on_linux_cpu
def test_an_unusable_library_is_named():
    code = (
        "from engine.hardware import load_fast_blas\n"
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
    monkeypatch.setattr(hardware, "_cgroup_folders", lambda controller: [tmp_path])
    assert hardware.memory() == (1_000_000, 500_000)
    assert hardware.cores() == 1


def test_disk_space_of_a_folder_yet_to_be_made(tmp_path: Path):
    free = hardware.disk_free(tmp_path / "not" / "there" / "yet")
    assert free == pytest.approx(hardware.disk_free(tmp_path), rel=0.05)
    assert free > 0


def test_the_hub_is_out_of_reach_offline_and_behind_a_dead_address(
    monkeypatch: pytest.MonkeyPatch,
):
    assert hardware.hub_reachable() is False  # HF_HUB_OFFLINE is set for every test
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hardware.hub_reachable(1.0) is False


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
        assert hardware.hub_reachable(5.0) is True


def test_the_cpu_backend_computes_in_float32():
    import mlx.core as mx

    hardware.configure_mlx()
    expected = mx.float32 if hardware.backend() == "cpu" else None
    assert hardware.compute_dtype() == expected
