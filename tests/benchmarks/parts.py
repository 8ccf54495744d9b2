"""The parts of a step of this program, in this process, to be timed one by one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.compute.sampling import Sampler, sample
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.prompts import load_prompts
from engine.data.rendering import render_prompt
from engine.data.sampled import make_pair
from engine.judges.llm import LLMJudge
from engine.model.language_model import LanguageModel
from engine.settings.files import from_mapping
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.roles import load_roles
from engine.train.update import Update
from tests.benchmarks.contest import Setting


class Parts:
    """Models, prompts and pairs of one setting."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        self.setting = setting
        told = setting.write(folder)
        self.settings = settings = from_mapping(told["studio"], "the benchmark")
        mx.random.seed(0)
        roles = load_roles(settings)
        judge = roles.judges[settings.judge]
        assert isinstance(judge, LanguageModel)
        self.policy = roles.policy
        self.sampler = Sampler(settings.temperature)
        self.prompts = load_prompts(settings).train
        self.ids = [
            render_prompt(self.policy.tokenizer, prompt, settings, settings.max_seq_length)
            for prompt in self.prompts
        ]
        self._judge = LLMJudge(judge, settings)
        self._update = Update(
            self.policy, roles.reference, settings, build_optimizer(settings, 1_000)
        )
        self._step = 0
        self.pairs = self.sample()

    def sample(self, tokens: int | None = None) -> list[Pair]:
        """Sample both completions of all prompts, of so many tokens."""
        self._step += 1
        completions = sample(
            self.policy,
            self.ids,
            copies=2,
            max_tokens=tokens or self.setting.completion,
            sampler=self.sampler,
            seed=self._step,
        )
        decode: Any = self.policy.tokenizer.decode
        return [
            make_pair(
                step=self._step,
                index=index,
                weights_step=0,
                prompt=prompt,
                prompt_ids=ids,
                completions=(first, second),
                texts=(decode(list(first.ids)), decode(list(second.ids))),
            )
            for index, (prompt, ids, (first, second)) in enumerate(
                zip(self.prompts, self.ids, completions, strict=True)
            )
        ]

    def judge(self) -> None:
        """Judge the pairs in both orders."""
        self._judge.judge([(pair.prompt, pair.first, pair.second) for pair in self.pairs])

    def update(self) -> None:
        """Score the pairs and take an optimizer step."""
        verdict = Verdict("first", 0.9, (0.9, 0.9))
        learn(self._update, [JudgedPair(pair, verdict) for pair in self.pairs], step=1)


def fastest(function: Callable[[], Any], times: int) -> float:
    """Seconds that a call takes at best, after one to warm up."""
    function()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
