"""Where a GPU of NVIDIA's keeps the kernels that MLX compiles for it."""

import importlib.metadata
import os
import re

from engine.data_folder import data_folder
from engine.machine.backend import backend, nvidia_gpu


def keep_compiled_kernels() -> None:
    """Let MLX keep them with the program's things; call it before MLX is imported.

    A kernel is compiled at its first use. Those of packed weights take up to a minute each, two
    and a half in all before the first step of a 4-bit model, and MLX's own place for them is
    emptied when the machine starts. `MLX_PTX_CACHE_DIR` overrides the place.
    """
    if backend() == "cuda":
        gpu = re.sub(r"\W+", "-", nvidia_gpu()[0] or "gpu").lower()
        folder = data_folder() / "kernels" / f"mlx-{importlib.metadata.version('mlx')}-{gpu}"
        os.environ.setdefault("MLX_PTX_CACHE_DIR", str(folder))
