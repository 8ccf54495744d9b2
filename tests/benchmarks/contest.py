"""Contestants that take turns: each a process that keeps its model and takes a step when told.

They alternate, so that whatever else the machine does falls on all of them alike.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.judges.presentation import (
    FIRST_LABEL,
    INSTRUCTION,
    PROMPT_LABEL,
    QUESTION,
    SECOND_LABEL,
)
from engine.settings.sections.judge import RUBRIC
from tests.benchmarks.random_model import Shape, prompts, write_model

LEARNING_RATE = 1e-6
TEMPLATE_TOKENS = 8  # that the chat template adds to a prompt


@dataclass(frozen=True)
class Setting:
    """What every contestant of one contest works on."""

    name: str
    shape: Shape
    pairs: int = 4
    prompt: int = 83  # tokens, those of the template included
    completion: int = 64
    grad_checkpoint: bool = False
    threads: int = 1
    dtype: str = "float32"
    gpu: bool = False

    def write(self, folder: Path) -> dict[str, Any]:
        """Make the model and the prompts in `folder`; returns what the workers are told."""
        texts = prompts(self.pairs, self.prompt - TEMPLATE_TOKENS, self.shape.vocabulary)
        frame = (
            f"{INSTRUCTION}{RUBRIC}\n\n{PROMPT_LABEL}{{prompt}}{FIRST_LABEL}{{response0}}"
            f"{SECOND_LABEL}{{response1}}{QUESTION}"
        )
        model = write_model(folder / "model", self.shape, frame, self.dtype)
        data = folder / "prompts.jsonl"
        data.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
        longest = self.prompt + self.completion
        return {
            "setting": asdict(self),
            "folder": str(folder),
            "model": str(model),
            "prompts": texts,
            "rubric": frame,
            "completion": self.completion,
            "max_seq_length": longest,
            "learning_rate": LEARNING_RATE,
            "grad_checkpoint": self.grad_checkpoint,
            "threads": self.threads,
            "dtype": self.dtype,
            "gpu": self.gpu,
            "studio": {
                "model": str(model),
                "judge": str(model),
                "judge_system": RUBRIC,
                "data": str(data),
                "eval_prompts": 0,
                "steps_per_eval": -1,
                "iters": 1_000_000,
                "save_every": 1_000_000,
                "steps_per_report": 1,
                "batch_size": self.pairs,
                "num_layers": -1,
                "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.0},
                "quantization": "none",
                "learning_rate": LEARNING_RATE,
                "max_completion_length": self.completion,
                "max_seq_length": longest,
                "grad_checkpoint": self.grad_checkpoint,
                "temperature": 0.8,
                "top_p": 1.0,
                "fuse": False,
                "memory_limit": 1.0,
                "guard": "off",
            },
        }


@dataclass
class Contestant:
    """A worker process and its steps so far."""

    name: str
    worker: str
    options: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None

    def start(self, told: dict[str, Any]) -> None:
        """Start the process and wait until its model is loaded."""
        threads = str(told["threads"])
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        setting = {"fast_blas": True, "judge_tokens": 16} | told | self.options
        log = self._log(told)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.benchmarks.workers.{self.worker}", json.dumps(setting)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=os.environ | dict.fromkeys(names, threads) | quiet,
        )
        self._answer(log)

    def step(self, told: dict[str, Any], count: bool = True) -> None:
        """Let it take a step; without `count`, one that warms it up."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        log = self._log(told)
        answer = self._answer(log)
        self._answer(log)
        if count:
            self.steps.append(answer)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def median(self, what: str) -> float:
        """Median over its steps: seconds of a phase, or bytes."""
        return statistics.median(step[what] for step in self.steps)

    def _log(self, told: dict[str, Any]) -> Path:
        """What it says on standard error: of it alone, since two may be of one worker."""
        return Path(told["folder"], f"{self.name}.log")

    def _answer(self, log: Path) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: {log.read_text()[-2_000:]}")
        return json.loads(line)


def alternate(
    setting: Setting, contestants: list[Contestant], folder: Path, rounds: int
) -> list[Contestant]:
    """Let all take a step to warm up, then `rounds` steps each, in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    told = setting.write(folder)
    try:
        for contestant in contestants:
            contestant.start(told)
            contestant.step(told, count=False)
        for _ in range(rounds):
            for contestant in contestants:
                contestant.step(told)
    finally:
        for contestant in contestants:
            contestant.stop()
    return contestants
