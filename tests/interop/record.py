"""Record what transformers computes on tiny models of its own: `python tests/interop/record.py`.

Needs the extra `interop`. For every architecture: the config.json that `save_pretrained` writes,
the names and shapes of its tensors, and some logits on seeded weights. The suite makes the same
folders again without torch, and compares.
"""

import contextlib
import importlib
import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import transformers

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.interop import weights
from tests.interop.architectures import ARCHITECTURES

torch: Any = importlib.import_module("torch")  # which few have

RECORDED = Path(__file__).parent / "recorded"
IDS = [(7 * i * i + 3 * i + 5) % 251 + 8 for i in range(24)]  # longer than every window
PLACES = ((5, 0), (11, 100), (23, 7), (23, 50), (23, 131), (23, 200), (23, 263))
# Parts for images or sound that need further packages: their text part is saved alone.
TEXT_ALONE = ("gemma3n",)


def record(name: str) -> dict[str, Any]:
    """Everything that the suite needs of one architecture."""
    config = transformers.AutoConfig.for_model(**{"model_type": name} | ARCHITECTURES[name])
    text = config.get_text_config() if name in TEXT_ALONE else config
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(text).save_pretrained(folder)
        shapes = read_shapes(folder / "model.safetensors")
        weights.write(folder, shapes)
        logits = logits_of(folder)
        if text is not config:
            config.save_pretrained(folder)
            shapes = {
                name.replace("model.", "model.language_model.", 1): shape
                for name, shape in shapes.items()
            }
        saved = json.loads((folder / "config.json").read_text())
    return {
        "config": saved,
        "tensors": weights.pack(shapes),
        "ids": IDS,
        "logits": [[*place, round(float(logits[place]), 6)] for place in PLACES],
        "spread": round(float(logits.std()), 4),
    }


def build(config: Any) -> Any:
    """A model with a head for text."""
    torch.manual_seed(0)
    both = transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText
    for auto in both[::-1] if hasattr(config, "text_config") else both:
        with contextlib.suppress(ValueError):
            return auto.from_config(config).float()
    raise ValueError(f"no model of {type(config).__name__}")


def logits_of(folder: Path) -> Any:
    """Logits (tokens, vocabulary) that transformers gives for a folder."""
    config = transformers.AutoConfig.from_pretrained(folder)
    auto: Any = type(build(config))
    model, info = auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise ValueError(f"{kind} in {folder}: {sorted(info[kind])[:3]}")
    with torch.no_grad():
        return model.eval()(torch.tensor([IDS])).logits[0].float()


def read_shapes(file: Path) -> dict[str, list[int]]:
    """Names and shapes of a safetensors file."""
    with file.open("rb") as content:
        (length,) = struct.unpack("<Q", content.read(8))
        header = json.loads(content.read(length))
    return {name: facts["shape"] for name, facts in header.items() if name != "__metadata__"}


def main(names: list[str]) -> None:
    RECORDED.mkdir(exist_ok=True)
    for name in names or ARCHITECTURES:
        try:
            facts = record(name)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        print(name, facts["spread"], facts["logits"][:2])
        (RECORDED / f"{name}.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
