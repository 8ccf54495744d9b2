"""What an installation holds: the program and its data, and not what makes or tests them."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "engine", "tui", "themes", "tests")


def builder() -> str | None:
    try:
        return importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return None


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the wheel, built from a copy, since a build leaves files among the sources."""
    version = builder()
    if version is None or int(version.partition(".")[0]) < 77:
        pytest.skip("setuptools 77 is not installed here, and is not fetched")
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source, copy = ROOT / name, folder / "source" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, copy)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *offline, "-w", str(folder), "."]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_holds_every_module_and_file_of_data(packed: set[str]) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for pattern in (
            "engine/**/*.py",
            "tui/**/*.py",
            "engine/starter/data/**/*",
            "themes/*.yaml",
            "tui/*.tcss",
            "tui/guide/*.md",
        )
        for path in ROOT.glob(pattern)
        if path.is_file() and "engine/starter/build/" not in path.as_posix()
    }
    assert wanted <= packed
    assert {"engine/starter/data/judge/model.safetensors", "tui/guide/guide.md"} <= packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_it_holds_neither_tests_nor_what_makes_the_starter(packed: set[str]) -> None:
    others = [name for name in packed if name.startswith(("tests/", "engine/starter/build/"))]
    assert others == []
    folders = {name.partition("/")[0] for name in packed if ".dist-info/" not in name}
    assert folders == {"engine", "tui", "themes"}
