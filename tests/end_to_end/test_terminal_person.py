"""A script plays the person at the keyboard, through the real program on a pseudo-terminal."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.runs import archive
from engine.runs.folder import PAIRS, UNDECIDED
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio
from tests.end_to_end.review_screen import Shown, joined, read

F3, F4 = "\x1bOR", "\x1bOS"
STILL = 4  # looks at the screen that have to be alike
ENDED = "no pair waits any more"
CONFIG = """\
model: starter
data: starter
judge: human
quantization: none
num_layers: -1
run_name: by-hand
batch_size: 2
iters: 4
max_seq_length: 256
max_completion_length: 24
steps_per_report: 1
save_every: 1
undo_seconds: 5
self_check_every: 0
grad_checkpoint: false
fuse: false
"""


@dataclass
class Person:
    """Presses keys, and remembers what each of them meant."""

    terminal: PseudoTerminal
    meant: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)

    def next(self, *, after: Shown | None = None) -> Shown | None:
        """The next pair, or None once the run has ended."""

        def new(text: str) -> bool:
            shown = read(text.split("\n"))
            return ENDED in text or (shown is not None and shown != after)

        self.terminal.wait_for(new)
        return self.settled()

    def look(self, *, after: Shown | None = None) -> Shown:
        """The next pair, of which there is one."""
        shown = self.next(after=after)
        assert shown
        return shown

    def settled(self) -> Shown | None:
        """What the screen shows once all its parts are drawn, which come in some frames."""
        looks: list[Shown | None] = []
        while len(looks) < STILL or any(each != looks[-1] for each in looks[-STILL:]):
            time.sleep(0.15)
            looks.append(read(self.terminal.lines))
        return looks[-1]

    def give(self, key: str, shown: Shown) -> Shown | None:
        """Label the pair; gives the next."""
        pair = (shown.prompt, *sorted((shown.left, shown.right)))
        chosen = {"1": shown.left, "2": shown.right}.get(key, "")
        choice = {"t": "tie", "b": "both_bad", "s": "skip"}.get(key, "decided")
        self.meant[pair] = (choice, chosen)
        self.terminal.press(key)
        return self.next(after=shown)


def stored(home: Path, name: str) -> dict[tuple[str, ...], tuple[str, str]]:
    """What the run's files say of each pair, in the form of `Person.meant`."""
    run = archive.open_run(home / "runs" / name)
    labels = {}
    for line in run.read(PAIRS):
        pair = (line["prompt"], *sorted((joined([line["chosen"]]), joined([line["rejected"]]))))
        labels[pair] = ("decided", joined([line["chosen"]]))
    for line in run.read(UNDECIDED):
        pair = (line["prompt"], *sorted((joined([line["first"]]), joined([line["second"]]))))
        if line["choice"] in ("tie", "both_bad", "skip"):
            labels[pair] = (line["choice"], "")
    return labels


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "by-hand.yaml"
    file.write_text(CONFIG)
    return file


def test_labels_are_exactly_what_the_person_pressed(config: Path, studio_home: Path) -> None:
    """With undo, a look at another screen, and a stop and a resume in another process."""
    with studio(studio_home, str(config), columns=100, rows=30) as terminal:
        start(terminal)
        person = Person(terminal)
        wrong = person.give("1", person.look())
        assert wrong
        shown = person.give("2", wrong)
        terminal.press("u")
        shown = person.look(after=shown)
        assert shown == wrong
        shown = person.give("t", wrong)
        terminal.press(F3)
        terminal.wait_for("newest pair")
        terminal.press(F4)
        assert person.look() == shown
        terminal.press(F3)
        terminal.wait_for("newest pair")
        terminal.press("s")
        terminal.wait_for("stop this run?")
        terminal.press("\r")
        terminal.wait_for("stopped")
        terminal.press("q")
        assert terminal.wait() == 0
    assert stored(studio_home, "by-hand") == person.meant

    with studio(studio_home, columns=100, rows=30) as terminal:
        resume(terminal)
        again = Person(terminal, person.meant)
        shown = again.next()
        for key in "12bs21121212":
            if shown is None:
                break
            assert (shown.prompt, *sorted((shown.left, shown.right))) not in again.meant
            shown = again.give(key, shown)
        assert shown is None
        terminal.press("q")
        assert terminal.wait() == 0
    labels = stored(studio_home, "by-hand")
    assert labels == again.meant
    assert len(labels) == 8
    metrics = list(archive.open_run(studio_home / "runs" / "by-hand").read("metrics.jsonl"))
    assert [line["step"] for line in metrics if "loss" in line] == [1, 2, 3, 4]


def start(terminal: PseudoTerminal) -> None:
    """From the form to the first pair."""
    terminal.wait_for("▶ start")
    terminal.press("s")
    terminal.wait_for("by-hand")
    terminal.press(F4)


def resume(terminal: PseudoTerminal) -> None:
    """From the list of runs to the next pair."""
    terminal.wait_for("▶ start")
    terminal.press("\x1b[15~")  # F5
    terminal.wait_for("1 run ")
    terminal.press("r")
    terminal.wait_for("lora · ")
    terminal.press(F4)
