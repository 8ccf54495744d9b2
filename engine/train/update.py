"""The mechanics of a step: scores, the gradient of a loss, clipping, the optimizer.

`online_dpo.learn` puts them in order, and says what the loss is.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as opt
import numpy as np

from engine.compute import headway
from engine.compute.sampling import Interrupted, stream_seed
from engine.compute.shapes import Shape
from engine.data.pairs import JudgedPair
from engine.errors import UserError
from engine.model.adapters import learning
from engine.model.arrays import Arrays, flat, tree
from engine.model.batch import AnyBatch, Batch
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings
from engine.train.compiled_pass import CompiledPass, can_compile
from engine.train.losses import LogProbs, Loss
from engine.train.weight_updates import WeightUpdates

# The loss of some pairs, given log ref of their completions and the judge's confidence, and log pi
# of them: `online_dpo.summed_loss`.
SummedLoss = Callable[["Update", AnyBatch, mx.array, mx.array], tuple[mx.array, mx.array]]
PassProgress = Callable[[int, int, float | None], None]
MakeUpdate = Callable[[Callable[..., "Update"]], "Update"]  # given `Update`, or one that is shared
LONG_PASS = 2.0  # seconds after which it is told how far a pass is
LONG_FORWARD = 0.25  # seconds after which the way back is taken layer by layer
LAYER = re.compile(r"\.(\d+)\.")  # of a parameter, by its name


@dataclass(frozen=True)
class StepResult:
    """What one step did: its means over trained pairs, or why it was dropped.

    `offline` counts those that were there before the run. The means are of the other ones alone,
    `pairs` in number, where there are any; only the loss is of all.
    """

    pairs: int
    means: dict[str, float]
    dropped: str | None = None
    grad_norm: float = math.nan  # of the averaged gradient before clipping; nan without an update
    offline: int = 0
    tokens: int = 0  # of the completions of `pairs`


@dataclass(frozen=True)
class Sums:
    """Sums over pairs: of their losses and of the gradients of these; and each one's
    log-probabilities, float32 (pairs, policy and reference, chosen and rejected)."""

    loss: float
    logps: np.ndarray
    gradients: Arrays


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
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            progress: told how many decided pairs are done, of how many, and of a long pass also
                which share of all of them.
            stop: asked within passes, on any thread; True raises `Interrupted`.
        """
        self.policy = policy
        self.reference = reference
        self.optimizer = WeightUpdates(optimizer, flat(policy.model.trainable_parameters()))
        self.settings = settings
        self.progress = progress
        self._stop = stop
        self._warn = warn
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
        self._compiled: CompiledPass | None = None
        self._compiles = can_compile(settings, policy, reference)
        self.gradients: Arrays | None = None  # sums over the pairs since the last update
        self.gradient_pairs = 0
        self.steps_since_update = 0

    @property
    def learning_rate(self) -> float:
        """The rate of the newest update, or of the first where there was none."""
        return float(np.array(self.optimizer.learning_rate))

    @property
    def due(self) -> bool:
        """Whether gradients of `gradient_accumulation_steps` steps wait to be applied."""
        return self.steps_since_update >= self.settings.gradient_accumulation_steps

    def score(self, model: LanguageModel, batch: AnyBatch) -> mx.array:
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
        sums = self.sums(loss, decided, step)
        self.steps_since_update += 1
        if what := self.add(sums, len(decided)):
            return StepResult(0, {}, dropped=f"its {what} is not finite")
        online = [not each.offline for each in decided]
        means = _means(decided, online, sums.logps, self.settings.beta)
        means["loss"] = sums.loss / len(decided)
        tokens = sum(
            len(each.chosen_ids) + len(each.rejected_ids) for each in decided if not each.offline
        )
        return StepResult(sum(online), means, offline=len(decided) - sum(online), tokens=tokens)

    def sums(
        self, loss: SummedLoss, decided: Sequence[JudgedPair], step: int, first: int = 0
    ) -> Sums:
        """The sums over some pairs of a step, of which `first` is the place among all."""
        total, logps, done = 0.0, [], 0
        gradients: Arrays | None = None
        for part, shape in self._parts(loss, decided):
            if self._stop():
                raise Interrupted
            mx.random.seed(stream_seed(self.settings.seed, "dropout", step, first + done))
            look = _Passage(self.progress, self._stop, done, len(part), len(decided))
            with headway.watched(look):
                value, scores, added = self._pass(loss, part, shape)
            total += value
            logps.append(scores)
            gradients = added if gradients is None else _sum(gradients, added)
            mx.eval(gradients)
            done += len(part)
            headway.sign()
            self.progress(done, len(decided), None)
        assert gradients is not None
        return Sums(total, np.concatenate(logps), gradients)

    def add(self, sums: Sums, pairs: int) -> str | None:
        """Add the sums of so many pairs to what waits; or nothing, where this returns what of them
        is not finite."""
        norm = _norm(sums.gradients)
        if not math.isfinite(sums.loss) or not math.isfinite(norm):
            return "loss" if not math.isfinite(sums.loss) else "gradient"
        gradients = sums.gradients
        if self.gradients is not None:
            gradients = _sum(self.gradients, gradients)
        if self.settings.gradient_accumulation_steps > 1:
            # As a checkpoint gives them back: sums over an array go by its order in memory.
            gradients = {name: mx.contiguous(gradient) for name, gradient in gradients.items()}
        mx.eval(gradients)
        self.gradients = gradients
        self.gradient_pairs += pairs
        return None

    def _parts(
        self, loss: SummedLoss, decided: Sequence[JudgedPair]
    ) -> Iterable[tuple[list[JudgedPair], Shape | None]]:
        """Pairs, in order, as many as fit into one pass, and what they are padded to, if they
        are."""
        if not self._compiles:
            return [(part, None) for part in _passes(decided, self.tokens_per_pass)]
        if self._compiled is None:
            self._compiled = CompiledPass(
                self.policy,
                self.reference,
                self.settings,
                self.score,
                lambda batch, reference, confidence: loss(self, batch, reference, confidence),
                self._step_size,
            )
        return self._compiled.groups(decided)

    def _pass(
        self, loss: SummedLoss, pairs: list[JudgedPair], shape: Shape | None = None
    ) -> tuple[float, np.ndarray, Arrays]:
        """Sum of losses, log-probabilities float32 (pairs, policy and reference, chosen and
        rejected), and the gradient of the sum."""
        # One batch for both: layers below the lowest adapter are run once for the same one.
        batch = Batch(
            prompts=[each.pair.prompt_ids for each in pairs],
            completions=[(each.chosen_ids, each.rejected_ids) for each in pairs],
        )
        confidence = mx.array([each.confidence for each in pairs], mx.float32)
        if self._compiled and shape:
            try:
                value, policy, reference, gradients = self._compiled(batch, shape, confidence)
            except Interrupted:
                raise
            except Exception as error:  # whatever a model does that cannot be traced
                self._go_on_uncompiled(error)
            else:
                logps = np.stack([np.array(policy), np.array(reference)], axis=1)
                return float(np.array(value)), logps, gradients
        with learning(self.reference.model, drop_out=False):
            reference = self.score(self.reference, batch)
            mx.eval(reference)
        headway.report("forward", 1.0)
        gradient_of = nn.value_and_grad(self.policy.model, loss)
        with learning(self.policy.model, drop_out=True):
            (value, policy), gradients = gradient_of(self, batch, reference, confidence)
            gradients = flat(gradients)
            _evaluate(value, policy, gradients)
        logps = np.stack([np.array(policy), np.array(reference)], axis=1)
        return float(value.item()), logps, gradients

    def _go_on_uncompiled(self, error: Exception) -> None:
        if self.settings.compile == "on":
            raise UserError(
                f"compile: the update of this model cannot be compiled ({error}); set it to off."
            ) from error
        self._compiled, self._compiles = None, False
        self._warn(f"the update is not compiled, which this model does not allow: {error}")

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
        model = self.policy.model
        weights = flat(model.trainable_parameters())
        model.update(tree(self.optimizer.apply(gradients, weights, scale)))
        mx.eval(model.trainable_parameters(), self.optimizer.state)
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
        self._began = self._shown_at = time.monotonic()
        self._reference = True  # it is read first

    def __call__(self, part: headway.Part, share: float) -> None:
        if self._stop():
            raise Interrupted
        reference, self._reference = self._reference, self._reference and share < 1
        now = time.monotonic()
        if now - self._began < LONG_PASS or now - self._shown_at < LONG_PASS / 10:
            return
        self._shown_at = now
        before, worth = (0.5, 0.5) if part == "back" else (0.0 if reference else 0.25, 0.25)
        pairs = self._done + self._count * (before + worth * share)
        self._progress(self._done, self._total, pairs / self._total)


def _evaluate(value: mx.array, policy: mx.array, gradients: Arrays) -> None:
    """Compute what MLX has only noted down; where that takes long, the gradients from the last
    layer to the first, as they follow from each other, so that one can look on between them."""
    start = time.monotonic()
    mx.eval(value, policy)
    headway.report("forward", 1.0)
    if time.monotonic() - start < LONG_FORWARD:
        mx.eval(gradients)
        return
    layers: dict[int, list[mx.array]] = {}
    for name, array in gradients.items():
        layer = LAYER.search(name)
        layers.setdefault(int(layer[1]) if layer else -1, []).append(array)
    for done, number in enumerate(sorted(layers, reverse=True), 1):
        mx.eval(layers[number])
        headway.report("back", done / len(layers))


def log_probs(batch: AnyBatch, policy: mx.array, reference: mx.array) -> LogProbs:
    """The inputs of the loss, one of each per pair.

    Args:
        policy, reference: float32 (pairs, 2), log-probabilities of the chosen and of the rejected
            completion.
    """
    tokens = batch.completion_tokens
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


def _means(
    decided: Sequence[JudgedPair], online: Sequence[bool], logps: np.ndarray, beta: float
) -> dict[str, float]:
    """`step_means` of the policy's own pairs; of the others where there are no such, less what
    tells of the policy only on text that it wrote itself."""
    if any(online):
        own = [each for each, is_own in zip(decided, online, strict=True) if is_own]
        return step_means(own, logps[np.array(online)], beta)
    means = step_means(decided, logps, beta)
    return {name: mean for name, mean in means.items() if name not in ("kl", "entropy")}


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
