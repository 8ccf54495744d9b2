"""The fast BLAS that MLX computes with on a CPU, and the import of MLX on top of it."""

import ctypes
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.errors import UserError
from engine.machine import open_files, openblas
from engine.machine.backend import backend
from engine.machine.device import cores
from engine.machine.kernels import keep_compiled_kernels
from engine.machine.processor import is_intel

OPENBLAS_NAMES = ("libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0", "libopenblaso.so.0")
MKL_NAME = re.compile(r"libmkl_rt\.so(\.\d+)*$")
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
        _blas = next((Path(each).name for each in _candidates() if _load_globally(each)), None)
    return _blas


def blas_of_numpy() -> str:
    """What numpy multiplies with, and of OpenBLAS the processor that its kernels are made for."""
    import numpy as np
    from threadpoolctl import threadpool_info

    for each in threadpool_info():
        folders = Path(each["filepath"]).parts[-3:-1]
        if each["user_api"] == "blas" and any(name.startswith("numpy") for name in folders):
            version, processor = each["version"], each.get("architecture")
            return f"{each['internal_api']} {version}, for {processor}"
    return np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]


def numpy_multiplies_by_mkl() -> bool:
    """Whether MKL is to compute numpy's products: on an Intel processor, where MKL is the BLAS that
    `load_fast_blas` has loaded or would load.

    On other processors MKL's kernels are slower than those of numpy's own BLAS, and its waiting
    threads get in the way of numpy's.
    """
    name = _blas or os.environ.get("LORA_STUDIO_BLAS") or next(iter(_mkl_paths()), "")
    return is_intel() and MKL_NAME.match(Path(name).name) is not None


def _candidates() -> Iterator[str]:
    """Libraries that may be here, the best first."""
    # MKL packs the weights less for the few rows of a decoding step, and its threads go on where
    # another program takes up a core: OpenBLAS's wait for each other then.
    yield from _mkl_paths()
    if packaged := openblas.packaged():
        yield str(packaged)
    yield from OPENBLAS_NAMES


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
        if _has_cblas(library):
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
            return True
    except OSError:
        pass
    return False


def _has_cblas(library: str) -> bool:
    """Looked at with local symbols: a library without CBLAS must not shadow anything."""
    return hasattr(ctypes.CDLL(library), "cblas_sgemm")


def import_mlx() -> None:
    """Import MLX, computing with the fast BLAS, and mlx-lm.

    Whoever computes calls this before anything imports one of the two.

    Raises:
        UserError: the library that `LORA_STUDIO_BLAS` names cannot be used.
    """
    load_fast_blas()
    keep_compiled_kernels()
    open_files.import_mlx_lm()
