"""A build of the starter goes on where it was, and harms nothing that is there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.starter.build import __main__ as command
from engine.starter.build import model_folder, pretrain, quality, stages


def test_what_was_built_otherwise_is_not_taken_for_what_is_asked_for(tmp_path: Path):
    work = tmp_path / "work"
    command.begin_or_go_on(work, seed=0, processes=2, every=200)
    command.begin_or_go_on(work, seed=0, processes=2, every=200)
    for seed, processes, every in ((1, 2, 200), (0, 1, 200), (0, 2, 1)):
        with pytest.raises(ValueError, match="--seed 0 --processes 2 --every 200"):
            command.begin_or_go_on(work, seed, processes, every)


def test_models_of_no_use_do_not_take_the_place_of_the_bundled_ones(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["build", "--every", "200"])
    monkeypatch.setattr(command, "prepare_process", lambda: pytest.fail("it began"))
    with pytest.raises(SystemExit):
        command.main()
    assert "--out" in capsys.readouterr().err


def test_a_stage_that_was_interrupted_is_done_again(tmp_path: Path, monkeypatch):
    def interrupted(folder: Path, *_: object) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"half of it")
        raise KeyboardInterrupt

    begun = []
    monkeypatch.setattr(stages, "train_tokenizer", lambda texts: None)
    monkeypatch.setattr(pretrain, "pretrain", lambda *_: begun.append("policy"))
    monkeypatch.setattr(model_folder, "save", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            stages.build(tmp_path, seed=0)
    assert begun == ["policy", "policy"]


def test_a_build_that_is_told_to_end_ends_its_processes():
    reading, writing = os.pipe()
    program = """
from engine.starter.build.processes import run_in_processes
run_in_processes(2, ["-c", "import time; print(flush=True); time.sleep(60)"])
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=writing) as build:
        os.close(writing)
        with os.fdopen(reading) as lines:
            assert [lines.readline() for _ in range(2)] == ["\n"] * 2
            build.send_signal(signal.SIGTERM)
            assert lines.read() == ""  # nobody holds its other end any more
    assert build.returncode == 128 + signal.SIGTERM


def test_a_judge_without_answers_is_right_and_consistent_in_nothing(monkeypatch):
    silent = lambda judge, rubric, pairs: (np.full(len(pairs), np.nan),) * 3  # noqa: E731
    monkeypatch.setattr(quality, "ask_both", silent)
    figures = quality.judge_quality(None, "shorter", count=12)  # pyright: ignore[reportArgumentType]
    assert figures["accuracy"] == figures["consistent"] == figures["broken loses"] == 0
