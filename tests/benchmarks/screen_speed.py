"""How fast the screens are, through the real program on a pseudo-terminal.

    python -m tests.benchmarks.screen_speed [--json] [--rounds N]

| measured | goal |
|---|---|
| first frame, against a Textual app with one label, in turn | at most 1.5 times |
| key to painted answer while the starter trains, everything on screen | 50 ms (p99) |
| verdict to the next pair, where one is waiting | 100 ms (worst) |
| the list of 1,000 runs, from its key | 0.5 s |
| a chart of 100,000 points, from its key | 0.5 s |

A time ends when the last byte that the terminal needs has arrived; drawing it is the terminal's.
"""

import argparse
import contextlib
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio
from tests.signals import leave_when_told_to_end, let_programs_take_signals
from tests.tui.archive import make_run

F5 = "\x1b[15~"
LARGE = {"columns": 200, "rows": 50}
LABEL = [sys.executable, "-m", "tests.benchmarks.one_label"]
# A key of the run screen, and what it brings there.
KEYS: list[tuple[str, Callable[[str], object]]] = [
    ("x", lambda text: "does nothing" in text),
    ("?", lambda text: "run.pause" in text),
    ("?", lambda text: "run.pause" not in text),
]
BY_HAND = {
    "judge": "human",
    "batch_size": 4,
    "iters": 40,
    "self_check_every": 0,
    "max_completion_length": 64,
    "lookahead": 8,
}


def first_frame(rounds: int) -> dict[str, float]:
    """Seconds from the start of a process to the first text on its screen."""

    def seconds(open_terminal: Callable[[], PseudoTerminal]) -> float:
        with open_terminal() as terminal:
            return terminal.seen_at(lambda text: text.strip()) - terminal.started

    label: list[float] = []
    ours: list[float] = []
    for _ in range(rounds + 1):  # the first of each warms the disk's cache
        with tempfile.TemporaryDirectory() as home:
            label.append(seconds(lambda: PseudoTerminal(LABEL)))
            ours.append(seconds(lambda home=home: studio(Path(home))))
    one, all_ = statistics.median(label[1:]), statistics.median(ours[1:])
    return {"one_label_seconds": one, "studio_seconds": all_, "ratio": all_ / one}


def key_to_paint(presses: int) -> dict[str, float]:
    """Milliseconds from a key on the run screen to its effect there, while the starter trains."""
    with tempfile.TemporaryDirectory() as home:
        config = write_config(Path(home), iters=100_000, steps_per_eval=-1, save_every=10_000)
        with studio(Path(home), str(config), **LARGE) as terminal:
            begin(terminal)
            terminal.wait_for("step 3 ", 120)
            times = []
            for number in range(presses):
                key, holds = KEYS[number % len(KEYS)]
                if holds(terminal.text):  # an earlier message is still there
                    terminal.wait_for(lambda text, holds=holds: not holds(text))
                times.append(answer_ms(terminal, key, holds))
    return summary(times)


def verdict_to_pair(presses: int) -> dict[str, float]:
    """Milliseconds from a verdict to the next pair on the screen, where one is waiting."""
    with tempfile.TemporaryDirectory() as home:
        config = write_config(Path(home), **BY_HAND)
        with studio(Path(home), str(config), **LARGE) as terminal:
            begin(terminal)
            terminal.wait_for(lambda text: number_of_pair(text) is not None, 120)
            times = []
            while len(times) < presses:
                terminal.wait_for(lambda text: re.search(r"[1-9]\d* more waits?", text))
                time.sleep(0.3)
                before = number_of_pair(terminal.text)
                assert before

                def is_next(text: str, number: int = before + 1) -> bool:
                    return number_of_pair(text) == number and " tokens" in text

                times.append(answer_ms(terminal, "1", is_next))
    return summary(times)


def thousand_runs() -> dict[str, float]:
    """Milliseconds from the key of the runs screen to its list."""
    with tempfile.TemporaryDirectory() as home, homed(home):
        for number in range(1_000):
            make_run(f"run-{number:04}", steps=30, pairs=0)
        with studio(Path(home), **LARGE) as terminal:
            terminal.wait_for("start")
            time.sleep(1)
            first = answer_ms(terminal, F5, lambda text: text.count("run-0") >= 30)
            return {"first_ms": first}


def long_chart(points: int = 100_000) -> dict[str, float]:
    """Milliseconds from the key of a chart to the chart, of a saved run with many points."""
    with tempfile.TemporaryDirectory() as home, homed(home):
        make_run("long", steps=points, pairs=0)
        with studio(Path(home), **LARGE) as terminal:
            terminal.wait_for("start")
            terminal.press(F5)
            terminal.wait_for("1 run")
            time.sleep(1)
            detail = answer_ms(terminal, "\r", lambda text: "412 tok/s" in text)
            time.sleep(1)
            chart = answer_ms(terminal, "\r", lambda text: "⣿" in text)
            return {"run_detail_ms": detail, "chart_ms": chart}


def number_of_pair(text: str) -> int | None:
    """The place in the run of the pair on the screen, if there is one."""
    found = re.search(r" (\d+) of [\d,]+ [━╸─]", text)
    return int(found[1]) if found else None


# -- how it is measured ----------------------------------------------------------------------------


def answer_ms(terminal: PseudoTerminal, key: str, holds: Callable[[str], object]) -> float:
    """Milliseconds from a key to the screen that holds."""
    terminal.text  # noqa: B018 - draws what came before
    pressed = time.perf_counter()
    terminal.press(key)
    return (terminal.seen_at(holds, quietly=0.15) - pressed) * 1000


def begin(terminal: PseudoTerminal) -> None:
    """Start the run that the form holds."""
    terminal.wait_for("▶ start")
    time.sleep(0.5)
    terminal.press("s")
    terminal.wait_for(lambda text: "▶ start" not in text)


def write_config(home: Path, **values: Any) -> Path:
    """The starter with some settings of its own. It stops with its terminal, so that it does not
    outlive a benchmark that was killed."""
    from engine.settings.files import preset, to_yaml

    file = home / "speed.yaml"
    changes = {"fuse": False, "on_hangup": "stop", **values}
    file.write_text(to_yaml(preset("starter").model_copy(update=changes)))
    return file


def summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]
    return {
        "presses": len(times),
        "median_ms": statistics.median(times),
        "p99_ms": p99,
        "worst_ms": ordered[-1],
    }


@contextlib.contextmanager
def homed(home: str) -> Iterator[None]:
    """Let this process write runs where the program will look for them."""
    before = os.environ.get("LORA_STUDIO_HOME")
    os.environ["LORA_STUDIO_HOME"] = home
    try:
        yield
    finally:
        if before is None:
            del os.environ["LORA_STUDIO_HOME"]
        else:
            os.environ["LORA_STUDIO_HOME"] = before


def main() -> int:
    """Measure everything; the exit status says whether every goal is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=7, help="starts of each program")
    parser.add_argument("--presses", type=int, default=100, help="keys while training")
    parser.add_argument(
        "--only", choices=list(MEASURES), action="append", help="leave out the rest"
    )
    options = parser.parse_args()
    let_programs_take_signals()
    leave_when_told_to_end()
    found = {name: MEASURES[name](options) for name in options.only or MEASURES}
    missed = [row for row in GOALS if row[0] in found and found[row[0]][row[1]] > row[2]]
    if options.json:
        print(json.dumps({"measured": found, "missed": [".".join(row[:2]) for row in missed]}))
        return bool(missed)
    for name, key, goal in GOALS:
        if name in found:
            value = found[name][key]
            print(f"{name:<16} {key:<10} {value:>9.2f}  goal {goal:g}{'  MISSED' * (value > goal)}")
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in values.items()))
    return bool(missed)


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "first_frame": lambda options: first_frame(options.rounds),
    "key_to_paint": lambda options: key_to_paint(options.presses),
    "verdict_to_pair": lambda options: verdict_to_pair(30),
    "thousand_runs": lambda options: thousand_runs(),
    "long_chart": lambda options: long_chart(),
}
GOALS = [
    ("first_frame", "ratio", 1.5),
    ("key_to_paint", "p99_ms", 50),
    ("verdict_to_pair", "worst_ms", 100),
    ("thousand_runs", "first_ms", 500),
    ("long_chart", "chart_ms", 500),
]

if __name__ == "__main__":
    sys.exit(main())
