"""A function as judge: one in a person's file, or one of `engine.judges.rules`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.data.pairs import Ties, Verdict, verdict_of
from engine.errors import UserError
from engine.judges import Score, function_process
from engine.judges.function_caller import CallFailed, FunctionCaller, located
from engine.judges.once import once
from engine.judges.presentation import Request, request_text
from engine.settings.judge_names import RULE, judge_kind
from engine.settings.schema import Settings

RULES_FILE = Path(__file__).with_name("rules.py")


class FunctionJudge:
    """Judges pairs by the values of a function. A call that raises, takes too long or gives no
    number makes its pairs invalid."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            name: `FILE.py:FUNCTION`, or a rule.
            warn: told, once of each kind, why pairs are invalid.

        Raises:
            UserError: there is no such file.
        """
        self.name = name
        self._margin = settings.judge_margin
        self._ties: Ties = settings.judge_ties
        self._progress, self._warn_once = progress, once(warn)
        if judge_kind(name) == "rule":
            self.file, function = RULES_FILE, name.removeprefix(RULE)
            options = rule_options(settings).get(function, {})
        else:
            (self.file, function), options = located(name, "judge"), {}
        self.caller = FunctionCaller(
            self.file, function, seconds=settings.judge_timeout, options=options, stop=stop
        )

    def open(self) -> None:
        """Run the file, and find out what its function takes.

        Raises:
            UserError: the file cannot be run, or has no function that can judge.
            Interrupted: asked to stop.
        """
        try:
            self.caller.open()
        except CallFailed as failure:
            raise UserError(f"judge: {self.file}: {failure}") from None

    def close(self) -> None:
        """End the process."""
        self.caller.close()

    def judge(
        self, texts: Sequence[tuple[Request, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion).

        Raises:
            Interrupted: asked to stop.
        """
        if not texts:
            return []
        rows = [(request_text(prompt), first, second) for prompt, first, second in texts]
        if self.caller.lists:
            return self._verdicts(*zip(*rows, strict=True))
        verdicts = []
        for done, row in enumerate(rows):
            self._progress(done, len(rows))
            verdicts += self._verdicts(*([text] for text in row))
        self._progress(len(rows), len(rows))
        return verdicts

    def _verdicts(
        self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]
    ) -> list[Verdict]:
        """Verdicts on some pairs: on all, or on one alone where the function takes no lists."""
        caller, columns = self.caller, [prompts, firsts, seconds]
        if not caller.lists:
            columns = [column[0] for column in columns]
        try:
            if caller.takes == function_process.PAIR:
                log_odds = [_logit(q) for q in caller.values(columns, len(prompts))]
            else:
                of_first, of_second = (
                    caller.values([columns[0], answers], len(prompts)) for answers in columns[1:]
                )
                log_odds = [_difference(*both) for both in zip(of_first, of_second, strict=True)]
        except CallFailed as failure:
            self._warn_once(failure.kind, f"{self.name}: {failure}; such pairs are invalid")
            return [Verdict("invalid", note=str(failure))] * len(prompts)
        if any(math.isnan(each) for each in log_odds):
            wanted = "from 0 to 1" if caller.takes == function_process.PAIR else "that is finite"
            self._warn_once(
                "value", f"{self.name} gave no number {wanted} for some pairs, which are invalid"
            )
        return [
            # There is one reading, not one of each order.
            replace(verdict_of(each, -each, margin=self._margin, ties=self._ties), q_orders=None)
            for each in log_odds
        ]

    @property
    def gives_scores(self) -> bool:
        """Whether the function takes one answer; known once it is open."""
        return self.caller.takes == function_process.SCORE

    def score(
        self, answers: Sequence[tuple[Request, str]], names: Sequence[str] = ()
    ) -> list[Score]:
        """Scores of (prompt, completion), each given to the function once.

        Raises:
            Interrupted: asked to stop.
        """
        if not answers:
            return []
        prompts = [request_text(prompt) for prompt, _ in answers]
        columns: list[Any] = [prompts, [answer for _, answer in answers]]
        if self.caller.lists:
            return self._scores(columns, len(answers))
        scores = []
        for done, row in enumerate(zip(*columns, strict=True)):
            self._progress(done // 2, len(answers) // 2)
            scores += self._scores(row, 1)
        return scores

    def _scores(self, arguments: Sequence[Any], count: int) -> list[Score]:
        try:
            values = self.caller.values(arguments, count)
        except CallFailed as failure:
            self._warn_once(failure.kind, f"{self.name}: {failure}; such answers have no score")
            return [Score(math.nan, note=str(failure))] * count
        scores = [Score(math.nan if value is None else value) for value in values]
        if not all(math.isfinite(each.value) for each in scores):
            self._warn_once("value", f"{self.name} gave no finite number for some answers")
        return scores

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        """The verdict on two answers with these scores."""
        lead = _difference(first.value, second.value)
        verdict = verdict_of(lead, -lead, margin=self._margin, ties=self._ties)
        return replace(verdict, q_orders=None, note=first.note or second.note)


def rule_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the rules are told by the settings, by name."""
    return {
        "length": {"words": settings.judge_length},
        "matches": {"pattern": settings.judge_pattern or ""},
        "avoid": {"words": settings.judge_words},
    }


def _logit(q: float | None) -> float:
    """Log-odds of a probability; NaN for what is none."""
    if q is None or not 0 <= q <= 1:  # NaN too
        return math.nan
    if q in (0, 1):
        return math.inf if q else -math.inf
    return math.log(q) - math.log1p(-q)


def _difference(first: float | None, second: float | None) -> float:
    """Log-odds by two scores, as Bradley and Terry have it; NaN where one is no finite number."""
    if first is None or second is None or not math.isfinite(first) or not math.isfinite(second):
        return math.nan
    return first - second
