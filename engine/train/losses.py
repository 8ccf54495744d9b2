"""The four preference losses, as pure functions of log-probabilities, and what their labels say.

Notation, per pair: D = (log pi - log ref)(chosen) - (log pi - log ref)(rejected), where each
log-probability is the sum over a completion's tokens (the mean, for ipo). With length_normalize
sigmoid and hinge take each completion's log-ratio as its mean over tokens too, its end of turn
included (Meng et al. 2024, "SimPO", as in the length-normalised DPO of Lambert et al. 2024,
"Tulu 3").

- sigmoid: -log s(beta D). Rafailov et al. 2023, "Direct Preference Optimization".
- hinge: max(0, 1 - beta D). Zhao et al. 2023, "SLiC-HF", as adapted to DPO.
- ipo: (D - 1 / (2 beta))^2 on per-token means. Azar et al. 2023, "A General Theoretical
  Paradigm to Understand Learning from Human Preferences".
- dpop: -log s(beta (D - delta p)), p = max(0, log ref(chosen) - log pi(chosen)). Pal et al.
  2024, "Smaug". With `dpop_form` "studio": -log s(beta D) + delta p.

Let L(D) be such a loss and L(-D) that of the pair the other way round. Labels that are not taken
as they are change it so, where q is the judge's probability that the chosen one is better:

- soft labels "mix": q L(D) + (1 - q) L(-D).
- soft labels "geometric": -log s(beta (2q - 1) D). Furuta et al. 2024, "Geometric-Averaged
  Preference Optimization for Soft Preference Labels" (arXiv 2409.06691).
- label smoothing e, "conservative": (1 - e) L(D) + e L(-D). Mitchell 2023, "A note on DPO with
  noisy preferences and relationship to IPO".
- label smoothing e, "robust": ((1 - e) L(D) - e L(-D)) / (1 - 2e), whose mean over labels of which
  a share e is swapped is L(D). Chowdhury et al. 2024, "Provably Robust DPO".
"""

from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

LossType = Literal["sigmoid", "hinge", "ipo", "dpop"]
DpopForm = Literal["paper", "studio"]


SoftLabels = Literal["off", "mix", "geometric"]
SmoothingForm = Literal["conservative", "robust"]


@dataclass(frozen=True, slots=True)
class Loss:
    """Which loss, and its constants. Geometric labels and smoothing are of the sigmoid alone, and
    never together, as `engine.settings.checks` sees to."""

    kind: LossType
    beta: float
    delta: float
    dpop_form: DpopForm
    soft_labels: SoftLabels
    label_smoothing: float
    label_smoothing_form: SmoothingForm
    length_normalize: bool = False  # sigmoid and hinge


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Sums of log-probabilities of completions, all float32 (pairs,), and their tokens."""

    policy_chosen: mx.array
    policy_rejected: mx.array
    reference_chosen: mx.array
    reference_rejected: mx.array
    chosen_tokens: mx.array
    rejected_tokens: mx.array

    def swapped(self) -> "LogProbs":
        """The same pairs with the other completion as the chosen one."""
        return LogProbs(
            policy_chosen=self.policy_rejected,
            policy_rejected=self.policy_chosen,
            reference_chosen=self.reference_rejected,
            reference_rejected=self.reference_chosen,
            chosen_tokens=self.rejected_tokens,
            rejected_tokens=self.chosen_tokens,
        )


def pair_losses(loss: Loss, logps: LogProbs, q: mx.array) -> mx.array:
    """Loss of each pair, float32 (pairs,). `q` (pairs,) is the judge's probability that the chosen
    one is better, which soft labels alone read."""
    if loss.soft_labels == "geometric":
        return _minus_log_sigmoid(loss.beta * (2 * q - 1) * _difference(loss, logps))
    as_labelled = _hard_losses(loss, logps)
    if loss.soft_labels == "mix":
        return q * as_labelled + (1 - q) * _hard_losses(loss, logps.swapped())
    if loss.label_smoothing == 0:
        return as_labelled
    e, other = loss.label_smoothing, _hard_losses(loss, logps.swapped())
    if loss.label_smoothing_form == "robust":
        return ((1 - e) * as_labelled - e * other) / (1 - 2 * e)
    return (1 - e) * as_labelled + e * other


def _hard_losses(loss: Loss, logps: LogProbs) -> mx.array:
    """Loss of each pair with its label as it is, float32 (pairs,)."""
    difference = _difference(loss, logps)
    if loss.kind == "ipo":
        return mx.square(difference - 1 / (2 * loss.beta))
    if loss.kind == "sigmoid":
        return _minus_log_sigmoid(loss.beta * difference)
    if loss.kind == "hinge":
        return _positive_part(1 - loss.beta * difference)
    penalty = loss.delta * _positive_part(logps.reference_chosen - logps.policy_chosen)
    if loss.dpop_form == "paper":
        return _minus_log_sigmoid(loss.beta * (difference - penalty))
    return _minus_log_sigmoid(loss.beta * difference) + penalty


def _difference(loss: Loss, logps: LogProbs) -> mx.array:
    """D of each pair, float32 (pairs,): on sums over tokens, or on means."""
    chosen_ratio = logps.policy_chosen - logps.reference_chosen
    rejected_ratio = logps.policy_rejected - logps.reference_rejected
    if loss.kind == "ipo" or loss.length_normalize:
        # A completion without tokens has log-probability 0; its mean is 0 too.
        chosen_ratio = chosen_ratio / mx.maximum(logps.chosen_tokens, 1)
        rejected_ratio = rejected_ratio / mx.maximum(logps.rejected_tokens, 1)
    return chosen_ratio - rejected_ratio


def _positive_part(x: mx.array) -> mx.array:
    """max(x, 0), with gradient 0 at 0: a first step, where policy and reference are equal, feels
    no penalty. The order of the two arguments is what decides that in MLX."""
    return mx.maximum(x, 0)


def _minus_log_sigmoid(x: mx.array) -> mx.array:
    """-log s(x) = log(1 + exp(-x)), without overflow at either end."""
    return mx.logaddexp(mx.zeros_like(x), -x)
