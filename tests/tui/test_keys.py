"""Keys: every one has an id and a description, can be remapped, and says why it does nothing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.pilot import Pilot
from textual.screen import ModalScreen

from tests.tui.live import LiveSession, a_run, attach
from tests.tui.stage import play, said, shown, until
from tui.app import StudioApp
from tui.archive.detail_screen import RunDetailScreen
from tui.archive.try_it_screen import TryItScreen
from tui.bindings import ROOMS, bindings_by_id, classes_with_keys
from tui.guide.topics import find
from tui.judging.screen import JudgeCardScreen
from tui.review.change_label import ChangeLabel
from tui.review.screen import ReviewScreen
from tui.shell import keys
from tui.widgets.key_line import KeyLine

# By tmux, screen or flow control.
TAKEN = {"ctrl+b", "ctrl+a", "ctrl+s", "ctrl+q"}
# Where answers are judged.
JUDGING = (ChangeLabel, JudgeCardScreen, ReviewScreen, RunDetailScreen, TryItScreen)
# A letter that a text names as a key: `L: label 10 to 20 blind`, `u takes it back`, `with E on`.
NAMED = re.compile(
    r"(?<![\w'%+./-])([B-HJ-Zb-z]|a(?=:| shows))(?=:|,? \w+[a-rt-z]s\b| goes\b)"
    r"|\bwith ([A-Za-z]) on\b"
)


def all_bindings() -> list[tuple[type, Binding]]:
    found = []
    for owner in classes_with_keys(StudioApp):
        found += [(owner, each) for each in owner.__dict__.get("BINDINGS", ())]
    return found


def test_every_binding_has_an_id_and_a_description() -> None:
    for owner, binding in all_bindings():
        assert isinstance(binding, Binding), owner
        assert binding.id, (owner, binding)
        assert "." in binding.id
        assert binding.description, (owner, binding)


def test_an_id_means_the_same_wherever_it_is_used() -> None:
    meant: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for owner, binding in all_bindings():
        place = (str(binding.id), owner.__name__)
        meant.setdefault(place, set()).add((binding.key, str(binding.id)))
    for name in {name for name, _ in meant}:
        keys_of = {frozenset(found) for (each, _), found in meant.items() if each == name}
        assert len(keys_of) == 1, (name, keys_of)


def test_no_default_key_is_taken_by_the_terminal() -> None:
    for owner, binding in all_bindings():
        assert not TAKEN & set(binding.key.split(",")), (owner, binding)


def test_no_key_of_the_app_hides_one_of_a_screen() -> None:
    of_app = {
        key for owner, each in all_bindings() if owner is StudioApp for key in each.key.split(",")
    }
    for owner, binding in all_bindings():
        if owner is not StudioApp and not issubclass(owner, ModalScreen):
            assert not of_app & set(binding.key.split(",")), (owner, binding)


def meanings(title: str) -> dict[str, str]:
    """A list of the guide by its title: a letter, and in words all that it does, between commas."""
    topic = find("keys")
    assert topic
    lines = topic.text.partition(f"{title}:\n\n")[2].partition("\n\n")[0].splitlines()
    cells = [line.removeprefix("- ").split(maxsplit=1) for line in lines]
    return {key.strip("`"): f", {re.sub('[:;]', ',', words)}," for key, words in cells}


def test_a_letter_means_the_same_on_every_screen() -> None:
    """All that it does stands in the guide's list behind one idea, in the words of the footers;
    where answers are judged, a few are verdicts instead."""
    everywhere, verdicts = meanings("Everywhere"), meanings("Where answers are judged")
    used: set[tuple[str, bool]] = set()
    for owner, binding in all_bindings():
        for key in filter(lambda key: len(key) == 1 and key.isalpha(), binding.key.split(",")):
            verdict = owner in JUDGING and key in verdicts
            words = (verdicts if verdict else everywhere).get(key, "")
            assert f", {binding.description}," in words, (key, binding.description, owner)
            used.add((key, verdict))
    assert used == {(key, False) for key in everywhere} | {(key, True) for key in verdicts}


def texts_of(file: Path) -> Iterator[str]:
    """The texts in a file of source, but for what documents it."""
    tree = ast.parse(file.read_text())
    nodes = list(ast.walk(tree))
    statements = {each.value for each in nodes if isinstance(each, ast.Expr)}
    for each in nodes:
        if (
            isinstance(each, ast.Constant)
            and isinstance(each.value, str)
            and each not in statements
        ):
            yield each.value


def test_the_keys_that_texts_name_are_there() -> None:
    """In the room where the text stands, or everywhere."""
    named: dict[str, set[str]] = {}
    for room in ROOMS:
        files = Path(keys.__file__).parents[1].joinpath(room).rglob("*.py")
        found = (NAMED.finditer(text) for file in files for text in texts_of(file))
        named[room] = {match[1] or match[2] for matches in found for match in matches}
    assert {"L", "a", "u"} <= named["judging"]
    assert {"E", "P", "Q", "u"} <= named["archive"]
    for room, letters in named.items():
        bound = {
            key
            for owner, each in all_bindings()
            if owner is StudioApp or owner.__module__.startswith(f"tui.{room}.")
            for key in each.key.split(",")
        }
        assert letters <= bound, (room, letters - bound)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("run.stp: x", "did you mean run.stop?"),
        ("run.stop: notakey", "which is no key"),
        ("run.stop: []", "which is no key"),
        ("run.stop: true", "which is no key"),
        ("run.stop: p", "are both on p"),
        ("- a list", "write `id: key` lines"),
        ("run.stop: [", "line"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / keys.FILE).write_text(text)
    keymap = keys.load(tmp_path, lambda: bindings_by_id(StudioApp))
    assert len(keymap.problems) == 1
    assert words in keymap.problems[0]
    assert str(tmp_path) in keymap.problems[0]


def test_keys_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / keys.FILE).write_text("run.stop: [X, ctrl+t, '?', f7]\nrun.log: page_up\n")
    keymap = keys.load(tmp_path, lambda: bindings_by_id(StudioApp))
    assert keymap.keys["run.stop"] == "X,ctrl+t,question_mark,f7"
    assert len(keymap.problems) == 1  # page_up is written pageup


def test_remapped_keys_work_and_are_shown(studio_home: Path) -> None:
    (studio_home / keys.FILE).write_text("run.pause: z\napp.run: ctrl+t\nrun.nothing: x\n")

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        session = LiveSession(a_run())
        attach(app, session)
        await until(pilot, lambda: "no key is called 'run.nothing'" in said(app))
        await pilot.press("ctrl+t")
        assert app.current_mode == "run"
        await until(pilot, lambda: "z pause" in shown(app))
        await pilot.press("p")
        assert session.asked == []
        await pilot.press("z")
        app.screen.query_one(KeyLine).clear()  # the message gives way to the keys
        await until(pilot, lambda: "z go on" in shown(app))
        await pilot.press("z")
        assert session.asked == ["pause", "unpause"]

    play(scene)


def test_a_key_that_does_nothing_says_why() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f3", "s")
        assert "no run is going" in said(app)
        await pilot.press("Z")
        assert said(app) == "Z does nothing here · ? shows all keys"
        await pilot.press("f12")
        assert "f12 does nothing here" in said(app)

    play(scene)


def test_the_list_of_keys_has_every_one_with_its_id_and_reason() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f3", "question_mark")
        await pilot.pause()
        text = shown(app)
        for words in ("keys of run", "stop: no run is going", "chart of the card", "run.log"):
            assert words in text
        await pilot.press("j", "k", "escape")
        assert "keys of run" not in shown(app)

    play(scene, size=(100, 60))
