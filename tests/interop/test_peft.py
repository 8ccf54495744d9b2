"""Adapters written for peft compute in transformers and peft what the policy computes here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.export import export_peft
from engine.export.peft import LAYOUTS
from tests.engine.test_model_config import folder_of, logits_of, off, recorded
from tests.engine.test_peft import trained

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A function: the logits of a folder of adapters at some ids, (tokens, vocabulary)."""
    torch: Any = pytest.importorskip("torch")
    peft: Any = pytest.importorskip("peft")

    def logits(folder: Path, ids: list[int]) -> np.ndarray:
        model = peft.AutoPeftModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
        with torch.no_grad():
            return model.eval()(torch.tensor([ids])).logits[0].numpy()

    return logits


@pytest.mark.parametrize("layers", [-1, 1])
@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_peft_computes_what_is_computed_here(
    theirs: Any, name: str, kind: str, layers: int, tmp_path: Path
) -> None:
    source = folder_of(name, tmp_path / "source")
    run, policy = trained(source, train_type=kind, num_layers=layers)
    export_peft(run, tmp_path / "peft")
    expected = logits_of(policy, name)
    assert off(expected, name) > 1e-2  # the training shows
    found = theirs(tmp_path / "peft", recorded(name)["ids"])
    spread = recorded(name)["spread"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * spread)
