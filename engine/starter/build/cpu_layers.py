"""A Qwen3 layer written for training on MLX's CPU backend, where `exp` is what costs.

There an `exp` takes 15 ns an element and a multiplication 0.4 ns, so at the starter's size the
activations outweigh the matrices. Here `exp` is a polynomial; the numbers agree with those of
the plain layers to about 1e-4. A prefix shared by all rows is attended to without copies.
"""

from typing import Any

import mlx.core as mx

KeysValues = tuple[mx.array, mx.array]  # each (rows, 1, length, head size)


def _exp(x: mx.array) -> mx.array:
    """exp(x) = exp(x / 64)^64, by a polynomial of degree 4; relative error < 1e-4 for |x| < 12."""
    y = x * (1 / 64)
    power = 1 + y * (1 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24))))
    for _ in range(6):
        power = power * power
    return power


fast_exp: Any = mx.custom_function(_exp)


@fast_exp.vjp
def _fast_exp_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * output


def _sigmoid(x: mx.array) -> mx.array:
    return 1 / (1 + _exp(mx.clip(-x, -15, 15)))


fast_sigmoid: Any = mx.custom_function(_sigmoid)


@fast_sigmoid.vjp
def _fast_sigmoid_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * (output * (1 - output))


def run_layer(
    layer: Any, x: mx.array, prefix: KeysValues | None = None, last: mx.array | None = None
) -> tuple[mx.array, KeysValues]:
    """One layer over x (rows, length, hidden), right-padded, after an optional shared prefix.

    Args:
        prefix: keys and values (1, 1, prefix length, head size) that every row may attend to.
        last: one position a row, int (rows,), where nothing but these is to be computed.

    Returns:
        The layer's output, (rows, length, hidden) or (rows, 1, hidden) with `last`, and the
        keys and values of x itself.
    """
    attended, keys_values = attend(layer.self_attn, layer.input_layernorm(x), prefix, last)
    if last is not None:
        x = x[mx.arange(len(x)), last][:, None]
    h = x + attended
    inner = layer.post_attention_layernorm(h)
    gate = layer.mlp.gate_proj(inner)
    gated = gate * fast_sigmoid(gate) * layer.mlp.up_proj(inner)
    return h + layer.mlp.down_proj(gated), keys_values


def attend(
    attention: Any, x: mx.array, prefix: KeysValues | None, last: mx.array | None = None
) -> tuple[mx.array, KeysValues]:
    """Causal attention with one key-value head; no maximum is taken off, scores being small."""
    rows, length, _ = x.shape
    heads, offset = attention.n_heads, prefix[0].shape[2] if prefix else 0
    split = lambda y, n: y.reshape(rows, length, n, -1)  # noqa: E731
    q = attention.q_norm(split(attention.q_proj(x), heads)).transpose(0, 2, 1, 3)
    k = attention.k_norm(split(attention.k_proj(x), 1)).transpose(0, 2, 1, 3)
    v = split(attention.v_proj(x), 1).transpose(0, 2, 1, 3)
    q = attention.rope(q, offset=offset) * attention.scale
    k = attention.rope(k, offset=offset)
    size = q.shape[-1]
    if last is None:
        causal = mx.tile(mx.tri(length), (heads, 1))
    else:
        q = q[mx.arange(rows), :, last][:, :, None]
        causal = (mx.arange(length) <= last[:, None])[:, None].astype(x.dtype)
    queries = q.shape[2]
    flat = q.reshape(rows, heads * queries, size)
    weights = fast_exp(flat @ k[:, 0].swapaxes(1, 2)) * causal
    total = weights.sum(axis=-1, keepdims=True)
    attn_out = weights @ v[:, 0]
    if prefix:
        shared = fast_exp(flat.reshape(-1, size) @ prefix[0][0, 0].T)
        total = total + shared.sum(axis=-1, keepdims=True).reshape(total.shape)
        attn_out = attn_out + (shared @ prefix[1][0, 0]).reshape(attn_out.shape)
    out = (attn_out / total).reshape(rows, heads, queries, size).transpose(0, 2, 1, 3)
    return attention.o_proj(out.reshape(rows, queries, -1)), (k, v)


def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """-log softmax at the targets: logits (n, vocabulary), targets int (n,) -> (n,)."""
    peak = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    total = fast_exp(mx.maximum(logits - peak, -30)).sum(axis=-1)
    picked = mx.take_along_axis(logits - peak, targets[:, None], axis=-1)[:, 0]
    return mx.log(total) - picked
