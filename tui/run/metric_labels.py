"""The metrics of a run as the screens show them: label, unit, form, and what each means.

The names are those of metrics.jsonl; what they measure is said in `engine.train.metrics`.
"""

from dataclasses import dataclass
from typing import Literal

from tui.text.format import count, number
from tui.text.safe_text import safe_line

Form = Literal["number", "count", "share", "tenths", "percent"]

_LEAST_SPANS: dict[Form, float] = {
    "number": 0.001, "count": 2.0, "share": 0.02, "tenths": 0.1, "percent": 0.02,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown. `also` are metrics that its chart shows beside it."""

    name: str
    label: str
    meaning: str
    unit: str = ""
    form: Form = "number"
    also: tuple[str, ...] = ()
    least: float | None = None  # span that fills a sparkline; None: that of its form

    @property
    def least_span(self) -> float:
        """The span below which a change is too small to fill a sparkline."""
        return _LEAST_SPANS[self.form] if self.least is None else self.least

    def show(self, value: float | None) -> str:
        """A value without its unit; a dash where there is none."""
        if value is None:
            return "–"
        match self.form:
            case "count":
                return count(value)
            case "share":
                return f"{value:.2f}" if value == value and abs(value) < 100 else number(value)
            case "percent":  # of a share
                return number(100 * value)
            case "tenths":
                return f"{value:,.1f}" if abs(value) < 1e6 else number(value)
            case _:
                return number(value)


# The cards of a run, in the order in which they are shown.
CARDS = (
    Metric("loss", "loss", "the preference loss; falls as the policy learns what wins"),
    Metric(
        "win_rate", "win rate", "held-out answers that beat the starting policy's", "%", "percent",
        also=("eval_win_rate",),
    ),
    Metric("margin", "margin", "how far chosen answers are ahead of rejected ones, in reward"),
    Metric("accuracy", "accuracy", "pairs whose chosen answer is ahead", form="share"),
    Metric("kl", "kl", "how far the policy has moved from its reference", "nats"),
    Metric(
        "completion_tokens", "length", "tokens a completion", "tok", "count", also=("length_gap",)
    ),
    Metric(
        "swap_consistency",
        "judge agree",
        "how often the judge says the same with the answers swapped",
        form="share",
        also=("judge_q", "first_position_rate"),
    ),
    Metric("eos_rate", "eos rate", "completions that ended by themselves", form="share"),
    Metric("grad_norm", "grad norm", "size of the gradient before clipping"),
    Metric("learning_rate", "learn rate", "the learning rate of the step", least=0.0),
    Metric(
        "sampled_tokens_per_second", "speed", "tokens sampled a second", "tok/s", "count",
        also=("pairs_per_second",),
    ),
    Metric("peak_memory_gb", "memory", "most memory held so far", "GB", "tenths"),
)  # fmt: skip

# Metrics without a card of their own, in the order in which a chart offers them.
MORE = (
    Metric(
        "eval_win_rate",
        "evaluator",
        "the win rate by eval_judge, of the same answers",
        "%",
        "percent",
    ),
    Metric("chosen_reward", "chosen reward", "reward of chosen answers"),
    Metric("rejected_reward", "rejected reward", "reward of rejected answers"),
    Metric("chosen_logp", "chosen logp", "log-probability of chosen answers", "nats"),
    Metric("rejected_logp", "rejected logp", "log-probability of rejected answers", "nats"),
    Metric("entropy", "entropy", "spread of the policy's next token", "nats"),
    Metric("length_gap", "length gap", "tokens that chosen answers are longer", "tok"),
    Metric("judge_q", "judge q", "how sure the judge is of its winner", form="share"),
    Metric("first_position_rate", "first position", "how often the first place wins", form="share"),
    Metric("judge_disagreement", "disagree", "pairs that judges pick unlike on", form="share"),
    Metric("tie_rate", "ties", "pairs without a winner", form="share"),
    Metric("invalid_rate", "invalid", "pairs that the judge gave no answer on", form="share"),
    Metric("kappa", "kappa", "how well you and the model beside you agree", form="share"),
    Metric("both_judged", "both judged", "pairs that you and the model judged", form="count"),
    Metric("asked_rate", "asked", "pairs that were put before you", form="share"),
    Metric("unanswered_rate", "unanswered", "pairs not answered in time", form="share"),
    Metric("identical_rate", "identical", "pairs of equal or empty answers", form="share"),
    Metric("pairs_per_second", "pairs/s", "pairs a second"),
    Metric("sample_seconds", "sampling", "time of a step spent on sampling", "s"),
    Metric("judge_seconds", "judging", "time of a step spent on judging", "s"),
    Metric("update_seconds", "updating", "time of a step spent on the update", "s"),
    Metric("step_seconds", "step", "time of a step", "s"),
    Metric("sent_mb", "sent", "what rank 0 sends other ranks a step", "MB"),
    Metric("sum_seconds", "summing", "time of a step spent on sums over ranks", "s"),
    Metric("wait_seconds", "waiting", "time of a step that a rank waits for others", "s"),
    Metric("longest_wait_seconds", "longest wait", "the same of the rank that waits most", "s"),
    Metric("trained_pairs", "trained pairs", "pairs trained on", form="count"),
    Metric("judgements", "judgements", "times that two answers were compared", form="count"),
    Metric("offline_pairs", "earlier pairs", "pairs of warm_start trained on", form="count"),
    Metric("dropped_steps", "dropped steps", "steps dropped as not finite", form="count"),
    Metric("cut_pairs", "cut pairs", "pairs that the judge read only a part of", form="count"),
    Metric("cut_losses", "cut losses", "pairs lost by an answer that was cut off", form="count"),
)

ALL = {metric.name: metric for metric in (*CARDS, *MORE)}


def metric(name: str) -> Metric:
    """The metric of that name; one that is not known, which a file may call anything, is shown
    under its name."""
    return ALL.get(name) or Metric(name, safe_line(name.replace("_", " ")), "")
