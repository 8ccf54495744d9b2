"""What an installation holds: the program and its data, and not what makes or tests them."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end import program

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "engine", "tui", "themes", "tests")


def builder() -> str | None:
    try:
        return importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, since a build leaves files among the sources."""
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
    return wheel


@pytest.fixture(scope="module")
def packed(wheel: Path) -> set[str]:
    """The names in the wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel in it. What the program needs comes from the
    environment that runs the tests, whose own copy of the program is out of its sight."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    programs = folder / "bin"
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # A folder that a .pth file names is searched, and its own .pth files are not read.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(programs / "python")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
    ]
    done = subprocess.run([*command, "--quiet", str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return programs


def run_installed(installed: Path, folder: Path, *words: str) -> str:
    """What a program prints that is run outside of the repository."""
    variables = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    variables["LORA_STUDIO_HOME"] = str(folder / "home")
    command = [str(installed / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


LOOK = """
import importlib, pathlib, sys
from engine import starter
from tui.guide.topics import topics
from tui.shell import themes
import tui.main
print(pathlib.Path(tui.main.__file__).is_relative_to(sys.prefix), starter.POLICY.is_dir())
print(len(topics()), len(themes.find([themes.BUNDLED]).themes))
"""


def test_it_has_its_themes_guide_and_settings_without_the_repository(
    installed: Path, tmp_path: Path
) -> None:
    inside, counts = run_installed(installed, tmp_path, "python", "-c", LOOK).splitlines()
    assert inside == "True True"
    assert counts.split()[1] == str(len([*(ROOT / "themes").glob("*.yaml")]))
    assert int(counts.split()[0]) > 100
    assert "judge_system:" in run_installed(installed, tmp_path, "lora-studio", "config", "starter")


@pytest.mark.slow
def test_it_trains_the_starter_without_the_repository(installed: Path, tmp_path: Path) -> None:
    words = program.words(**program.SMALL)
    train = ("lora-studio", "train", "starter", "--run-name", "first", *words)
    assert "done: step 6 of 6" in run_installed(installed, tmp_path, *train)
    assert (tmp_path / "home" / "runs" / "first" / "adapters" / "adapters.safetensors").is_file()
    assert "first" in run_installed(installed, tmp_path, "lora-studio", "runs")
