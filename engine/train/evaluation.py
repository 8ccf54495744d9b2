"""The held-out win rate of a policy against its reference, by any judge but a person."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.compute.sampling import Sample, Sampler, sample, stream_seed
from engine.data.pairs import Verdict
from engine.events import Example
from engine.judges import PairJudge
from engine.judges.presentation import Request, request_text
from engine.model.language_model import LanguageModel

# Normal quantile of a two-sided 95% interval.
Z = 1.959963984540054
EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class WinRate:
    """Share of prompts on which the policy's answer won, ties counted as halves, with a 95%
    interval, and a few of the answers. `prompts` are those that count, `invalid` those left out
    because the judge gave no valid verdict."""

    win_rate: float
    low: float
    high: float
    prompts: int
    examples: tuple[Example, ...]
    invalid: int = 0


class Evaluation:
    """Measures the same prompts again and again; the reference answers them once."""

    def __init__(
        self,
        reference: LanguageModel,
        judges: Sequence[PairJudge],
        *,
        sample: Sample = sample,
        prompts: Sequence[Request],
        prompt_ids: Sequence[Sequence[int]],
        sampler: Sampler,
        max_tokens: int,
        seed: int,
        purpose: str = "evaluation",
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`prompts` are for the judges, `prompt_ids` their token ids for the policy. Answers of
        another `purpose` are drawn anew. `progress` is told the tokens sampled of those that a
        model may write."""
        self._reference = reference
        self._judges = judges
        self._prompts = prompts
        self._prompt_ids = prompt_ids
        self._sampler = sampler
        self._max_tokens = max_tokens
        self._seed = seed
        self._purpose = purpose
        self._sample = sample
        self._progress = progress
        self._stop = stop
        self._reference_answers: list[str] | None = None

    def __len__(self) -> int:
        """How many prompts are measured."""
        return len(self._prompts)

    def measure(self, policy: LanguageModel) -> list[WinRate | None]:
        """The win rate of the policy with the weights that it has now, by each judge from the same
        answers; None where one gave no valid verdict on any prompt.

        Raises:
            Interrupted: asked to stop.
            JudgeAway: a judge is elsewhere, and was not there for too long.
        """
        if self._reference_answers is None:
            self._reference_answers = self._answers(self._reference, "reference")
        before, after = self._reference_answers, self._answers(policy, "policy")
        return [self._rated(judge, before, after) for judge in self._judges]

    def _rated(
        self, judge: PairJudge, before: Sequence[str], after: Sequence[str]
    ) -> WinRate | None:
        """The win rate of the answers `after` over those `before`, prompt by prompt."""
        differing = [i for i in range(len(after)) if before[i] != after[i]]
        verdicts = judge.judge([(self._prompts[i], after[i], before[i]) for i in differing])
        valid = [verdict for verdict in verdicts if verdict.choice != "invalid"]
        equal = len(after) - len(differing)
        scores = [0.5] * equal + [_score(verdict) for verdict in valid]
        if not scores:
            return None
        rate = sum(scores) / len(scores)
        low, high = wilson(rate, len(scores))
        examples = tuple(
            Example(request_text(prompt), old, new)
            for prompt, old, new in list(zip(self._prompts, before, after, strict=True))[:EXAMPLES]
        )
        return WinRate(rate, low, high, len(scores), examples, len(verdicts) - len(valid))

    def _answers(self, lm: LanguageModel, name: str) -> list[str]:
        """One answer of a model to every prompt; the same at every call for the same weights."""
        most = len(self._prompt_ids) * self._max_tokens
        completions = self._sample(
            lm,
            self._prompt_ids,
            copies=1,
            max_tokens=self._max_tokens,
            sampler=self._sampler,
            seed=stream_seed(self._seed, self._purpose, name),
            progress=lambda tokens: self._progress(tokens, most),
            stop=self._stop,
        )
        return [lm.text(completion.ids) for (completion,) in completions]


def wilson(rate: float, count: int, z: float = Z) -> tuple[float, float]:
    """95% interval of a rate over `count` prompts (Wilson 1927, "Probable inference"), or that of
    another normal quantile `z`. Halves for ties make the true variance smaller, so the interval
    errs on the wide side."""
    spread = z * z / count
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / count + spread / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _score(verdict: Verdict) -> float:
    """1 for a win of the policy's answer, which was the first, 0 for a loss, else a half."""
    return {"first": 1.0, "second": 0.0}.get(verdict.choice, 0.5)
