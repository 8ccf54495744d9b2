"""Record what transformers computes of reward models: `python tests/interop/record_reward.py`.

Needs the extra `interop`. For each layout: the config.json that `save_pretrained` writes, the names
and shapes of its tensors, and the scores of some rows of ids, on seeded weights.
"""

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import transformers

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.interop import weights
from tests.interop.architectures import ARCHITECTURES
from tests.interop.record import IDS, read_shapes

torch: Any = importlib.import_module("torch")  # which few have

RECORDED = Path(__file__).parent / "rewards"
LAYOUTS = ("llama", "qwen2", "qwen3")
ROWS = [IDS, IDS[:5], IDS[3:17]]


def record(name: str) -> dict[str, Any]:
    """Everything that the suite needs of one layout."""
    chosen = {"model_type": name, "num_labels": 1, "pad_token_id": 0} | ARCHITECTURES[name]
    config = transformers.AutoConfig.for_model(**chosen)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        auto: Any = transformers.AutoModelForSequenceClassification
        auto.from_config(config).float().save_pretrained(folder)
        shapes = read_shapes(folder / "model.safetensors")
        weights.write(folder, shapes)
        saved = json.loads((folder / "config.json").read_text())
        scores = scores_of(folder)
    return {"config": saved, "tensors": weights.pack(shapes), "rows": ROWS, "scores": scores}


def scores_of(folder: Path) -> list[float]:
    """The score that transformers gives to each row, alone."""
    auto: Any = transformers.AutoModelForSequenceClassification
    model, info = auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise ValueError(f"{kind} in {folder}: {sorted(info[kind])[:3]}")
    model.eval()
    with torch.no_grad():
        return [round(float(model(torch.tensor([row])).logits[0, 0]), 6) for row in ROWS]


def main() -> None:
    RECORDED.mkdir(exist_ok=True)
    for name in LAYOUTS:
        facts = record(name)
        print(name, facts["scores"])
        (RECORDED / f"{name}.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
