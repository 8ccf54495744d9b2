"""Beside torch: the gradient of a batch of existing pairs, by transformers' model in float64."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.preferences import Preference, read_preferences
from engine.data.sources import read_splits
from engine.model import arrays
from engine.train.online_dpo import summed_loss
from engine.train.optimizers import build_optimizer
from engine.train.roles import load_roles
from engine.train.update import Update
from engine.train.warm_start import end_of_turn, tokenized
from tests.engine.small_models import settings, stir, write_model

pytestmark = pytest.mark.interop

BETA, SCALE = 0.7, 3.0


def log_pi(torch: Any, model: Any, weights: dict[str, Any], prompt: Any, answer: Any) -> Any:
    ids = torch.tensor([[*prompt, *answer]])
    logits = torch.func.functional_call(model, weights, (ids,)).logits[0]
    logps = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
    return logps[range(len(answer)), list(answer)].sum()


def test_the_gradient_is_torchs_in_float64(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = write_model(tmp_path / "model", scale=1.0)
    file = tmp_path / "pairs.jsonl"
    rows = [
        {
            "prompt": f"Why {i}? " * (1 + i),
            "chosen": "It is so." * (1 + i % 2),
            "rejected": "No" * i,
        }
        for i in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = settings(
        model=str(folder),
        judge="human",
        beta=BETA,
        max_grad_norm=0.0,
        lora_parameters={"rank": 3, "scale": SCALE},
    )
    roles = load_roles(chosen)
    stir(roles.policy.model)
    update = Update(roles.policy, roles.reference, chosen, build_optimizer(chosen, 10))
    [split] = read_splits(str(file)).values()
    read = [each for _, each in read_preferences(split) if isinstance(each, Preference)]
    end = end_of_turn(roles.policy)
    pairs = [tokenized(each, roles.policy, chosen, end, 0) for each in read]
    batch = [pair for pair in pairs if pair]
    assert len(batch) == 4
    trained = arrays.flat(roles.policy.model.trainable_parameters())
    adapters = {
        name: torch.tensor(np.array(array), dtype=torch.float64, requires_grad=True)
        for name, array in trained.items()
    }
    means = update.add_gradients(summed_loss, batch, 1)
    ours = {name: np.array(each) / 4 for name, each in (update.gradients or {}).items()}

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    start = {name: each.detach() for name, each in model.named_parameters()}
    adapted = dict(start)
    for name, a in adapters.items():
        if name.endswith("lora_a"):
            layer = name.removesuffix(".lora_a")
            b = adapters[f"{layer}.lora_b"]
            adapted[f"{layer}.weight"] = start[f"{layer}.weight"] + SCALE * (a @ b).T
    loss: Any = 0
    for each in batch:
        prompt = each.pair.prompt_ids
        ratios = []
        for answer in (each.chosen_ids, each.rejected_ids):
            with torch.no_grad():
                reference = log_pi(torch, model, start, prompt, answer)
            ratios.append(log_pi(torch, model, adapted, prompt, answer) - reference)
        loss = loss - torch.nn.functional.logsigmoid(BETA * (ratios[0] - ratios[1])) / 4
    loss.backward()
    assert means.means["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    theirs = {name: each.grad.numpy() for name, each in adapters.items()}
    assert ours.keys() == theirs.keys()
    size = np.sqrt(sum((each**2).sum() for each in theirs.values()))
    off = np.sqrt(sum(((ours[name] - theirs[name]) ** 2).sum() for name in theirs))
    assert size > 1e-3
    assert off < 1e-4 * size, off / size
    print(f"gradient off by {off / size:.1e} of its norm {size:.3g}")
