"""Fine-tune: what of the model is trained, and in what precision it is held."""

from typing import Any, Literal

from pydantic import Field, model_validator

from engine.settings.conditions import ADAPTERS
from engine.settings.fields import SettingsModel, setting

SECTION = "Fine-tune"

Quantization = Literal["none", "4-bit", "6-bit", "8-bit", "mxfp4"]


class LoraParameters(SettingsModel):
    """The shape of LoRA and DoRA adapters."""

    rank: int = setting(
        8,
        SECTION,
        "Size of the adapters: higher can learn more, and costs memory and speed.",
        applies=ADAPTERS,
        ge=1,
        le=4096,
    )
    scale: float = setting(
        20.0,
        SECTION,
        "Factor on what the adapters add: higher makes every update count for more.",
        applies=ADAPTERS,
        gt=0,
        le=10_000,
    )
    dropout: float = setting(
        0.0,
        SECTION,
        "Share of adapter inputs dropped while training, against overfitting.",
        applies=ADAPTERS,
        ge=0,
        lt=1,
    )
    keys: list[str] | None = setting(
        None,
        SECTION,
        "Modules that get adapters, such as self_attn.q_proj; empty: all linear layers.",
        applies=ADAPTERS,
    )


class FineTuneSettings(SettingsModel):
    """What of the model is trained, and in what precision it is held."""

    train_type: Literal["lora", "dora", "full"] = setting(
        "lora",
        SECTION,
        "lora trains small adapters; dora adapters with their own magnitudes, a little better and "
        "slower; full all weights, with several times the memory.",
    )
    num_layers: int = setting(
        16,
        SECTION,
        "Layers, counted from the top, that are trained; -1: all.",
        unit="layers",
        ge=-1,
        le=10_000,
    )
    lora_parameters: LoraParameters = Field(default_factory=LoraParameters)
    quantization: Quantization = setting(
        "4-bit",
        SECTION,
        "Precision of the frozen weights in memory: fewer bits need less memory and lose some "
        "quality. Full fine-tuning takes none.",
    )
    resume_adapter_file: str | None = setting(
        None,
        SECTION,
        "Saved adapters to start from: a safetensors file, or its folder. What adapter_config.json "
        "beside it says takes the place of defaults, and the run keeps a copy.",
    )

    @model_validator(mode="before")
    @classmethod
    def _full_takes_no_quantization(cls, data: Any) -> Any:
        """The default gives way to full fine-tuning; an explicit choice is a problem instead."""
        if isinstance(data, dict) and data.get("train_type") == "full":
            return {"quantization": "none", **data}
        return data
