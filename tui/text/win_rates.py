"""Win rates as they are told: by the run's judge, and by an evaluator that is another one."""

from dataclasses import dataclass

from engine.events import Evaluated

EVALUATOR = "by the evaluator"


@dataclass(frozen=True, slots=True)
class WinRate:
    """A win rate with its 95% interval, and by whom: `by the judge`; empty where only one judge
    measures."""

    who: str
    rate: float
    low: float
    high: float
    prompts: int

    @property
    def percent(self) -> str:
        """`78 ±10 %`."""
        return f"{100 * self.rate:.0f} ±{50 * (self.high - self.low):.0f} %"


def win_rates(event: Evaluated) -> list[WinRate]:
    """Those that were measured, the judge's first."""
    alone = event.eval_win_rate is None
    judge = (event.win_rate, event.win_rate_low, event.win_rate_high)
    evaluator = (event.eval_win_rate, event.eval_win_rate_low, event.eval_win_rate_high)
    each = [
        ("" if alone else "by the judge", *judge, event.prompts),
        (EVALUATOR, *evaluator, event.eval_prompts),
    ]
    return [
        WinRate(who, rate, low, high, prompts)
        for who, rate, low, high, prompts in each
        if rate is not None and low is not None and high is not None
    ]
