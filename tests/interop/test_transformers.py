"""Beside transformers itself: what is recorded still holds, and it reads what is fused here."""

import copy
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.model import load
from engine.model.adapters import add_adapters
from engine.runs import archive
from engine.runs.folder import ADAPTERS
from engine.settings.schema import Settings
from engine.train.results import fuse_run, write_adapters
from tests.engine.small_models import stir
from tests.engine.test_model_config import (
    ARCHITECTURES,
    LOADED,
    MLX_LM_ONLY,
    UNLIKE,
    folder_of,
    loaded,
    logits_of,
    off,
    recorded,
)

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def record() -> Any:
    """The script that records; it needs torch."""
    pytest.importorskip("torch")
    return importlib.import_module("tests.interop.record")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_recording_made_now_is_the_recording(record: Any, name: str) -> None:
    now, then = record.record(name), copy.deepcopy(recorded(name))
    assert json.loads(json.dumps(now["tensors"])) == then["tensors"]
    values = [[value for *_, value in facts["logits"]] for facts in (now, then)]
    np.testing.assert_allclose(*values, rtol=0, atol=1e-4 * then["spread"])
    for facts in (now, then):
        facts["config"].pop("transformers_version")
    assert json.loads(json.dumps(now["config"])) == then["config"]


@pytest.mark.parametrize("name", [name for name in LOADED if name not in MLX_LM_ONLY])
def test_transformers_computes_from_a_fused_model_what_is_computed_here(
    record: Any, name: str, tmp_path: Path
) -> None:
    source = folder_of(name, tmp_path / "source")
    given: dict[str, Any] = {"lora_parameters": {"rank": 4, "scale": 8.0}, "num_layers": -1}
    settings = Settings(
        model=str(source), judge="human", data="starter", quantization="none", **given
    )
    run = archive.create(settings)
    policy, _, _ = load.load(source, "model", quantization="none")
    add_adapters(policy, settings)
    stir(policy)
    write_adapters(policy, settings, run.path / ADAPTERS)
    fused = fuse_run(run, tmp_path / "fused")

    ours, _, _ = loaded(fused)
    expected = logits_of(ours, name)
    assert off(expected, name) > 1e-2  # the training shows
    allowed, _ = UNLIKE.get(name, (1e-4, ""))
    theirs = record.logits_of(fused).numpy()
    spread = recorded(name)["spread"]
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=allowed * spread)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_the_scores_of_a_reward_model_are_the_recording(name: str) -> None:
    pytest.importorskip("torch")
    script = importlib.import_module("tests.interop.record_reward")
    recording = json.loads((script.RECORDED / f"{name}.json").read_text())
    np.testing.assert_allclose(script.record(name)["scores"], recording["scores"], atol=1e-5)
