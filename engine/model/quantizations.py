"""How weights are quantised. Nothing here imports MLX."""

from typing import Any

from engine.settings.sections.fine_tune import Quantization

# What `mlx.nn.quantize` is given.
QUANTIZATIONS: dict[Quantization, dict[str, Any]] = {
    "4-bit": {"group_size": 128, "bits": 4, "mode": "affine"},
    "6-bit": {"group_size": 128, "bits": 6, "mode": "affine"},
    "8-bit": {"group_size": 128, "bits": 8, "mode": "affine"},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
}
# Bytes beside the weights of a group: a scale and a bias of 16 bits, or an exponent.
GROUP_BYTES = {"affine": 4, "mxfp4": 1}
