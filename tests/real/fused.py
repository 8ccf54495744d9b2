"""The model with the adapters of `cases` as part of it: `python -m tests.real.fused FOLDER`."""

import sys
from pathlib import Path

import mlx.core as mx

from engine.model.fuse import fuse
from engine.settings.schema import Settings
from tests.real import cases


def adapted(model: str) -> Settings:
    """Settings of a run that trains such adapters."""
    return Settings(
        model=model,
        judge="human",
        quantization="none",
        num_layers=cases.LAYERS,
        lora_parameters={"rank": cases.RANK, "scale": cases.SCALE},  # pyright: ignore[reportArgumentType]
        beta=cases.BETA,
    )


def adapter_weights() -> dict[str, mx.array]:
    """The adapters by the names of their arrays."""
    return {
        f"{path}.lora_{which}": mx.array(matrix)
        for path, *both in cases.adapters()
        for which, matrix in zip("ab", both, strict=True)
    }


def write_fused(model: str, folder: Path) -> Path:
    """Write the fused model in 16 bits; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "adapters.safetensors"
    mx.save_safetensors(str(file), adapter_weights())
    fuse(adapted(model), file, folder, dequantize=True)
    file.unlink()
    return folder


if __name__ == "__main__":
    print(write_fused(cases.NAME, Path(sys.argv[1])))
