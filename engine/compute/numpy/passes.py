"""Forward and back through a plain model, for the log-probabilities of completions, in numpy.

Notation of the backward pass: `d_x` is the derivative of the weighted sum of log-probabilities
with respect to `x`. With y = (W + s (A B)') x, where A is (in, rank) and B (rank, out):
d_x = W' d_y, d_A = s x (B d_y)', d_B = s (A' x) d_y'.
"""

from dataclasses import dataclass

import numpy as np

from engine.compute import limits
from engine.compute.numpy.layout import Block, Layout
from engine.compute.numpy.model import Layer, Linear, PlainModel
from engine.compute.numpy.pointwise import gated, gated_back, rotated
from engine.compute.numpy.products import multiply

Gradient = tuple[np.ndarray, np.ndarray]  # in an adapter's two arrays
Gradients = dict[tuple[int, str], Gradient]  # by layer and product


@dataclass(frozen=True, slots=True)
class Attended:
    """What the backward pass of a layer's attention needs and cannot cheaply find again;
    (features, columns) where not said otherwise. Sizes are root mean squares, (..., 1, columns)."""

    x: np.ndarray  # what the layer read
    x_size: np.ndarray
    raw: np.ndarray  # queries and keys before their norm, (heads, width, columns)
    raw_size: np.ndarray | None
    turned: np.ndarray  # queries, scaled, and keys, (heads, width, columns)
    values: np.ndarray  # (kv heads, width, columns)
    shares: list[np.ndarray]  # of attention: by block (kv heads, heads of each, tokens, seen)
    mixed: np.ndarray


@dataclass(frozen=True, slots=True)
class Fed:
    """The same of its feed-forward part."""

    x: np.ndarray  # what attention made, what the layer read included
    x_size: np.ndarray
    gate: np.ndarray
    up: np.ndarray


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
        # By layer; of one that is to be found anew, what it read.
        self._seen: dict[int, tuple[Attended, Fed] | np.ndarray] = {}
        # Derivatives of each log-probability by the normed state it is read from, (features,
        # tokens), part by part.
        self._slopes: list[np.ndarray] = []
        longest = max(block.at.stop - block.at.start for block in layout.blocks)
        # Minus infinity where a token (row) must not look.
        self._future = np.where(np.tri(longest, dtype=bool), np.float32(0), np.float32(-np.inf))
        with np.errstate(over="ignore", invalid="ignore"):  # a gate far below zero; broken weights
            if above_trunk is None:
                above_trunk = np.ascontiguousarray(model.embedding[layout.ids].T)
                for number in range(trunk):
                    above_trunk = self._through(number, above_trunk)[0]
            self.above_trunk = x = above_trunk
            for number in range(trunk, len(model.layers)):
                read, (x, seen) = x, self._through(number, x)
                if number >= lowest:
                    self._seen[number] = read if recompute else seen
            self._last = x
            logps = self._logps()
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

    def _through(self, number: int, x: np.ndarray) -> tuple[np.ndarray, tuple[Attended, Fed]]:
        """What a layer makes of x (features, columns), and on the way to it; the last one of the
        columns that are asked for alone."""
        attended, fed = self._within(number, x)
        result = self._model.layers[number].down(gated(fed.gate, fed.up))
        result += fed.x
        return result, (attended, fed)

    def _within(self, number: int, x: np.ndarray) -> tuple[Attended, Fed]:
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
        if layer.turned_norm is not None:
            raw_size = layer.turned_norm.size(raw)
            normed = layer.turned_norm.of(raw, raw_size)
        turned = rotated(normed, *layout.turns)
        turned[:heads] *= model.scale
        mixed, shares = self._attend(turned, values)
        middle = layer.o(mixed)
        middle += x
        if number == len(model.layers) - 1:
            middle = np.take(middle, layout.asked, axis=1)
        middle_size = layer.mlp_norm.size(middle)
        read = layer.mlp_norm.of(middle, middle_size)
        return (
            Attended(x, x_size, raw, raw_size, turned, values, shares, mixed),
            Fed(middle, middle_size, layer.gate(read), layer.up(read)),
        )

    def _back(self, number: int, d_x: np.ndarray, gradients: Gradients) -> np.ndarray:
        """Through one layer: the derivative by what came in, of that by what came out."""
        layer, kept = self._model.layers[number], self._seen.pop(number)
        attended, fed = self._within(number, kept) if isinstance(kept, np.ndarray) else kept
        found = self._fed_back(layer, fed, d_x)
        del fed, kept  # attention can use their memory
        if number == len(self._model.layers) - 1:
            d_asked, d_x = d_x, np.zeros(attended.x.shape, np.float32)
            d_x[:, self._layout.asked] = d_asked
        found |= self._attended_back(layer, attended, d_x, onward=number > self._lowest)
        gradients.update({(number, name): each for name, each in found.items()})
        return d_x

    def _fed_back(self, layer: Layer, seen: Fed, d_x: np.ndarray) -> dict[str, Gradient]:
        """Through the feed-forward part of a layer; d_x is changed, gradients are returned."""
        down = Made(layer.down, d_x)
        d_active = down.back()
        gated_back(seen.gate, seen.up, d_active)
        active, d_gate, d_up = seen.up, seen.gate, d_active
        found = _adapter_gradients(active, down=down)
        gate, up = Made(layer.gate, d_gate), Made(layer.up, d_up)
        found |= _adapter_gradients(layer.mlp_norm.of(seen.x, seen.x_size), gate=gate, up=up)
        d_read = gate.back(add_to=up.back())
        d_x += layer.mlp_norm.back(seen.x, seen.x_size, d_read)
        return found

    def _attended_back(
        self, layer: Layer, seen: Attended, d_x: np.ndarray, *, onward: bool
    ) -> dict[str, Gradient]:
        """Through attention; gradients are returned, and d_x is changed where it goes onward."""
        heads, kv, width = self._model.heads, self._model.kv_heads, self._model.width
        o = Made(layer.o, d_x)
        found = _adapter_gradients(seen.mixed, o=o)
        d_turned, d_values = self._attend_back(seen, o.back())
        cosine, sine = self._layout.turns
        d_raw = rotated(d_turned, cosine, -sine)
        if layer.turned_norm is not None and seen.raw_size is not None:
            d_raw = layer.turned_norm.back(seen.raw, seen.raw_size, d_raw)
        q = Made(layer.q, d_raw[:heads].reshape(heads * width, -1))
        k = Made(layer.k, d_raw[heads:].reshape(kv * width, -1))
        v = Made(layer.v, d_values.reshape(kv * width, -1))
        found |= _adapter_gradients(layer.input_norm.of(seen.x, seen.x_size), q=q, k=k, v=v)
        if onward:
            d_read = v.back(add_to=k.back(add_to=q.back()))
            d_x += layer.input_norm.back(seen.x, seen.x_size, d_read)
        return found

    # -- attention -----------------------------------------------------------------------------

    def _attend(
        self, turned: np.ndarray, values: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Values (kv heads, width, columns) mixed as queries and keys (heads, width, columns) say,
        (features, columns), and the shares of each block."""
        model, layout = self._model, self._layout
        heads, kv, width = model.heads, model.kv_heads, model.width
        mixed = np.empty((kv, heads // kv, width, turned.shape[-1]), np.float32)
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
        return mixed.reshape(heads * width, -1), shares

    def _attend_back(self, seen: Attended, d_mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
        total = logits.sum(axis=0)
        if self._seen:
            logits /= -total
            logits[picked] += 1
            self._slopes.append(self._model.head.weight.T @ logits)
        return logps - np.log(total)

    def _back_to_last(self, weights: np.ndarray) -> np.ndarray:
        """Derivative by the last states, (features, asked); weights (tokens,)."""
        d_normed = np.concatenate(self._slopes, axis=1)
        d_normed *= weights
        # Of one copy, each state predicts at most one token.
        d_last, x = np.zeros_like(self._last), self._last
        copies = self._layout.rows % self._layout.copies
        for copy in range(self._layout.copies):
            d_last[:, self._layout.predicts[copies == copy]] += d_normed[:, copies == copy]
        return self._model.norm.back(x, self._model.norm.size(x), d_last)


class Made:
    """What a product made, and the derivative by it."""

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


def _adapter_gradients(x: np.ndarray, **made: Made) -> dict[str, Gradient]:
    """Gradients by name, in the adapters of products that all read x (in, columns)."""
    adapters = {name: each.linear.adapter for name, each in made.items() if each.linear.adapter}
    if not adapters:
        return {}
    low = np.concatenate([each.a for each in adapters.values()], axis=1).T @ x
    d_a = x @ np.concatenate([made[name].d_low for name in adapters]).T
    gradients, start = {}, 0
    for name, adapter in adapters.items():
        part = slice(start, start + len(adapter.b))
        low[part] *= adapter.scale
        gradients[name] = d_a[:, part], (made[name].d_y @ low[part].T).T
        start = part.stop
    return gradients
