"""Model and data: the model and the prompts."""

from typing import Any, Literal

from pydantic import model_validator

from engine.settings.conditions import FUSED, MEASURED, ONE_SOURCE
from engine.settings.fields import MANY, SettingsModel, setting
from engine.settings.judge_names import BETWEEN

SECTION = "Model and data"


class ModelAndDataSettings(SettingsModel):
    """The model and the prompts."""

    model: str = setting(
        "Qwen/Qwen3-0.6B",
        SECTION,
        "The model that is trained: hub id, local folder, or starter (the bundled one).",
    )
    data: str = setting(
        "mlx-community/Human-Like-DPO",
        SECTION,
        "The prompts: hub dataset id, local folder, file (jsonl, json, csv, tsv, parquet, txt; "
        "also .gz), or starter.",
    )
    data_config: str | None = setting(
        None,
        SECTION,
        "Configuration of a hub dataset that has several; data: NAME:CONFIGURATION says the same.",
        applies=ONE_SOURCE,
    )
    data_split: str | None = setting(
        None,
        SECTION,
        "Split whose prompts are trained on, such as train_sft, or a part of a hub dataset's, such "
        "as train[:10%]; empty: train.",
        applies=ONE_SOURCE,
    )
    data_streaming: bool = setting(
        False,
        SECTION,
        "Reads a hub dataset over the network as far as max_prompts and eval_prompts need it, out "
        "of a shuffled window, and downloads nothing else.",
    )
    data_mix: list[dict[str, str | float]] = setting(
        [],
        SECTION,
        "Several sources in place of data: {data: NAME, weight: 2}, and so on, each also with "
        "data_config, data_split, prompt_feature and system_feature of its own. With weights the "
        "prompts are in that proportion, as many as the scarcest source allows; without, all are "
        "used.",
    )
    text_prompts: Literal["lines", "files"] = setting(
        "lines",
        SECTION,
        "What is a prompt in txt files: each line, or each file as a whole (md files too).",
    )
    prompt_feature: str | None = setting(
        None,
        SECTION,
        "Column with the prompt, text or chat messages, or texts to join, such as context + "
        "question. Found by itself are prompt, question, instruction, messages and conversations, "
        "a text with the context and input beside it; empty: found by itself.",
    )
    system_feature: str | None = setting(
        None,
        SECTION,
        "Column with a system message for each prompt; empty: system or system_prompt, if any.",
    )
    system_prompt: str | None = setting(
        None,
        SECTION,
        "One system message put before every prompt that brings none.",
        multiline=True,
    )
    enable_thinking: bool = setting(
        False,
        SECTION,
        "Lets a model with a thinking mode think before it answers, policy and judge alike; "
        "slower, and completions need room for it.",
    )
    max_prompts: int = setting(
        0,
        SECTION,
        "Use only this many prompts after the shuffle; 0: all.",
        unit="prompts",
        ge=0,
        le=MANY,
    )
    eval_prompts: int = setting(
        64,
        SECTION,
        "Prompts never trained on, kept for the win rate; more make it surer and slower.",
        unit="prompts",
        applies=MEASURED,
        ge=0,
        le=MANY,
    )
    trust_remote_code: bool = setting(
        False,
        SECTION,
        "Runs Python code that the model's folder brings. Only for a source you trust as much "
        "as a program you install.",
        dangerous=True,
    )
    lm_studio_name: str | None = setting(
        None,
        SECTION,
        "Also writes the fused model into LM Studio's models folder under this name.",
        applies=FUSED,
    )

    @model_validator(mode="before")
    @classmethod
    def _a_list_of_data_is_a_mix(cls, data: Any) -> Any:
        """`data: [{data: a}, b]` is what `data_mix` says; data then names them all."""
        given = data.get("data") if isinstance(data, dict) else None
        if isinstance(given, list) and given:
            mix = [{"data": each} if isinstance(each, str) else each for each in given]
            data = {**data, "data_mix": mix}
        mix = data.get("data_mix") if isinstance(data, dict) else None
        if isinstance(mix, list) and mix and all(isinstance(each, dict) for each in mix):
            data = {**data, "data": BETWEEN.join(str(each.get("data", "")) for each in mix)}
        return data

    @property
    def data_names(self) -> tuple[str, ...]:
        """The datasets, files and folders that the prompts are read from."""
        if self.data_mix:
            return tuple(str(source.get("data", "")) for source in self.data_mix)
        return (self.data,)
