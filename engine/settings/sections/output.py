"""Output: what a run leaves, and who follows it."""

from typing import Any, Literal

from pydantic import field_validator

from engine.settings.conditions import DEQUANTIZED, EVALUATED, FUSED_ADAPTERS, TRACKED
from engine.settings.fields import SettingsModel, setting

SECTION = "Output"

Keep = Literal["best", "last"]


class OutputSettings(SettingsModel):
    """What a run leaves, and who follows it."""

    run_name: str | None = setting(
        None, SECTION, "Name of the run and its folder; empty: the model and a number."
    )
    output_root: str | None = setting(
        None,
        SECTION,
        "Folder that gets a runs folder; empty: LORA_STUDIO_HOME or your data folder.",
    )
    keep: Keep = setting(
        "best",
        SECTION,
        "Which step's weights are fused, exported and tried: the best by its held-out win rate, "
        "where one was measured, or the last. Both have a checkpoint.",
        applies=EVALUATED,
    )
    fuse: bool = setting(True, SECTION, "Writes a standalone model at the end.")
    fuse_dequantize: bool = setting(
        True,
        SECTION,
        "Writes that model in full precision, which other programs read.",
        applies=DEQUANTIZED,
    )
    fuse_remove_adapters: bool = setting(
        False,
        SECTION,
        "Removes the adapters once they are part of that model.",
        applies=FUSED_ADAPTERS,
    )

    report_to: list[str] = setting(
        [],
        SECTION,
        "Programs that follow the run: tensorboard, wandb, trackio, swanlab, each an extra to "
        "install. They get metrics, settings and the newest pairs; wandb and swanlab send those to "
        "their servers unless WANDB_MODE or SWANLAB_MODE is offline.",
    )
    project_name: str = setting(
        "lora-studio",
        SECTION,
        "The project that those programs file the run under.",
        applies=TRACKED,
    )

    @field_validator("report_to", mode="before")
    @classmethod
    def _several_trackers(cls, value: Any) -> Any:
        """A text is a list of names, as other programs' configs have it."""
        return [each.strip() for each in value.split(",")] if isinstance(value, str) else value
