"""Log-probabilities of completions under a plain model, and their gradient, in numpy.

The counterpart of `engine.scoring` for models that `engine.plain_model` computes and that train
LoRA adapters; MLX sees it as one operation. A prompt and its completions are columns that stand
together, without padding: a completion's tokens see the prompt and their own past. Adapters are
merged into the weights, so that they cost no more than their own gradient.

Notation of the backward pass: `d_x` is the derivative of the weighted sum of log-probabilities
with respect to `x`. With y = (W + s (A B)') x, where A is (in, rank) and B (rank, out):
d_x = W' d_y, d_A = s x (B d_y)', d_B = s (A' x) d_y'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.lora import LoRALinear

from engine import arrays
from engine.plain_model import Layer, Linear, Norm, PlainModel, linears, plain, rotated
from engine.scoring import VALUES_PER_CHUNK, Scored

Gradients = dict[tuple[int, str], tuple[np.ndarray, np.ndarray]]  # by layer and product


def completion_logps(model: nn.Module, scored: Scored) -> mx.array:
    """Sum of the log-probabilities of each completion's tokens.

    Returns:
        float32 (prompts, completions of each). Differentiable in the adapters of the model.
    """
    read = plain(model)
    layout = lay_out(read, scored)
    shape = (len(scored.prompts), scored.copies)
    found = {
        (number, name): module
        for number, layer in enumerate(_layers(model))
        for name, module in linears(layer).items()
        if type(module) is LoRALinear
    }
    if not found:
        return mx.array(Pass(read, layout, lowest=len(read.layers)).logps.reshape(shape))
    lowest = min(number for number, _ in found)
    done: list[Pass] = []

    @mx.custom_function
    def scores(*_: mx.array) -> mx.array:
        done[:] = [Pass(read, layout, lowest)]
        return mx.array(done[0].logps.reshape(shape))

    @scores.vjp
    def gradient(primals: object, cotangent: mx.array, output: object) -> tuple[mx.array, ...]:
        gradients = done.pop().backward(np.array(cotangent).reshape(-1))
        return tuple(mx.array(each) for key in found for each in gradients[key])

    result: Any = scores(
        *(array for each in found.values() for array in (each.lora_a, each.lora_b))
    )
    return result


def trains_adapters_alone(model: nn.Module) -> bool:
    """Whether all that is trained are adapters without dropout, which have their gradient here."""
    adapters = [
        module
        for layer in _layers(model)
        for module in linears(layer).values()
        if type(module) is LoRALinear and module.dropout._p_1 == 1
    ]
    return 0 < 2 * len(adapters) == len(arrays.flat(model.trainable_parameters()))


def _layers(model: Any) -> Sequence[Any]:
    return model.model.layers


# -- the layout ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """The tokens of one prompt and its completions, as columns."""

    at: slice
    mask: np.ndarray  # (tokens, tokens), minus infinity where a token (row) must not look


@dataclass(frozen=True, slots=True)
class Layout:
    """How prompts and completions lie in the columns of one array."""

    ids: np.ndarray  # (columns,)
    groups: Sequence[Group]
    turns: tuple[np.ndarray, np.ndarray]  # cosine and sine, (width / 2, columns) each
    predicts: np.ndarray  # (tokens,) column whose state predicts each scored token
    targets: np.ndarray  # (tokens,) those tokens
    rows: np.ndarray  # (tokens,) number of the completion that each is of
    copies: int


def lay_out(model: PlainModel, scored: Scored) -> Layout:
    """Put prompts and the completions' inputs side by side, without padding."""
    ids, positions, predicts, targets, rows = ([] for _ in range(5))
    groups, row = [], 0
    for prompt, completions in zip(scored.prompts, scored.completions, strict=True):
        start = len(ids)
        ids += prompt
        positions += range(len(prompt))
        branches = [len(prompt)]
        for completion in completions:
            predicts.append(start + len(prompt) - 1)
            predicts += range(len(ids), len(ids) + len(completion) - 1)
            targets += completion
            rows += [row] * len(completion)
            ids += completion[:-1]
            positions += range(len(prompt), len(prompt) + len(completion) - 1)
            branches.append(len(completion) - 1)
            row += 1
        groups.append(Group(slice(start, len(ids)), _branched(branches)))
    cosine, sine = model.turns(max(positions) + 1)
    return Layout(
        ids=np.array(ids),
        groups=groups,
        turns=(cosine[:, positions], sine[:, positions]),
        predicts=np.array(predicts),
        targets=np.array(targets),
        rows=np.array(rows),
        copies=scored.copies,
    )


def _branched(lengths: Sequence[int]) -> np.ndarray:
    """The mask of a prompt's tokens and those of its completions, whose lengths these are."""
    branch = np.repeat(np.arange(len(lengths)), lengths)
    seen = (branch[:, None] == branch) | (branch == 0)
    return np.where(np.tri(len(branch), dtype=bool) & seen, np.float32(0), np.float32(-np.inf))


# -- forward and back ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What the backward pass of a layer needs; (features, columns) where not said otherwise."""

    x: np.ndarray
    size: np.ndarray  # root mean square of x, (1, columns)
    read: np.ndarray  # x normed: what attention reads
    raw: np.ndarray  # queries and keys before their norm, (heads, width, columns)
    raw_size: np.ndarray | None
    turned: np.ndarray  # queries and keys, (heads, width, columns)
    values: np.ndarray  # (kv heads, width, columns)
    shares: list[
        np.ndarray
    ]  # of attention, a group each: (kv heads, heads of each, tokens, tokens)
    mixed: np.ndarray
    middle: np.ndarray  # x after attention
    middle_size: np.ndarray
    fed: np.ndarray  # it normed: what the feed-forward part reads
    gate: np.ndarray
    opened: np.ndarray  # sigmoid of the gate
    up: np.ndarray


class Pass:
    """A forward pass, and all that the backward one needs of the layers from `lowest` up."""

    def __init__(self, model: PlainModel, layout: Layout, lowest: int) -> None:
        self._model = model
        self._layout = layout
        self._lowest = lowest
        self._seen: dict[int, Seen] = {}
        with np.errstate(over="ignore"):  # exp in a gate far below zero, which is then 0
            x = np.ascontiguousarray(model.embedding[layout.ids].T)
            for number, layer in enumerate(model.layers):
                x, seen = self._through(layer, x)
                if number >= lowest:
                    self._seen[number] = seen
        self._last = x
        logps = np.concatenate([self._logps(part)[0] for part in self._parts()])
        # Sums of the log-probabilities by completion, float32 (completions,).
        self.logps = np.bincount(layout.rows, logps).astype(np.float32)

    def backward(self, weights: np.ndarray) -> Gradients:
        """Gradient of the sum of log-probabilities, weighted (completions,), in each adapter."""
        gradients: Gradients = {}
        d_x = self._back_to_last(weights[self._layout.rows].astype(np.float32))
        for number in sorted(self._seen, reverse=True):
            d_x = self._back(number, d_x, gradients)
        return gradients

    def _through(self, layer: Layer, x: np.ndarray) -> tuple[np.ndarray, Seen]:
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
        mixed = np.empty((kv, heads // kv, width, x.shape[1]), np.float32)
        shares = []
        for group in layout.groups:
            queries, keys, read_values = self._parts_of(turned, values, group)
            share = queries.swapaxes(-1, -2) @ keys
            share *= model.scale
            share += group.mask
            share -= share.max(axis=-1, keepdims=True)
            np.exp(share, out=share)
            share /= share.sum(axis=-1, keepdims=True)
            mixed[..., group.at] = read_values @ share.swapaxes(-1, -2)
            shares.append(share)
        mixed = mixed.reshape(heads * width, -1)
        middle = x + layer.o(mixed)
        fed, middle_size = layer.mlp_norm.with_size(middle)
        gate, up = layer.gate(fed), layer.up(fed)
        opened = np.negative(gate)
        np.exp(opened, out=opened)
        opened += 1
        np.reciprocal(opened, out=opened)
        active = gate * opened
        active *= up
        result = layer.down(active)
        result += middle
        seen = Seen(
            x, size, read, raw, raw_size, turned, values, shares, mixed,
            middle, middle_size, fed, gate, opened, up,
        )  # fmt: skip
        return result, seen

    def _back(self, number: int, d_x: np.ndarray, gradients: Gradients) -> np.ndarray:
        """Through one layer: the derivative by what came in, of that by what came out."""
        layer, seen = self._model.layers[number], self._seen.pop(number)
        heads, width = self._model.heads, self._model.width

        def back(name: str, x: np.ndarray, d_y: np.ndarray) -> np.ndarray:
            linear: Linear = getattr(layer, name)
            if linear.adapter is not None:
                gradients[number, name] = _adapter_gradient(linear, x, d_y)
            return linear.weight.T @ d_y

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
        d_turned = np.empty(seen.turned.shape, np.float32)
        d_queries = d_turned[:heads].reshape(d_mixed.shape)
        d_values = np.empty(seen.values.shape, np.float32)
        for group, share in zip(self._layout.groups, seen.shares, strict=True):
            queries, keys, values = self._parts_of(seen.turned, seen.values, group)
            d_own = d_mixed[..., group.at]
            d_values[..., group.at] = (d_own @ share).sum(axis=1)
            d_scores = d_own.swapaxes(-1, -2) @ values
            d_scores -= np.einsum("...k,...k->...", d_scores, share)[..., None]
            d_scores *= share
            d_scores *= model.scale
            d_queries[..., group.at] = keys @ d_scores.swapaxes(-1, -2)
            d_turned[heads:][..., group.at] = (queries @ d_scores).sum(axis=1)
        return d_turned, d_values

    def _parts_of(
        self, turned: np.ndarray, values: np.ndarray, group: Group
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries (kv heads, heads of each, width, tokens), keys and values (kv heads, 1, width,
        tokens) of a group."""
        heads, kv = self._model.heads, self._model.kv_heads
        queries = turned[:heads].reshape(kv, heads // kv, self._model.width, -1)
        return (
            queries[..., group.at],
            turned[heads:, None, :, group.at],
            values[:, None, :, group.at],
        )

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


def _adapter_gradient(
    linear: Linear, x: np.ndarray, d_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """d_A = s x (B d_y)' and d_B = s (A' x) d_y'."""
    adapter = linear.adapter
    assert adapter is not None
    d_a = x @ (adapter.b @ d_y).T
    d_b = (adapter.a.T @ x) @ d_y.T
    return adapter.scale * d_a, adapter.scale * d_b


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
