"""A common kind of model computed in numpy, for MLX's CPU backend.

There each operation costs some 20 us beside its work, and a decoded token takes a hundred of them
a layer; numpy's cost 1 us. States are held feature by feature, (features, tokens), so that weights
(out, in) are multiplied as they are stored: BLAS then copies none of them, which for a handful of
tokens would take longer than the product.

Served are float32 models laid out as Llama, Qwen2 and Qwen3 are, with bare layers or with LoRA
adapters. In a small model these are merged into the weights, since they would more than double the
operations; in a large one that would take memory for little. Any other model is computed by MLX
(see `engine.compute.choose.is_numpy`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.tuner.lora import LoRALinear

from engine.compute import headway, limits
from engine.compute.numpy.packed import FEW, PackedWeight, can_pack, packed
from engine.compute.numpy.pointwise import Norm, gated, rotated
from engine.compute.numpy.products import multiply

ATTENTION_PARTS = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm", "rope"}
MLP_PARTS = {"gate_proj", "up_proj", "down_proj"}
# The products of a layer: their names here, and where mlx-lm's layer has them.
LINEARS = {
    "q": ("self_attn", "q_proj"),
    "k": ("self_attn", "k_proj"),
    "v": ("self_attn", "v_proj"),
    "o": ("self_attn", "o_proj"),
    "gate": ("mlp", "gate_proj"),
    "up": ("mlp", "up_proj"),
    "down": ("mlp", "down_proj"),
}
LAYER_PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}


class Unsupported(Exception):
    """A model has something that is not served here."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A low-rank change of a weight: scale (a b)', with a (in, rank) and b (rank, out)."""

    a: np.ndarray
    b: np.ndarray
    scale: float


@dataclass(frozen=True, slots=True)
class Linear:
    """weight (out, in), the adapter's part included if `merged`; bias (out, 1) or None."""

    weight: np.ndarray
    bias: np.ndarray | None = None
    adapter: Adapter | None = None
    merged: bool = True
    packed: PackedWeight | None = None  # the weight, for a few tokens

    def into(self, x: np.ndarray, out: np.ndarray) -> None:
        """Write the product with x (in, tokens) into out (out, tokens)."""
        if self.packed is not None and x.shape[1] in FEW:
            out[...] = self.packed.by_token(x).T
        else:
            multiply(self.weight, x, out)
        self.add_rest(x, out)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.packed is not None and x.shape[1] in FEW:
            out = self.packed.by_token(x).T  # a token's numbers follow each other in memory
        else:
            out = np.empty((len(self.weight), x.shape[1]), np.float32)
            multiply(self.weight, x, out)
        self.add_rest(x, out)
        return out

    def add_rest(self, x: np.ndarray, out: np.ndarray) -> None:
        """Add what the product with the weight lacks."""
        if self.adapter is not None and not self.merged:
            low = self.adapter.a.T @ x
            low *= self.adapter.scale
            multiply(self.adapter.b.T, low, out, add=True)
        if self.bias is not None:
            out += self.bias


@dataclass(frozen=True, slots=True)
class Layer:
    """The arrays of one transformer layer."""

    input_norm: Norm
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    qk_norm: Norm | None  # of queries and keys, weight (heads + kv heads, width, 1)
    mlp_norm: Norm
    gate: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class LayerCache:
    """Keys and values of one layer, (rows, kv heads, room, width) each."""

    keys: np.ndarray
    values: np.ndarray

    @classmethod
    def empty(cls, model: "NumpyModel", rows: int, room: int) -> "LayerCache":
        shape = (rows, model.kv_heads, room, model.width)
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32))

    def rows(self, rows: Sequence[int], more_room: int = 0) -> "LayerCache":
        """A copy of some rows, in that order, each as often as it is named."""
        return LayerCache(*(_rows(array, rows, more_room) for array in (self.keys, self.values)))


def _rows(array: np.ndarray, rows: Sequence[int], more_room: int) -> np.ndarray:
    _, heads, room, width = array.shape
    result = np.empty((len(rows), heads, room + more_room, width), np.float32)
    result[:, :, :room] = array[list(rows)]
    return result


@dataclass(frozen=True, slots=True)
class NumpyModel:
    """Views of a model's weights, and how they are put together."""

    embedding: np.ndarray  # (vocabulary, features)
    layers: Sequence[Layer]
    norm: Norm
    head: Linear
    heads: int
    kv_heads: int
    width: int
    scale: float
    rope: Any

    def cos_sin(self, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosine and sine of the rotary angles, (width / 2, positions) each: what becomes of
        (1, 0) in every pair of features."""
        half = self.width // 2
        unit = mx.concatenate([mx.ones((half,)), mx.zeros((half,))])
        table = self.rope(mx.broadcast_to(unit, (1, 1, positions, self.width)))
        angles = np.array(table[0, 0]).T
        return np.ascontiguousarray(angles[:half]), np.ascontiguousarray(angles[half:])

    def hidden(
        self,
        ids: np.ndarray,
        caches: Iterable[LayerCache],
        at: int,
        cos_sin: tuple[np.ndarray, np.ndarray],
        mask: np.ndarray | None,
        last: np.ndarray,
    ) -> np.ndarray:
        """Read ids (rows, tokens); hidden states (features, rows), before the last norm, of one
        token of each row. The last layer is computed for these alone.

        Args:
            caches: one a layer; keys and values are written into them from position `at` on.
            cos_sin: cosine and sine for every token, (width / 2, rows * tokens) each.
            mask: added to scores, broadcast to (rows, 1, 1, tokens, at + tokens).
            last: the index of each row's token, (rows,).
        """
        rows, tokens = ids.shape
        with np.errstate(over="ignore", invalid="ignore"):  # a gate far below zero; broken weights
            x = np.ascontiguousarray(self.embedding[ids.reshape(-1)].T)
            for number, (layer, cache) in enumerate(zip(self.layers, caches, strict=True), 1):
                query_positions = last if number == len(self.layers) and tokens > 1 else None
                read = layer.input_norm(x)
                if query_positions is not None:
                    x = x[:, np.arange(rows) * tokens + query_positions]
                x += self._attention(
                    layer, read, ids.shape, cache, at, cos_sin, mask, query_positions
                )
                x += _mlp(layer, layer.mlp_norm(x))
                headway.sign()
            return x

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """Logits (rows, vocabulary) of hidden states (features, rows)."""
        return self.head(self.norm(hidden)).T

    def _attention(
        self,
        layer: Layer,
        x: np.ndarray,
        shape: tuple[int, ...],
        cache: LayerCache,
        at: int,
        cos_sin: tuple[np.ndarray, np.ndarray],
        mask: np.ndarray | None,
        query_positions: np.ndarray | None,
    ) -> np.ndarray:
        """Attention's part of a layer, for all tokens or for one of each row, (rows,)."""
        rows, tokens = shape
        heads, kv, width = self.heads, self.kv_heads, self.width
        both, groups = heads + kv, heads // kv
        qkv = np.empty(((both + kv) * width, rows * tokens), np.float32)
        layer.q.into(x, qkv[: heads * width])
        layer.k.into(x, qkv[heads * width : both * width])
        layer.v.into(x, qkv[both * width :])
        queries_keys = qkv[: both * width].reshape(both, width, -1)
        if layer.qk_norm is not None:
            queries_keys = layer.qk_norm(queries_keys)
        rotated_qk = rotated(queries_keys, *cos_sin).reshape(both, width, rows, tokens)
        end = at + tokens
        values = qkv[both * width :].reshape(kv, width, rows, tokens)
        cache.keys[:, :, at:end] = rotated_qk[heads:].transpose(2, 0, 3, 1)
        cache.values[:, :, at:end] = values.transpose(2, 0, 3, 1)
        queries = rotated_qk[:heads]
        if query_positions is not None:
            each, tokens = np.arange(rows), 1
            queries = queries[:, :, each, query_positions]
            if mask is not None:
                mask = mask[each % len(mask), :, :, query_positions, None]
        queries = queries.reshape(kv, groups, width, rows, tokens)
        queries = queries.transpose(3, 0, 1, 4, 2).reshape(rows, kv, groups * tokens, width)
        queries *= self.scale
        scores = queries @ cache.keys[:, :, :end].swapaxes(2, 3)
        if mask is not None:
            by_token = scores.reshape(rows, kv, groups, tokens, end)
            by_token += mask
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        attn_out = (scores @ cache.values[:, :, :end]).reshape(rows, kv, groups, tokens, width)
        return layer.o(attn_out.transpose(1, 2, 4, 0, 3).reshape(heads * width, rows * tokens))


def _mlp(layer: Layer, x: np.ndarray) -> np.ndarray:
    return layer.down(gated(layer.gate(x), layer.up(x)))


# -- reading a model -----------------------------------------------------------------------------


def numpy_model(model: nn.Module, *, packs: bool = False) -> NumpyModel:
    """A view of a model's weights as they are now.

    Args:
        packs: whether frozen weights are laid out for products with a few tokens, where BLAS can
            and they are not too large to be held twice.

    Raises:
        Unsupported: it is of another kind.
    """
    whole: Any = model
    body = whole.model
    adapted = [each for each in whole.modules() if type(each) is LoRALinear]
    merged = sum(each.linear.weight.nbytes for each in adapted) <= limits.MERGED_BYTES
    embedding = _of_type(body.embed_tokens, nn.Embedding)
    head = whole.lm_head if "lm_head" in whole else embedding
    packs = packs and can_pack() and _frozen_bytes(body, head, merged) <= limits.PACKED_BYTES
    layers = [_layer(each, merged, packs) for each in body.layers]
    attention = body.layers[0].self_attn
    width = len(layers[0].k.weight) // attention.n_kv_heads
    return NumpyModel(
        embedding=_seen(embedding.weight),
        layers=layers,
        norm=_norm(body.norm),
        head=_linear(head, merged, packs) if "lm_head" in whole else _plain(embedding, packs),
        heads=attention.n_heads,
        kv_heads=attention.n_kv_heads,
        width=width,
        scale=attention.scale,
        rope=attention.rope,
    )


def _frozen_bytes(body: Any, head: Any, merged: bool) -> int:
    """Bytes of the weights that stay as they are, and are multiplied with."""
    modules = [head, *(module for layer in body.layers for module in linears(layer).values())]
    left = [getattr(each, "linear", each) for each in modules if not (merged and "lora_a" in each)]
    return sum(each.weight.nbytes for each in left if _is_frozen(each))


def _is_frozen(module: Any) -> bool:
    return "weight" not in module.trainable_parameters()


def _layer(layer: Any, merged: bool, packs: bool) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    for module, parts in ((layer, LAYER_PARTS), (attention, ATTENTION_PARTS), (mlp, MLP_PARTS)):
        if set(module.children()) - parts:
            raise Unsupported
    qk_norm = None
    if "q_norm" in attention:
        q, k = _norm(attention.q_norm), _norm(attention.k_norm)
        weights = [q.weight] * attention.n_heads + [k.weight] * attention.n_kv_heads
        if q.eps != k.eps:
            raise Unsupported
        qk_norm = Norm(np.stack(weights), q.eps)
    return Layer(
        input_norm=_norm(layer.input_layernorm),
        qk_norm=qk_norm,
        mlp_norm=_norm(layer.post_attention_layernorm),
        **{name: _linear(module, merged, packs) for name, module in linears(layer).items()},
    )


def linears(layer: Any) -> dict[str, Any]:
    """The modules of a layer's products, by their names here."""
    return {name: layer[part][own] for name, (part, own) in LINEARS.items()}


def _linear(module: Any, merged: bool, packs: bool) -> Linear:
    if type(module) is LoRALinear:
        a, b = _seen(module.lora_a), _seen(module.lora_b)
        frozen = _linear(module.linear, merged, packs and not merged)
        adapter = Adapter(a, b, module.scale)
        if not merged:
            return replace(frozen, adapter=adapter, merged=False)
        weight = (module.scale * b.T) @ a.T
        weight += frozen.weight
        return Linear(weight, frozen.bias, adapter)
    return _plain(_of_type(module, nn.Linear), packs)


def _plain(module: Any, packs: bool) -> Linear:
    """A layer without adapters, or an embedding the other way round."""
    weight = _seen(module.weight)
    bias = _seen(module.bias)[:, None] if "bias" in module else None
    laid_out = packed(module.weight, weight) if packs and _is_frozen(module) else None
    return Linear(weight, bias, packed=laid_out)


def _norm(module: Any) -> Norm:
    module = _of_type(module, nn.RMSNorm)
    return Norm(_seen(module.weight)[:, None], module.eps)


def _of_type(module: Any, kind: type) -> Any:
    if type(module) is not kind:
        raise Unsupported
    return module


def _seen(array: mx.array) -> np.ndarray:
    """The values of an array, not copied."""
    if array.dtype != mx.float32:
        raise Unsupported
    return np.array(array, copy=False)
