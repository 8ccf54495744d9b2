"""Forward and back through a model, for the log-probabilities of completions.

Notation of the backward pass: `d_x` is the derivative of the weighted sum of log-probabilities
with respect to `x`. With y = (W + s (A B)') x, where A is (in, rank) and B (rank, out):
d_x = W' d_y, d_A = s x (B d_y)', d_B = s (A' x) d_y'.
"""

from dataclasses import dataclass

import numpy as np

from engine.compute import headway, limits
from engine.compute.numpy.layout import Block, Layout
from engine.compute.numpy.model import Layer, Linear, NumpyModel
from engine.compute.numpy.pointwise import gated, gated_back, rotated
from engine.compute.numpy.products import multiply

Gradient = tuple[np.ndarray, np.ndarray]  # in an adapter's two arrays
Gradients = dict[tuple[int, str], Gradient]  # by layer and product


@dataclass(frozen=True, slots=True)
class AttentionActivations:
    """What the backward pass of a layer's attention needs and cannot cheaply find again;
    (features, columns) where not said otherwise. Sizes are root mean squares, (..., 1, columns)."""

    x: np.ndarray  # what the layer read
    x_size: np.ndarray
    raw: np.ndarray  # queries and keys before their norm, (heads, width, columns)
    raw_size: np.ndarray | None
    rotated_qk: np.ndarray  # queries, scaled, and keys, (heads, width, columns)
    values: np.ndarray  # (kv heads, width, columns)
    attn_weights: list[np.ndarray]  # by block (kv heads, heads of each, tokens, seen)
    attn_out: np.ndarray


@dataclass(frozen=True, slots=True)
class MlpActivations:
    """The same of its feed-forward part."""

    x: np.ndarray  # what attention made, what the layer read included
    x_size: np.ndarray
    gate: np.ndarray
    up: np.ndarray


class ForwardBackward:
    """A forward pass, and all that the backward one needs of the layers from `lowest` up."""

    def __init__(
        self,
        model: NumpyModel,
        layout: Layout,
        lowest: int,
        recompute: bool = False,
        frozen_layers: int = 0,
        above_frozen: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            frozen_layers: layers whose result is kept as `above_frozen`.
            above_frozen: that result, where it is known; (features, columns).
        """
        self._model = model
        self._layout = layout
        self._lowest = lowest
        # By layer; of one that is to be found anew, what it read.
        self._seen: dict[int, tuple[AttentionActivations, MlpActivations] | np.ndarray] = {}
        # Derivatives of each log-probability by the normed state it is read from, (features,
        # tokens), part by part.
        self._slopes: list[np.ndarray] = []
        longest = max(block.at.stop - block.at.start for block in layout.blocks)
        # Minus infinity where a token (row) must not look.
        self._future = np.where(np.tri(longest, dtype=bool), np.float32(0), np.float32(-np.inf))
        with np.errstate(over="ignore", invalid="ignore"):  # a gate far below zero; broken weights
            if above_frozen is None:
                above_frozen = np.ascontiguousarray(model.embedding[layout.ids].T)
                for number in range(frozen_layers):
                    above_frozen = self._through(number, above_frozen)[0]
            self.above_frozen = x = above_frozen
            for number in range(frozen_layers, len(model.layers)):
                read, (x, seen) = x, self._through(number, x)
                if number >= lowest:
                    self._seen[number] = read if recompute else seen
                headway.report("forward", (number + 1) / len(model.layers))
            self._last = x
            logps = self._logps()
        # Sums of the log-probabilities by completion, float32 (completions,).
        self.logps = np.bincount(layout.rows, logps).astype(np.float32)

    def backward(self, weights: np.ndarray) -> Gradients:
        """Gradient of the sum of log-probabilities, weighted (completions,), in each adapter."""
        gradients: Gradients = {}
        with np.errstate(over="ignore", invalid="ignore"):
            d_x = self._back_to_last(weights[self._layout.rows].astype(np.float32))
            count = len(self._seen)
            for done, number in enumerate(sorted(self._seen, reverse=True), 1):
                d_x = self._back(number, d_x, gradients)
                headway.report("back", done / count)
        return gradients

    def _through(
        self, number: int, x: np.ndarray
    ) -> tuple[np.ndarray, tuple[AttentionActivations, MlpActivations]]:
        """What a layer makes of x (features, columns), and on the way to it; the last one of the
        query positions alone."""
        attention, mlp = self._within(number, x)
        result = self._model.layers[number].down(gated(mlp.gate, mlp.up))
        result += mlp.x
        return result, (attention, mlp)

    def _within(self, number: int, x: np.ndarray) -> tuple[AttentionActivations, MlpActivations]:
        """What a layer makes of x (features, columns), but for its last product."""
        model, layout = self._model, self._layout
        layer, heads, kv, width = model.layers[number], model.heads, model.kv_heads, model.width
        x_size = layer.input_norm.size(x)
        read = layer.input_norm.of(x, x_size)
        raw = np.empty((heads + kv, width, x.shape[1]), np.float32)
        layer.q.into(read, raw[:heads].reshape(heads * width, -1))
        layer.k.into(read, raw[heads:].reshape(kv * width, -1))
        values = layer.v(read).reshape(kv, width, -1)
        normed, raw_size = raw, None
        if layer.qk_norm is not None:
            raw_size = layer.qk_norm.size(raw)
            normed = layer.qk_norm.of(raw, raw_size)
        rotated_qk = rotated(normed, *layout.cos_sin)
        rotated_qk[:heads] *= model.scale
        attn_out, attn_weights = self._attend(rotated_qk, values)
        middle = layer.o(attn_out)
        middle += x
        if number == len(model.layers) - 1:
            middle = np.take(middle, layout.query_positions, axis=1)
        middle_size = layer.mlp_norm.size(middle)
        read = layer.mlp_norm.of(middle, middle_size)
        return (
            AttentionActivations(
                x, x_size, raw, raw_size, rotated_qk, values, attn_weights, attn_out
            ),
            MlpActivations(middle, middle_size, layer.gate(read), layer.up(read)),
        )

    def _back(self, number: int, d_x: np.ndarray, gradients: Gradients) -> np.ndarray:
        """Through one layer: the derivative by what came in, of that by what came out."""
        layer, activations = self._model.layers[number], self._seen.pop(number)
        if isinstance(activations, np.ndarray):
            activations = self._within(number, activations)
        attention, mlp = activations
        own = self._mlp_back(layer, mlp, d_x)
        del mlp, activations  # attention can use their memory
        if number == len(self._model.layers) - 1:
            d_last, d_x = d_x, np.zeros(attention.x.shape, np.float32)
            d_x[:, self._layout.query_positions] = d_last
        own |= self._attention_back(layer, attention, d_x, onward=number > self._lowest)
        gradients.update({(number, name): each for name, each in own.items()})
        return d_x

    def _mlp_back(self, layer: Layer, seen: MlpActivations, d_x: np.ndarray) -> dict[str, Gradient]:
        """Through the feed-forward part of a layer; d_x is changed, gradients are returned."""
        down = LinearBackward(layer.down, d_x)
        d_active = down.back()
        gated_back(seen.gate, seen.up, d_active)
        active, d_gate, d_up = seen.up, seen.gate, d_active
        gradients = _adapter_gradients(active, down=down)
        gate, up = LinearBackward(layer.gate, d_gate), LinearBackward(layer.up, d_up)
        gradients |= _adapter_gradients(layer.mlp_norm.of(seen.x, seen.x_size), gate=gate, up=up)
        d_read = gate.back(add_to=up.back())
        d_x += layer.mlp_norm.back(seen.x, seen.x_size, d_read)
        return gradients

    def _attention_back(
        self, layer: Layer, seen: AttentionActivations, d_x: np.ndarray, *, onward: bool
    ) -> dict[str, Gradient]:
        """Through attention; gradients are returned, and d_x is changed where it goes onward."""
        heads, kv, width = self._model.heads, self._model.kv_heads, self._model.width
        o = LinearBackward(layer.o, d_x)
        gradients = _adapter_gradients(seen.attn_out, o=o)
        d_rotated, d_values = self._attend_back(seen, o.back())
        cosine, sine = self._layout.cos_sin
        d_raw = rotated(d_rotated, cosine, -sine)
        if layer.qk_norm is not None and seen.raw_size is not None:
            d_raw = layer.qk_norm.back(seen.raw, seen.raw_size, d_raw)
        q = LinearBackward(layer.q, d_raw[:heads].reshape(heads * width, -1))
        k = LinearBackward(layer.k, d_raw[heads:].reshape(kv * width, -1))
        v = LinearBackward(layer.v, d_values.reshape(kv * width, -1))
        gradients |= _adapter_gradients(layer.input_norm.of(seen.x, seen.x_size), q=q, k=k, v=v)
        if onward:
            d_read = v.back(add_to=k.back(add_to=q.back()))
            d_x += layer.input_norm.back(seen.x, seen.x_size, d_read)
        return gradients

    # -- attention -----------------------------------------------------------------------------

    def _attend(
        self, rotated_qk: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Values (kv heads, width, columns) mixed as queries and keys (heads, width, columns) say,
        (features, columns), and the weights of attention of each block."""
        model, layout = self._model, self._layout
        heads, kv, width = model.heads, model.kv_heads, model.width
        attn_out = np.empty((kv, heads // kv, width, rotated_qk.shape[-1]), np.float32)
        attn_weights = []
        for block in layout.blocks:
            queries, keys, read_values = self._parts_of(rotated_qk, values, block)
            share = queries.swapaxes(-1, -2) @ keys
            tokens = share.shape[-2]
            share[..., -tokens:] += self._future[:tokens, :tokens]
            share -= share.max(axis=-1, keepdims=True)
            np.exp(share, out=share)
            share /= share.sum(axis=-1, keepdims=True)
            attn_out[..., block.at] = read_values @ share.swapaxes(-1, -2)
            attn_weights.append(share)
        return attn_out.reshape(heads * width, -1), attn_weights

    def _attend_back(
        self, seen: AttentionActivations, d_attn_out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives by rotated queries and keys (heads, width, columns), and by values."""
        model = self._model
        heads, kv, width = model.heads, model.kv_heads, model.width
        d_attn_out = d_attn_out.reshape(kv, heads // kv, width, -1)
        d_rotated = np.zeros(seen.rotated_qk.shape, np.float32)
        d_queries = d_rotated[:heads].reshape(d_attn_out.shape)
        d_values = np.zeros(seen.values.shape, np.float32)
        for block, share in zip(self._layout.blocks, seen.attn_weights, strict=True):
            queries, keys, values = self._parts_of(seen.rotated_qk, seen.values, block)
            d_own = d_attn_out[..., block.at]
            block.add((d_own @ share).sum(axis=1), d_values)
            d_scores = d_own.swapaxes(-1, -2) @ values
            d_scores -= np.einsum("...k,...k->...", d_scores, share)[..., None]
            d_scores *= share
            d_queries[..., block.at] = keys @ d_scores.swapaxes(-1, -2)
            block.add((queries @ d_scores).sum(axis=1), d_rotated[heads:])
        d_queries *= model.scale
        return d_rotated, d_values

    def _parts_of(
        self, rotated_qk: np.ndarray, values: np.ndarray, block: Block
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries (kv heads, heads of each, width, tokens), keys and values (kv heads, 1, width,
        seen) of a block."""
        heads, kv = self._model.heads, self._model.kv_heads
        queries = rotated_qk[:heads].reshape(kv, heads // kv, self._model.width, -1)
        keys, read = block.of(rotated_qk[heads:]), block.of(values)
        return queries[..., block.at], keys[:, None], read[:, None]

    # -- the head ----------------------------------------------------------------------------

    def _logps(self) -> np.ndarray:
        """Log-probabilities of the scored tokens, (tokens,)."""
        # In parts, so that a large vocabulary never stands in memory for all.
        size = max(1, limits.LOGIT_VALUES // len(self._model.head.weight))
        parts = [slice(at, at + size) for at in range(0, len(self._layout.targets), size)]
        return np.concatenate([self._logps_of(part) for part in parts])

    def _logps_of(self, part: slice) -> np.ndarray:
        targets = self._layout.targets[part]
        picked = targets, np.arange(len(targets))
        logits = self._model.head(self._model.norm(self._last[:, self._layout.predicts[part]]))
        logits -= logits.max(axis=0)
        logps = logits[picked]
        np.exp(logits, out=logits)
        # In float64: one after the other, the numbers of a vocabulary lose 1e-4 of their sum.
        total = logits.sum(axis=0, dtype=np.float64)
        if self._seen:
            logits /= -total.astype(np.float32)
            logits[picked] += 1
            self._slopes.append(self._model.head.weight.T @ logits)
        return logps - np.log(total)

    def _back_to_last(self, weights: np.ndarray) -> np.ndarray:
        """Derivative by the last states, (features, queries); weights (tokens,)."""
        d_normed = np.concatenate(self._slopes, axis=1)
        d_normed *= weights
        # Of one copy, each state predicts at most one token.
        d_last, x = np.zeros_like(self._last), self._last
        copies = self._layout.rows % self._layout.copies
        for copy in range(self._layout.copies):
            d_last[:, self._layout.predicts[copies == copy]] += d_normed[:, copies == copy]
        return self._model.norm.back(x, self._model.norm.size(x), d_last)


class LinearBackward:
    """The derivative by what a product made, and from there back."""

    def __init__(self, linear: Linear, d_y: np.ndarray) -> None:
        self.linear = linear
        self.d_y = d_y
        if (adapter := linear.adapter) is not None:
            self.d_low = adapter.b @ d_y
            self.d_low *= adapter.scale

    def back(self, add_to: np.ndarray | None = None) -> np.ndarray:
        """The derivative by what the product read (in, columns), added to another if there is."""
        linear = self.linear
        d_x = add_to
        if d_x is None:
            d_x = np.empty((linear.weight.shape[1], self.d_y.shape[1]), np.float32)
        multiply(linear.weight.T, self.d_y, d_x, add=add_to is not None)
        if linear.adapter is not None and not linear.merged:
            multiply(linear.adapter.a, self.d_low, d_x, add=True)
        return d_x


def _adapter_gradients(x: np.ndarray, **products: LinearBackward) -> dict[str, Gradient]:
    """Gradients by name, in the adapters of products that all read x (in, columns)."""
    adapters = {name: each.linear.adapter for name, each in products.items() if each.linear.adapter}
    if not adapters:
        return {}
    low = np.concatenate([each.a for each in adapters.values()], axis=1).T @ x
    d_a = x @ np.concatenate([products[name].d_low for name in adapters]).T
    gradients, start = {}, 0
    for name, adapter in adapters.items():
        part = slice(start, start + len(adapter.b))
        low[part] *= adapter.scale
        gradients[name] = d_a[:, part], (products[name].d_y @ low[part].T).T
        start = part.stop
    return gradients
