"""The labels of a run train in TRL's own DPOTrainer, as they are. Needs `pip install trl`."""

import math
from pathlib import Path
from typing import Any

import pytest

from engine.runs.folder import PAIRS
from engine.starter import POLICY
from tests.tui.archive import make_run

trl: Any = pytest.importorskip("trl")
transformers: Any = pytest.importorskip("transformers")
pytestmark = pytest.mark.interop


def test_the_pairs_of_a_run_train_in_its_dpo(tmp_path: Path) -> None:
    from datasets import load_dataset

    run = make_run("polite", pairs=16)
    pairs: Any = load_dataset(
        "json", data_files=str(run.path / PAIRS), split="train", cache_dir=str(tmp_path / "cache")
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(POLICY, dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(POLICY)
    how = trl.DPOConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    trainer = trl.DPOTrainer(model, args=how, train_dataset=pairs, processing_class=tokenizer)
    trainer.train()
    losses = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3)  # policy and reference are the same
    assert losses[1] < losses[0]
