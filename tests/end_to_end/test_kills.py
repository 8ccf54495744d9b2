"""The real program killed at random instants loses nothing that it has acknowledged.

pytest -s -m slow tests/end_to_end/test_kills.py      hundreds of kills, and how many there were
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.data.pairs import prompt_id
from engine.runs import archive, json_lines
from engine.runs.folder import LOG, METRICS, PAIRS, UNDECIDED, Run
from tests.end_to_end.program import SMALL, records, run, start, words, written

VALUES = SMALL | {"iters": 10, "batch_size": 2, "save_every": 3, "eval_prompts": 4}
BY_HAND = {
    **VALUES,
    "model": "starter",
    "data": "starter",
    "judge": "human",
    "run_name": "by-hand",
    "quantization": "none",
    "num_layers": -1,
    "max_seq_length": 256,
    "undo_seconds": 0.02,
    "self_check_every": 0,
}
HYBRID = {
    **BY_HAND,
    "judge": "hybrid",
    "hybrid_model": "starter",
    "hybrid_margin": 0.3,
    "audit_rate": 0.3,
    "lookahead": 3,
    "judge_watch": "off",
}
BRIEF = {**BY_HAND, "iters": 4}
MANY = {**BY_HAND, "completions": 4, "pairs_per_pick": "all"}
EARLY = 0.2  # share of the kills that come while a run is being loaded
INSTANT = 0.05  # seconds within which a kill comes after a line
TORN = 0.3  # share after which a file is torn too, as a power cut may tear what was not synced


@dataclass
class Killer:
    """Kills processes at random instants, and counts."""

    chance: random.Random
    loading: float  # seconds that a run takes to load
    lines: int  # that a run says of a few steps
    kills: int = 0
    torn: int = 0
    trials: int = 0
    told: list[str] = field(default_factory=list)  # what the last process said

    def strike(self, process: subprocess.Popen[str], begun: str) -> bool:
        """Kill a process; `begun` is in the line that it says first of its training. False if it
        had ended by itself."""
        assert process.stdout
        assert process.stderr
        self.told = []
        early = self.chance.random() < EARLY
        if not early:
            for line in process.stdout:
                self.told.append(line)
                if begun in line:
                    break
            self.told += itertools.islice(process.stdout, self.chance.randrange(self.lines))
        time.sleep(self.chance.uniform(0, self.loading if early else INSTANT))
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        self.told += process.stdout.readlines()
        said = process.stderr.read()
        assert alive or process.wait() == 0, said
        process.stdout.close()
        process.stderr.close()
        process.wait()
        self.kills += alive
        return alive

    def maybe_tear(self, folder: Path, files: tuple[str, ...]) -> str | None:
        """Leave a file with an unfinished last line, as a kill in the middle of a write would;
        the name of the file."""
        there = [file for file in files if (folder / file).exists()]
        if not there or self.chance.random() > TORN:
            return None
        file = self.chance.choice(there)
        with (folder / file).open("ab") as end:
            line = json_lines.to_line({"step": 99, "pair_id": "torn", "prompt": "é" * 50})
            end.write(line[: self.chance.randrange(1, len(line) - 2)])
        self.torn += 1
        return file

    def __str__(self) -> str:
        return f"{self.kills} kills and {self.torn} torn files in {self.trials} runs"


def whole(run: Run) -> None:
    """A run that was just killed is a row of the archive, and its files hold what they should."""
    if not run.path.exists():
        return
    [row] = [each for each in archive.list_runs(run.path.parent) if each.path == run.path]
    assert row.status in ("paused", "interrupted", "finished"), row
    labels = [line["pair_id"] for file in (PAIRS, UNDECIDED) for line in run.read(file)]
    assert len(labels) == len(set(labels))
    for file in (METRICS, PAIRS, UNDECIDED):
        content = (run.path / file).read_bytes() if (run.path / file).exists() else b""
        lines = content.splitlines()[: content.count(b"\n")]
        assert all(json_lines.from_line(line) for line in lines), file
    assert all(run.checkpoints()) or run.latest_checkpoint()


def reported(run: Run, torn: str) -> bool:
    """Whether the log tells of the repair of a file; the log is cut for the next time."""
    log = run.path / LOG
    told = f"{torn} ended in an unfinished line" in log.read_text()
    log.unlink()
    return told


# -- an LLM judges -------------------------------------------------------------------------------


def check_train(home: Path, kills: int, seed: int) -> Killer:
    """`lora-studio train` and `resume`, killed until `kills` are reached and a run is done."""
    arguments = [*words(**VALUES), "--json"]
    began = time.monotonic()
    done = run("train", "starter", *arguments, "--run-name", "unbroken", home=home)
    assert done.returncode == 0, done.stderr
    wanted = written(home / "runs" / "unbroken")
    assert len(wanted["pairs.jsonl"]) > 5
    took = time.monotonic() - began
    said = records(done.stdout)
    steps = [at for at, each in enumerate(said) if each["event"] == "step"]
    training = said[steps[-1]]["time"] - said[steps[0]]["time"]
    killer = Killer(random.Random(seed), took - training, (steps[-1] - steps[0]) // 2)
    while killer.kills < kills:
        killer.trials += 1
        broken = Run(home / "runs" / f"broken-{killer.trials}")
        until_done(killer, broken, arguments, home)
        assert written(broken.path) == wanted, f"after {killer}"
    return killer


def until_done(killer: Killer, broken: Run, arguments: list[str], home: Path) -> None:
    """Start a run, and resume it after each kill, until it is finished."""
    command = ["train", "starter", *arguments, "--run-name", broken.name]
    torn: str | None = None
    while killer.strike(start(*command, home=home), '"step"'):
        whole(broken)
        if torn and '"started"' in "".join(killer.told):
            assert reported(broken, torn)
            torn = None
        if not broken.path.exists():
            continue
        command = ["resume", broken.name, "--json"]
        if broken.state()["status"] == "finished":  # killed after its last word
            return
        torn = torn or killer.maybe_tear(broken.path, (METRICS, PAIRS, UNDECIDED))


@pytest.mark.slow  # test_every_write kills one run at chosen changes in less time
def test_training_killed_a_few_times_writes_what_an_unbroken_run_writes(tmp_path: Path) -> None:
    check_train(tmp_path, kills=2, seed=1)


@pytest.mark.slow
def test_training_killed_often_writes_what_an_unbroken_run_writes(tmp_path: Path) -> None:
    print(check_train(tmp_path, kills=200, seed=int(os.environ.get("SEED", "2"))))


# -- a person judges -----------------------------------------------------------------------------


@dataclass
class Ledger:
    """What a person was told is stored, and what was under way when the process was killed."""

    meant: dict[str, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)  # that a press gives
    stored: set[str] = field(default_factory=set)
    doubtful: str | None = None
    acknowledged: int = 0

    def note(self, told: list[str]) -> None:
        """Take in what a process said before it was killed."""
        for line in told:
            if not line.endswith("\n"):
                break  # the kill came in the middle of it
            facts = json.loads(line)
            if "giving" in facts:
                self.meant[facts["giving"]] = facts["meant"]
                self.labels[facts["giving"]] = facts["labels"]
                self.doubtful = facts["giving"]
            elif "undoing" in facts:
                self.doubtful = facts["undoing"]
            elif "given" in facts:
                self.stored.add(facts["given"])
                self.doubtful = None
                self.acknowledged += 1
            elif "undone" in facts:
                self.stored.discard(facts["undone"])
                self.doubtful = None

    def check(self, run: Run) -> None:
        """Every label that was acknowledged is in the run's files once, as it was meant."""
        found: dict[str, str] = {}
        ids: list[str] = []
        for file in (PAIRS, UNDECIDED):
            for line in run.read(file) if run.path.exists() else ():
                assert line["pair_id"] not in ids, "stored twice"
                if line["judge"] == "human":
                    ids.append(line["pair_id"])
                    meant = line["chosen"] if file == PAIRS else line["choice"]
                    assert found.setdefault(prompt_id(line["pair_id"]), meant) == meant
        count = Counter(map(prompt_id, ids))
        for key in self.stored - {self.doubtful}:
            assert count[key] == self.labels[key], key
        asked = {key: each for key, each in found.items() if each not in ("identical", "empty")}
        if self.doubtful in asked:
            self.stored.add(self.doubtful)
        elif self.doubtful:
            self.stored.discard(self.doubtful)
        self.doubtful = None
        assert asked == {key: self.meant[key] for key in self.stored}


def check_labels(home: Path, kills: int, seed: int, values: dict[str, Any] = BY_HAND) -> Killer:
    """A run judged by hand, killed until `kills` are reached and the run is done."""
    killer = Killer(random.Random(seed), loading=4.0, lines=12)
    acknowledged = 0
    while killer.kills < kills:
        killer.trials += 1
        chosen = values | {"run_name": f"by-hand-{killer.trials}"}
        run, ledger = Run(home / "runs" / str(chosen["run_name"])), Ledger()
        torn: str | None = None
        while killer.strike(labelled(chosen, home, killer.chance), '"giving"'):
            whole(run)
            ledger.note(killer.told)
            ledger.check(run)
            if torn and killer.told:  # a pair was shown, so the files were looked at
                assert reported(run, torn)
                torn = None
            torn = torn or killer.maybe_tear(run.path, (PAIRS, UNDECIDED))
        ledger.note(killer.told)
        ledger.check(run)
        assert json.loads(killer.told[-1]) == {"ended": "finished", "error": None}
        steps = [line["step"] for line in run.read(METRICS) if "split" not in line]
        assert steps == list(range(2, values["iters"] + 1, 2))
        assert len(ledger.meant) >= (values["iters"] if values["judge"] == "human" else 1)
        acknowledged += ledger.acknowledged
    killer.told = [f"{acknowledged} labels acknowledged"]
    return killer


def labelled(values: dict[str, Any], home: Path, chance: random.Random) -> subprocess.Popen[str]:
    """A process with a person in it; a run that is there is gone on with."""
    command = [sys.executable, "-m", "tests.end_to_end.labelled_run"]
    return subprocess.Popen(
        [*command, json.dumps(values), str(chance.random())],
        env={**os.environ, "LORA_STUDIO_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_person_killed_once_loses_no_label(tmp_path: Path) -> None:
    check_labels(tmp_path, kills=1, seed=1, values=BRIEF)


@pytest.mark.slow
def test_a_person_who_picks_the_best_of_many_loses_no_label(tmp_path: Path) -> None:
    check_labels(tmp_path, kills=2, seed=5, values=MANY)


@pytest.mark.slow
def test_a_person_beside_a_model_loses_no_label(tmp_path: Path) -> None:
    check_labels(tmp_path, kills=3, seed=3, values=HYBRID)


@pytest.mark.slow
def test_a_person_killed_often_loses_no_label(tmp_path: Path) -> None:
    killer = check_labels(tmp_path, kills=200, seed=int(os.environ.get("SEED", "2")))
    print(killer, *killer.told)
