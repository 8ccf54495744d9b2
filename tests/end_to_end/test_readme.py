"""The README says what is so: its settings, its commands, and what is installed."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from engine.settings.presets import PRESETS
from engine.settings.settings_page import PAGE, page

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    *(each for top in ("engine", "tui", "tests") for each in sorted((ROOT / top).rglob("*.md"))),
]
SHELL = [text for kind, text in BLOCKS if kind == "sh"]


def test_the_settings_page_is_current_and_linked() -> None:
    written = (ROOT / PAGE).read_text(encoding="utf-8")
    assert page() == written, "run: python -m engine.settings.settings_page"
    assert f"({PAGE.as_posix()})" in README


def test_the_first_command_installs_and_begins() -> None:
    first = SHELL[0].strip()
    assert first.count("\n") == 0
    assert first.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")
    assert first.split(" && ")[-1] == ".venv/bin/lora-studio starter"


def test_a_preset_is_trained_without_a_terminal() -> None:
    [preset] = re.findall(r"`.venv/bin/lora-studio train (\w+)[^`]*`", README)
    assert preset in PRESETS


def test_the_second_command_is_what_ci_runs() -> None:
    second = SHELL[1].strip()
    assert second.endswith(" && .venv/bin/python -m tests.check")
    assert f"\n{second}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("extra", re.findall(r'-e "\.\[(.*?)\]"', README))
def test_the_extras_it_names_are_there(extra: str) -> None:
    known = _project()["project"]["optional-dependencies"]
    assert set(extra.split(",")) <= set(known)


def test_the_commands_it_names_are_there() -> None:
    from typer.main import get_group

    from tui.cli.commands import cli

    commands = {name for name, each in get_group(cli).commands.items() if not each.hidden}
    named = set(re.findall(r"^lora-studio ([a-z]+)", README, re.MULTILINE))
    assert named == {*commands, "starter"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_to_files_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:engine|tui|tests|themes)/[\w./]*)`", text):
        assert (ROOT / target).exists(), target


def test_every_data_file_is_part_of_a_plain_install() -> None:
    setuptools = _project()["tool"]["setuptools"]
    packages, data = setuptools["packages"]["find"]["include"], setuptools["package-data"]
    for top in ("engine", "tui", "themes"):
        assert any(fnmatch(top, pattern) for pattern in packages)
        for file in (ROOT / top).rglob("*"):
            if file.is_dir() or file.suffix in (".py", ".pyc") or "__pycache__" in file.parts:
                continue
            if file == ROOT / top / "README.md":  # for those who read the code
                continue
            assert any(
                file.is_relative_to(folder := ROOT / package.replace(".", "/"))
                and any(file in folder.glob(pattern) for pattern in patterns)
                for package, patterns in data.items()
            ), file


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
