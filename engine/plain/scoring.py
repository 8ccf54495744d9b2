"""Log-probabilities of completions under a plain model, and their gradient, in numpy.

The counterpart of `engine.scoring` for models that `engine.plain.model` computes and that train
LoRA adapters; MLX sees it as one operation. Adapters are merged into the weights of a small
model, so that they cost no more than their own gradient.

Notation of the backward pass: `d_x` is the derivative of the weighted sum of log-probabilities
with respect to `x`. With y = (W + s (A B)') x, where A is (in, rank) and B (rank, out):
d_x = W' d_y, d_A = s x (B d_y)', d_B = s (A' x) d_y'.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.lora import LoRALinear

from engine import arrays
from engine.plain.layout import Block, Layout, lay_out
from engine.plain.model import Layer, Linear, Norm, PlainModel, linears, plain, rotated
from engine.plain.threads import side_by_side, split
from engine.scoring import VALUES_PER_CHUNK, Scored

Gradients = dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]  # by layer and product


@dataclass(slots=True)
class Trunk:
    """The layers below the lowest adapter, and what they make of a batch once they have read it:
    of a policy and its reference the same."""

    layers: int
    states: list[np.ndarray] = field(default_factory=list)


def trunk_of(policy: nn.Module) -> Trunk:
    """That of a model with adapters, which has read nothing."""
    return Trunk(min(number for number, _ in _adapters(policy)))


def completion_logps(
    model: nn.Module, scored: Scored, *, recompute: bool = False, trunk: Trunk | None = None
) -> mx.array:
    """Sum of the log-probabilities of each completion's tokens.

    Args:
        recompute: keep only what each layer reads for the backward pass, which finds the rest
            anew.
        trunk: of a model that shares those layers; asked of the same batch again, they are not
            run again.

    Returns:
        float32 (prompts, completions of each). Differentiable in the adapters of the model.
    """
    read = plain(model)
    layouts = [lay_out(read, part) for part in _parts_of(scored)]
    found = _adapters(model)
    lowest = min((number for number, _ in found), default=len(read.layers))
    trunk = trunk or Trunk(0)

    def passes() -> list[Pass]:
        ready = trunk.states or [None] * len(layouts)
        done = side_by_side(
            [
                partial(Pass, read, layout, lowest, recompute, trunk.layers, states)
                for layout, states in zip(layouts, ready, strict=True)
            ]
        )
        trunk.states = [each.above_trunk for each in done]
        return done

    def logps(passes: list[Pass]) -> mx.array:
        return mx.array(np.concatenate([each.logps for each in passes]).reshape(-1, scored.copies))

    if not found:
        return logps(passes())
    done: list[Pass] = []

    @mx.custom_function
    def scores(*_: mx.array) -> mx.array:
        done[:] = passes()
        return logps(done)

    @scores.vjp
    def gradient(primals: object, cotangent: mx.array, output: object) -> tuple[mx.array, ...]:
        ends = np.cumsum([len(each.logps) for each in done])
        weights = np.split(np.array(cotangent).reshape(-1), ends[:-1])
        parts = side_by_side(
            [partial(each.backward, own) for each, own in zip(done, weights, strict=True)]
        )
        done.clear()
        return tuple(
            mx.array(sum(arrays))
            for key in found
            for arrays in zip(*(part[key] for part in parts), strict=True)
        )

    result: Any = scores(
        *(array for each in found.values() for array in (each.lora_a, each.lora_b))
    )
    return result


def _adapters(model: nn.Module) -> dict[tuple[int, str], LoRALinear]:
    """By layer and product."""
    return {
        (number, name): module
        for number, layer in enumerate(_layers(model))
        for name, module in linears(layer).items()
        if type(module) is LoRALinear
    }


def _parts_of(scored: Scored) -> list[Scored]:
    """The prompts with their completions, a part for each thread."""
    sizes = [
        len(prompt) + sum(map(len, completions))
        for prompt, completions in zip(scored.prompts, scored.completions, strict=True)
    ]
    return [Scored(scored.prompts[part], scored.completions[part]) for part in split(sizes)]


def trains_adapters_alone(model: nn.Module) -> bool:
    """Whether all that is trained are adapters without dropout, which have their gradient here."""
    adapters = [each for each in _adapters(model).values() if each.dropout._p_1 == 1]
    return 0 < 2 * len(adapters) == len(arrays.flat(model.trainable_parameters()))


def _layers(model: Any) -> Sequence[Any]:
    return model.model.layers


# -- forward and back ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What the backward pass of a layer needs; (features, columns) where not said otherwise."""

    x: np.ndarray
    size: np.ndarray  # root mean square of x, (1, columns)
    read: np.ndarray  # x normed: what attention reads
    raw: np.ndarray  # queries and keys before their norm, (heads, width, columns)
    raw_size: np.ndarray | None
    turned: np.ndarray  # queries, scaled, and keys, (heads, width, columns)
    values: np.ndarray  # (kv heads, width, columns)
    shares: list[np.ndarray]  # of attention: by block (kv heads, heads of each, tokens, seen)
    mixed: np.ndarray
    middle: np.ndarray  # x after attention
    middle_size: np.ndarray
    fed: np.ndarray  # it normed: what the feed-forward part reads
    gate: np.ndarray
    opened: np.ndarray  # sigmoid of the gate
    up: np.ndarray

    def active(self) -> np.ndarray:
        """What the last product of the layer reads."""
        active = self.gate * self.opened
        active *= self.up
        return active


class Pass:
    """A forward pass, and all that the backward one needs of the layers from `lowest` up."""

    def __init__(
        self,
        model: PlainModel,
        layout: Layout,
        lowest: int,
        recompute: bool = False,
        trunk: int = 0,
        above_trunk: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            trunk: layers whose result is kept as `above_trunk`.
            above_trunk: that result, where it is known; (features, columns).
        """
        self._model = model
        self._layout = layout
        self._lowest = lowest
        self._seen: dict[int, Seen | np.ndarray] = {}  # an array: what the layer read
        longest = max(block.at.stop - block.at.start for block in layout.blocks)
        # Minus infinity where a token (row) must not look.
        self._future = np.where(np.tri(longest, dtype=bool), np.float32(0), np.float32(-np.inf))
        with np.errstate(over="ignore", invalid="ignore"):  # a gate far below zero; broken weights
            if above_trunk is None:
                above_trunk = np.ascontiguousarray(model.embedding[layout.ids].T)
                for layer in model.layers[:trunk]:
                    above_trunk = self._through(layer, above_trunk)[0]
            self.above_trunk = x = above_trunk
            for number, layer in enumerate(model.layers[trunk:], trunk):
                read, (x, seen) = x, self._through(layer, x)
                if number >= lowest:
                    self._seen[number] = read if recompute else seen
            self._last = x
            logps = np.concatenate([self._logps(part)[0] for part in self._parts()])
        # Sums of the log-probabilities by completion, float32 (completions,).
        self.logps = np.bincount(layout.rows, logps).astype(np.float32)

    def backward(self, weights: np.ndarray) -> Gradients:
        """Gradient of the sum of log-probabilities, weighted (completions,), in each adapter."""
        gradients: Gradients = {}
        with np.errstate(over="ignore", invalid="ignore"):
            d_x = self._back_to_last(weights[self._layout.rows].astype(np.float32))
            for number in sorted(self._seen, reverse=True):
                d_x = self._back(number, d_x, gradients)
        return gradients

    def _through(self, layer: Layer, x: np.ndarray) -> tuple[np.ndarray, Seen]:
        """What a layer makes of x (features, columns), and on the way to it."""
        seen = self._within(layer, x)
        result = layer.down(seen.active())
        result += seen.middle
        return result, seen

    def _within(self, layer: Layer, x: np.ndarray) -> Seen:
        """What a layer makes of x (features, columns), but for its last product."""
        model, layout = self._model, self._layout
        heads, kv, width = model.heads, model.kv_heads, model.width
        read, size = layer.input_norm.with_size(x)
        raw = np.empty((heads + kv, width, x.shape[1]), np.float32)
        layer.q.into(read, raw[:heads].reshape(heads * width, -1))
        layer.k.into(read, raw[heads:].reshape(kv * width, -1))
        values = layer.v(read).reshape(kv, width, -1)
        normed, raw_size = raw, None
        if layer.turned_norm is not None:
            normed, raw_size = layer.turned_norm.with_size(raw)
        turned = rotated(normed, *layout.turns)
        turned[:heads] *= model.scale
        mixed = np.empty((kv, heads // kv, width, x.shape[1]), np.float32)
        shares = []
        for block in layout.blocks:
            queries, keys, read_values = self._parts_of(turned, values, block)
            share = queries.swapaxes(-1, -2) @ keys
            tokens = share.shape[-2]
            share[..., -tokens:] += self._future[:tokens, :tokens]
            share -= share.max(axis=-1, keepdims=True)
            np.exp(share, out=share)
            share /= share.sum(axis=-1, keepdims=True)
            mixed[..., block.at] = read_values @ share.swapaxes(-1, -2)
            shares.append(share)
        mixed = mixed.reshape(heads * width, -1)
        middle = x + layer.o(mixed)
        fed, middle_size = layer.mlp_norm.with_size(middle)
        gate, up = layer.gate(fed), layer.up(fed)
        opened = np.negative(gate)
        np.exp(opened, out=opened)
        opened += 1
        np.reciprocal(opened, out=opened)
        return Seen(
            x, size, read, raw, raw_size, turned, values, shares, mixed,
            middle, middle_size, fed, gate, opened, up,
        )  # fmt: skip

    def _back(self, number: int, d_x: np.ndarray, gradients: Gradients) -> np.ndarray:
        """Through one layer: the derivative by what came in, of that by what came out."""
        layer, seen = self._model.layers[number], self._seen.pop(number)
        if isinstance(seen, np.ndarray):
            seen = self._within(layer, seen)
        heads, width = self._model.heads, self._model.width

        def back(name: str, x: np.ndarray, d_y: np.ndarray) -> np.ndarray:
            linear: Linear = getattr(layer, name)
            d_x = linear.weight.T @ d_y
            if (adapter := linear.adapter) is not None:
                d_low = adapter.b @ d_y
                d_low *= adapter.scale
                low = adapter.a.T @ x
                low *= adapter.scale
                gradients[number, name] = x @ d_low.T, low @ d_y.T
                if not linear.merged:
                    d_x += adapter.a @ d_low
            return d_x

        silu = seen.gate * seen.opened
        d_active = back("down", silu * seen.up, d_x)
        d_up = d_active * silu
        # d silu / d gate = opened (1 + gate (1 - opened)) = opened + silu (1 - opened)
        d_gate = 1 - seen.opened
        d_gate *= silu
        d_gate += seen.opened
        d_gate *= d_active
        d_gate *= seen.up
        d_fed = back("up", seen.fed, d_up)
        d_fed += back("gate", seen.fed, d_gate)
        d_x = d_x + _norm_back(layer.mlp_norm, seen.middle, seen.middle_size, d_fed)
        d_turned, d_values = self._attention_back(seen, back("o", seen.mixed, d_x))
        cosine, sine = self._layout.turns
        d_raw = rotated(d_turned, cosine, -sine)
        if layer.turned_norm is not None and seen.raw_size is not None:
            d_raw = _norm_back(layer.turned_norm, seen.raw, seen.raw_size, d_raw)
        d_read = back("q", seen.read, d_raw[:heads].reshape(heads * width, -1))
        d_read += back("k", seen.read, d_raw[heads:].reshape(len(d_values) * width, -1))
        d_read += back("v", seen.read, d_values.reshape(len(d_values) * width, -1))
        if number > self._lowest:
            d_x += _norm_back(layer.input_norm, seen.x, seen.size, d_read)
        return d_x

    def _attention_back(self, seen: Seen, d_mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives by turned queries and keys (heads, width, columns), and by values."""
        model = self._model
        heads, kv, width = model.heads, model.kv_heads, model.width
        d_mixed = d_mixed.reshape(kv, heads // kv, width, -1)
        d_turned = np.zeros(seen.turned.shape, np.float32)
        d_queries = d_turned[:heads].reshape(d_mixed.shape)
        d_values = np.zeros(seen.values.shape, np.float32)
        for block, share in zip(self._layout.blocks, seen.shares, strict=True):
            queries, keys, values = self._parts_of(seen.turned, seen.values, block)
            d_own = d_mixed[..., block.at]
            block.add((d_own @ share).sum(axis=1), d_values)
            d_scores = d_own.swapaxes(-1, -2) @ values
            d_scores -= np.einsum("...k,...k->...", d_scores, share)[..., None]
            d_scores *= share
            d_queries[..., block.at] = keys @ d_scores.swapaxes(-1, -2)
            block.add((queries @ d_scores).sum(axis=1), d_turned[heads:])
        d_queries *= model.scale
        return d_turned, d_values

    def _parts_of(
        self, turned: np.ndarray, values: np.ndarray, block: Block
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries (kv heads, heads of each, width, tokens), keys and values (kv heads, 1, width,
        seen) of a block."""
        heads, kv = self._model.heads, self._model.kv_heads
        queries = turned[:heads].reshape(kv, heads // kv, self._model.width, -1)
        keys, read = block.of(turned[heads:]), block.of(values)
        return queries[..., block.at], keys[:, None], read[:, None]

    # -- the head ----------------------------------------------------------------------------

    def _parts(self) -> list[slice]:
        """Scored tokens in parts, so that a large vocabulary never stands in memory for all."""
        size = max(1, VALUES_PER_CHUNK // len(self._model.head.weight))
        return [slice(at, at + size) for at in range(0, len(self._layout.targets), size)]

    def _logps(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities of scored tokens, and all shares (vocabulary, tokens)."""
        targets = self._layout.targets[part]
        hidden = self._model.norm(self._last[:, self._layout.predicts[part]])
        logits = self._model.head(hidden)
        logits -= logits.max(axis=0)
        picked = logits[targets, np.arange(len(targets))]
        np.exp(logits, out=logits)
        total = logits.sum(axis=0)
        logits /= total
        return picked - np.log(total), logits

    def _back_to_last(self, weights: np.ndarray) -> np.ndarray:
        """Derivative by the states after the last layer; weights (tokens,)."""
        d_last = np.zeros(self._last.shape, np.float32)
        for part in self._parts():
            columns, targets = self._layout.predicts[part], self._layout.targets[part]
            d_logits = self._logps(part)[1]
            d_logits *= -weights[part]
            d_logits[targets, np.arange(len(targets))] += weights[part]
            d_hidden = self._model.head.weight.T @ d_logits
            x = self._last[:, columns]
            _, size = self._model.norm.with_size(x)
            d_columns = _norm_back(self._model.norm, x, size, d_hidden)
            # Of one copy, each column predicts at most one token.
            copies = self._layout.rows[part] % self._layout.copies
            for copy in range(self._layout.copies):
                d_last[:, columns[copies == copy]] += d_columns[:, copies == copy]
        return d_last


def _norm_back(norm: Norm, x: np.ndarray, size: np.ndarray, d_y: np.ndarray) -> np.ndarray:
    """With n = x / size: d_x = (w d_y - n mean(n w d_y)) / size."""
    weighted = norm.weight * d_y
    normed = x / size
    mean = np.einsum("...ft,...ft->...t", normed, weighted)[..., None, :]
    mean /= x.shape[-2]
    normed *= mean
    weighted -= normed
    weighted /= size
    return weighted
