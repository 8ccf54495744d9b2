"""The mechanics of a step: scores, the gradient of a loss, clipping, the optimizer.

`online_dpo.learn` puts them in order, and says what the loss is.
"""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as opt
import numpy as np

from engine.compute import headway
from engine.compute.sampling import Interrupted, stream_seed
from engine.data.pairs import JudgedPair
from engine.model.adapters import learning
from engine.model.arrays import Arrays, flat, tree
from engine.model.batch import Batch
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings
from engine.train.losses import LogProbs, Loss

# The loss of some pairs, given log ref of their completions and the judge's confidence, and log pi
# of them: `online_dpo.summed_loss`.
SummedLoss = Callable[["Update", Batch, mx.array, mx.array], tuple[mx.array, mx.array]]
PassProgress = Callable[[int, int, float | None], None]
LONG_PASS = 2.0  # seconds after which it is told how far a pass is
LONG_FORWARD = 0.25  # seconds after which the way back is taken layer by layer
LAYER = re.compile(r"\.(\d+)\.")  # of a parameter, by its name


@dataclass(frozen=True)
class StepResult:
    """What one step did: its means over trained pairs, or why it was dropped."""

    pairs: int
    means: dict[str, float]
    dropped: str | None = None
    grad_norm: float = math.nan  # of the averaged gradient before clipping; nan without an update


class Update:
    """Scores judged pairs and updates the policy, on the engine's thread.

    Gradients of the pairs' losses are added up over `gradient_accumulation_steps` and divided by
    the number of pairs that they came from, so every pair counts the same however the steps
    are filled.
    """

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel,
        settings: Settings,
        optimizer: opt.Optimizer,
        progress: PassProgress = lambda done, total, share: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            progress: told how many decided pairs are done, of how many, and of a long pass also
                which share of all of them.
            stop: asked within passes, on any thread; True raises `Interrupted`.
        """
        self.policy = policy
        self.reference = reference
        self.optimizer = optimizer
        self.settings = settings
        self._progress = progress
        self._stop = stop
        self.loss = Loss(
            kind=settings.dpo_cpo_loss_type,
            beta=settings.beta,
            delta=settings.delta,
            dpop_form=settings.dpop_form,
            soft_labels=settings.soft_labels,
            label_smoothing=settings.label_smoothing,
            label_smoothing_form=settings.label_smoothing_form,
            length_normalize=settings.length_normalize,
        )
        self._step_size = settings.seq_step_size if settings.efficient_long_context else None
        self.tokens_per_pass = policy.backend.tokens_per_pass(
            recompute=settings.grad_checkpoint, step_size=self._step_size
        )
        self.gradients: Arrays | None = None  # sums over the pairs since the last update
        self.gradient_pairs = 0
        self.steps_since_update = 0
        optimizer.init(tree(flat(policy.model.trainable_parameters())))

    @property
    def learning_rate(self) -> float:
        """The rate of the newest update, or of the first where there was none."""
        return float(mx.array(self.optimizer.learning_rate).item())  # pyright: ignore[reportArgumentType]

    @property
    def due(self) -> bool:
        """Whether gradients of `gradient_accumulation_steps` steps wait to be applied."""
        return self.steps_since_update >= self.settings.gradient_accumulation_steps

    def score(self, model: LanguageModel, batch: Batch) -> mx.array:
        """Log-probabilities that policy or reference gives each pair's chosen and rejected
        completion, summed over its tokens, float32 (pairs, 2), in nats."""
        recompute = self.settings.grad_checkpoint and model is self.policy
        return model.backend.logps(batch, recompute=recompute, step_size=self._step_size)

    def add_gradients(
        self, loss: SummedLoss, decided: Sequence[JudgedPair], step: int
    ) -> StepResult:
        """Add the gradient of the loss of decided pairs to what waits, in as many passes as fit.

        Where the loss or the gradient is not finite nothing is added.

        Raises:
            Interrupted: asked to stop; all is as it was before.
        """
        if not decided:
            self.steps_since_update += 1
            return StepResult(0, {})
        total, logps, done = 0.0, [], 0
        gradients: Arrays | None = None
        for part in _passes(decided, self.tokens_per_pass):
            if self._stop():
                raise Interrupted
            mx.random.seed(stream_seed(self.settings.seed, "dropout", step, done))
            look = _Passage(self._progress, self._stop, done, len(part), len(decided))
            with headway.watched(look):
                value, scores, added = self._pass(loss, part)
            total += value
            logps.append(scores)
            gradients = added if gradients is None else _sum(gradients, added)
            mx.eval(gradients)
            done += len(part)
            self._progress(done, len(decided), None)
        self.steps_since_update += 1
        assert gradients is not None
        norm = _norm(gradients)
        if not math.isfinite(total) or not math.isfinite(norm):
            what = "loss" if not math.isfinite(total) else "gradient"
            return StepResult(0, {}, dropped=f"its {what} is not finite")
        if self.gradients is not None:
            gradients = _sum(self.gradients, gradients)
            mx.eval(gradients)
        self.gradients = gradients
        self.gradient_pairs += len(decided)
        means = step_means(decided, np.concatenate(logps), self.settings.beta)
        return StepResult(len(decided), means | {"loss": total / len(decided)})

    def _pass(self, loss: SummedLoss, pairs: list[JudgedPair]) -> tuple[float, np.ndarray, Arrays]:
        """Sum of losses, log-probabilities float32 (pairs, policy and reference, chosen and
        rejected), and the gradient of the sum."""
        # One batch for both: layers below the lowest adapter are run once for the same one.
        batch = Batch(
            prompts=[each.pair.prompt_ids for each in pairs],
            completions=[(each.chosen_ids, each.rejected_ids) for each in pairs],
        )
        with learning(self.reference.model, drop_out=False):
            reference = self.score(self.reference, batch)
            mx.eval(reference)
        headway.made("forward", 1.0)
        confidence = mx.array([each.confidence for each in pairs], mx.float32)
        gradient_of = nn.value_and_grad(self.policy.model, loss)
        with learning(self.policy.model, drop_out=True):
            (value, policy), gradients = gradient_of(self, batch, reference, confidence)
            gradients = flat(gradients)
            _evaluate(value, policy, gradients)
        logps = np.stack([np.array(policy), np.array(reference)], axis=1)
        return float(value.item()), logps, gradients

    def apply(self) -> float:
        """Take the optimizer step with the mean gradient of the pairs that wait, clipped to
        `max_grad_norm`; returns its norm before clipping, nan where no pair waits."""
        gradients, pairs = self.gradients, self.gradient_pairs
        self.gradients, self.gradient_pairs, self.steps_since_update = None, 0, 0
        if gradients is None:
            return math.nan
        norm = _norm(gradients) / pairs
        limit = self.settings.max_grad_norm
        scale = min(1.0, limit / norm if limit and norm else 1.0) / pairs
        scaled = {name: gradient * scale for name, gradient in gradients.items()}
        self.optimizer.update(self.policy.model, tree(scaled))
        mx.eval(self.policy.model.trainable_parameters(), self.optimizer.state)
        return norm


class _Passage:
    """Looks at a pass of some pairs: that of the reference, then forward and back through the
    policy, which is half of it. `done` pairs of `total` had theirs before."""

    def __init__(
        self,
        progress: PassProgress,
        stop: Callable[[], bool],
        done: int,
        count: int,
        total: int,
    ) -> None:
        self._progress, self._stop = progress, stop
        self._done, self._count, self._total = done, count, total
        self._began = self._told = time.monotonic()
        self._reference = True  # it is read first

    def __call__(self, part: headway.Part, share: float) -> None:
        if self._stop():
            raise Interrupted
        reference, self._reference = self._reference, self._reference and share < 1
        now = time.monotonic()
        if now - self._began < LONG_PASS or now - self._told < LONG_PASS / 10:
            return
        self._told = now
        before, worth = (0.5, 0.5) if part == "back" else (0.0 if reference else 0.25, 0.25)
        pairs = self._done + self._count * (before + worth * share)
        self._progress(self._done, self._total, pairs / self._total)


def _evaluate(value: mx.array, policy: mx.array, gradients: Arrays) -> None:
    """Compute what MLX has only noted down; where that takes long, the gradients from the last
    layer to the first, as they follow from each other, so that one can look on between them."""
    start = time.monotonic()
    mx.eval(value, policy)
    headway.made("forward", 1.0)
    if time.monotonic() - start < LONG_FORWARD:
        mx.eval(gradients)
        return
    layers: dict[int, list[mx.array]] = {}
    for name, array in gradients.items():
        layer = LAYER.search(name)
        layers.setdefault(int(layer[1]) if layer else -1, []).append(array)
    for done, number in enumerate(sorted(layers, reverse=True), 1):
        mx.eval(layers[number])
        headway.made("back", done / len(layers))


def log_probs(batch: Batch, policy: mx.array, reference: mx.array) -> LogProbs:
    """What the loss of each pair is taken of; log-probabilities are float32 (pairs, 2)."""
    tokens = mx.array([[len(ids) for ids in each] for each in batch.completions], mx.float32)
    return LogProbs(
        policy_chosen=policy[:, 0],
        policy_rejected=policy[:, 1],
        reference_chosen=reference[:, 0],
        reference_rejected=reference[:, 1],
        chosen_tokens=tokens[:, 0],
        rejected_tokens=tokens[:, 1],
    )


def step_means(decided: Sequence[JudgedPair], logps: np.ndarray, beta: float) -> dict[str, float]:
    """Averages over trained pairs, from log-probabilities (pairs, policy and reference, chosen and
    rejected) in nats."""
    tokens = np.array([[len(each.chosen_ids), len(each.rejected_ids)] for each in decided])
    policy = logps[:, 0].astype(np.float64)
    ratio = policy - logps[:, 1].astype(np.float64)
    rewards = beta * ratio
    margins = rewards[:, 0] - rewards[:, 1]
    return {
        "margin": float(margins.mean()),
        "accuracy": float((margins > 0).mean()),
        "chosen_reward": float(rewards[:, 0].mean()),
        "rejected_reward": float(rewards[:, 1].mean()),
        "kl": float(ratio.mean()),
        "chosen_logp": float(policy[:, 0].mean()),
        "rejected_logp": float(policy[:, 1].mean()),
        "entropy": float(-policy.sum() / tokens.sum()),
    }


def _passes(decided: Sequence[JudgedPair], most: int) -> list[list[JudgedPair]]:
    """Pairs, in order, in groups of no more than `most` tokens, padding included."""
    groups: list[list[JudgedPair]] = [[]]
    prompt = completion = 0
    for each in decided:
        pair = each.pair
        prompt = max(prompt, len(pair.prompt_ids))
        completion = max(completion, len(pair.first_ids), len(pair.second_ids))
        if groups[-1] and (len(groups[-1]) + 1) * (prompt + 2 * completion) > most:
            groups.append([])
            prompt = len(pair.prompt_ids)
            completion = max(len(pair.first_ids), len(pair.second_ids))
        groups[-1].append(each)
    return groups


def _sum(first: Arrays, second: Arrays) -> Arrays:
    return {name: gradient + second[name] for name, gradient in first.items()}


def _norm(gradients: Arrays) -> float:
    """Euclidean norm over all arrays; not finite where one of them is not."""
    squares = [mx.square(array.astype(mx.float32)).sum() for array in gradients.values()]
    return float(mx.sqrt(mx.stack(squares).sum()).item())  # pyright: ignore[reportArgumentType]
