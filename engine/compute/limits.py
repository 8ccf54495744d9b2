"""How much is computed at once, and what that takes: for those who compute and those who plan.

Nothing here imports MLX.
"""

import os

from engine.machine.backend import backend

SAMPLED_TOKENS = 16_384  # that one decoded batch may hold in its cache; more are decoded in turns
# Tokens in one forward pass over pairs that are judged, and scores of one head of attention.
JUDGED_TOKENS = 16_384
ATTENTION_SCORES = 1 << 24
SCORED_TOKENS = 8_192  # of prompts and completions, forward and backward, in one pass
# Logits are made for this many values at a time: 32 MiB in fp32, and 128 MiB on a GPU, to which
# small chunks are a burden; a handful of such arrays are needed.
LOGIT_VALUES = 1 << 23 if backend() == "cpu" else 1 << 25
# Weights with adapters are copied, the adapters merged, up to this size of all of them in bytes.
MERGED_BYTES = 256 << 20
# Frozen weights are held a second time, laid out for decoding, up to this size of all of them.
PACKED_BYTES = 1 << 30
# Of a pass on a CPU, where a few hundred rows already make full use of it.
ACTIVATION_BYTES = 512 << 20
# For a backward pass, a token and layer, in widths of the hidden state: by MLX, measured; by numpy.
VALUES_KEPT, NUMPY_VALUES_KEPT = 68, 16


def scored_tokens(
    layers: int, hidden: int, *, recompute: bool, cpu: bool, numpy: bool = False
) -> int:
    """The most tokens in one pass of scoring, forward and backward.

    Args:
        layers, hidden: of the model, 0 where not known.
        recompute: whether the backward pass finds activations anew.
        numpy: whether `engine.compute.numpy` computes it.
    """
    if not cpu or not layers or not hidden:
        return SCORED_TOKENS
    each = NUMPY_VALUES_KEPT if numpy else VALUES_KEPT
    values = each + layers if recompute else each * layers
    return min(SCORED_TOKENS, ACTIVATION_BYTES // (4 * values * hidden))


def numpy_serves() -> bool:
    """Whether numpy computes models here: on a CPU, unless `LORA_STUDIO_NUMPY=0`."""
    return backend() == "cpu" and os.environ.get("LORA_STUDIO_NUMPY", "") != "0"
