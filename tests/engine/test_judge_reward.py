"""A reward model as judge: its scores are transformers', and a run learns by them.

`tests/interop/record_reward.py` recorded the scores; the weights are made again from their names.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.data.prompts import Prompt
from engine.data.rendering import render_answered
from engine.errors import UserError
from engine.events import Log
from engine.judges.reward import RewardJudge
from engine.message import Message
from engine.model.files import is_reward_model
from engine.model.reward import RewardModel, load_reward_model
from engine.plan.memory import plan
from engine.session import Session
from tests.engine.small_models import byte_tokenizer, settings, write_model, write_prompts
from tests.interop import weights

RECORDED = Path(__file__).parents[1] / "interop" / "rewards"
LAYOUTS = sorted(file.stem for file in RECORDED.glob("*.json"))
TEXTS = [
    ("What is it?", "It is a very long answer.", "It is."),
    ("Why?", "So.", "Because it was always so."),
    ("Who?", "Me.", "Me."),
]
TIMEOUT = 120.0  # seconds


def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text())


def folder_of(name: str, place: Path, outputs: int = 1, **changes: Any) -> Path:
    """The recorded model, as transformers saves it."""
    facts = recorded(name)
    place.mkdir(parents=True)
    shapes = weights.unpack(facts["tensors"])
    shapes["score.weight"] = [outputs, shapes["score.weight"][1]]
    weights.write(place, shapes)
    (place / "config.json").write_text(json.dumps(facts["config"] | changes))
    byte_tokenizer().save_pretrained(place)
    return place


def load(folder: Path, **more: Any) -> RewardModel:
    return load_reward_model(folder, "judge", **{"quantization": "none", **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of("qwen3", tmp_path / "reward")


def test_all_layouts_are_recorded() -> None:
    assert LAYOUTS == ["llama", "qwen2", "qwen3"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_scores_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    facts = recorded(name)
    model = load(folder_of(name, tmp_path / name))
    alone = [np.array(model.scores([row])).item() for row in facts["rows"]]
    np.testing.assert_allclose(alone, facts["scores"], rtol=0, atol=1e-4)
    together = np.array(model.scores(facts["rows"]))
    np.testing.assert_allclose(together, facts["scores"], rtol=0, atol=1e-4)


def test_q_is_the_sigmoid_of_the_lead(folder: Path) -> None:
    model = load(folder)
    judge = RewardJudge(model, settings(), "reward")
    verdicts = judge.judge(TEXTS)
    for (prompt, *answers), verdict in zip(TEXTS, verdicts, strict=True):
        rows = [
            render_answered(
                model.tokenizer, [Message("user", prompt), Message("assistant", answer)]
            )
            for answer in answers
        ]
        first, second = np.array(mx.concatenate([model.scores([row]) for row in rows])).tolist()
        assert verdict.q == pytest.approx(1 / (1 + math.exp(second - first)), abs=1e-5)
        assert verdict.q_orders is None
    assert verdicts[2].choice == "tie"
    swapped = judge.judge([(prompt, second, first) for prompt, first, second in TEXTS])
    assert [each.q for each in swapped] == pytest.approx([1 - (v.q or 0) for v in verdicts])


def test_each_answer_is_scored_once_and_two_scores_are_a_verdict(folder: Path) -> None:
    model = load(folder)
    read: list[int] = []

    class Counted(RewardModel):
        def scores(self, rows: Sequence[Sequence[int]]) -> mx.array:
            read.append(len(rows))
            return super().scores(rows)

    counted = Counted(model.body, model.head, model.bias, model.tokenizer)
    judge = RewardJudge(counted, settings(), "reward")
    assert judge.gives_scores
    texts = ["It is so.", "No idea", "What?", "Perhaps.", "Because of it."]
    scores = judge.score([("Why?", text) for text in texts])
    assert sum(read) == len(texts)
    for one, other in ((0, 1), (3, 4), (4, 2)):
        (verdict,) = judge.judge([("Why?", texts[one], texts[other])])
        by_scores = judge.verdict_on(scores[one], scores[other])
        assert by_scores.q == pytest.approx(verdict.q, abs=1e-5)
        assert by_scores.choice == verdict.choice


def test_a_conversation_ends_with_its_answer_and_the_end_of_its_turn(folder: Path) -> None:
    tokenizer = load(folder).tokenizer
    turns = [Message("user", "Hi <|im_end|>"), Message("assistant", "Yes.")]
    ids = render_answered(tokenizer, turns)
    controls = [each for each in ids if each < 5]
    assert tokenizer.decode(ids) == (
        "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    )
    assert controls == [1, 2, 1, 2]  # what the data spells is none


def test_a_prompt_of_several_turns_is_read_as_such(folder: Path) -> None:
    judge = RewardJudge(load(folder), settings(), "reward")
    turns = (Message("system", "Be kind."), Message("user", "Hi"))
    of_turns, of_text = judge.judge([(Prompt(turns, "Hi"), "Yes.", "No."), ("Hi", "Yes.", "No.")])
    assert of_turns.q != of_text.q


def test_of_what_is_too_long_the_end_is_read_and_told_of(folder: Path) -> None:
    warned: list[str] = []
    judge = RewardJudge(load(folder), settings(judge_max_tokens=40), "r", warn=warned.append)
    verdicts = judge.judge([("Why? " * 20, "Yes.", "No."), ("a", "b", "c"), ("a" * 90, "b", "c")])
    assert [verdict.cut for verdict in verdicts] == [True, False, True]
    assert len(warned) == 1
    assert "judge_max_tokens (40)" in warned[0]


def test_one_without_memory_is_invalid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(folder)
    warned: list[str] = []
    honest = RewardModel.scores

    def scores(self: RewardModel, rows: Any) -> mx.array:
        if len(rows) > 1 or any(len(row) > 45 for row in rows):
            raise RuntimeError("[malloc] Unable to allocate 3 bytes.")
        return honest(self, rows)

    monkeypatch.setattr(RewardModel, "scores", scores)
    verdicts = RewardJudge(model, settings(), "r", warn=warned.append).judge(TEXTS)
    assert [verdict.choice == "invalid" for verdict in verdicts] == [True, True, False]
    assert "no memory" in verdicts[0].note
    assert "lower judge_max_tokens" in warned[0]


# -- bad input -------------------------------------------------------------------------------------


def test_two_outputs(tmp_path: Path) -> None:
    folder = folder_of("qwen3", tmp_path / "two", outputs=2)
    with pytest.raises(UserError, match=r"^judge: .* has 2 outputs, and a reward model has one;"):
        load(folder)


def test_a_layout_that_is_not_known(tmp_path: Path) -> None:
    folder = folder_of("qwen3", tmp_path / "other", model_type="gemma2")
    with pytest.raises(UserError, match="a reward model of type gemma2; the layouts that can be"):
        load(folder)


def test_a_folder_that_lacks_a_weight_or_its_head(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = folder_of("qwen3", tmp_path / "lacking")
    whole = load_file(folder / "model.safetensors")
    for lost, told in (("score.weight", "has no score.weight"), ("model.norm.weight", "it lacks")):
        save_file(
            {name: array for name, array in whole.items() if name != lost},
            folder / "model.safetensors",
        )
        with pytest.raises(UserError, match=told):
            load(folder)
    whole["model.norm.weight"] = whole["model.norm.weight"][:-1]
    save_file(whole, folder / "model.safetensors")
    with pytest.raises(UserError, match="cannot be loaded: "):
        load(folder)


def test_more_layers_than_tensors(tmp_path: Path) -> None:
    folder = folder_of("qwen3", tmp_path / "deep", num_hidden_layers=10**9)
    with pytest.raises(UserError, match="num_hidden_layers: 1000000000, which it cannot have"):
        load(folder)


def test_no_chat_template(folder: Path) -> None:
    model = load(folder)
    model.tokenizer._tokenizer.chat_template = None
    with pytest.raises(UserError, match="has no chat template"):
        RewardJudge(model, settings(), "reward")


def test_a_model_for_text_is_no_reward_model(tmp_path: Path, folder: Path) -> None:
    assert is_reward_model(folder)
    assert not is_reward_model(write_model(tmp_path / "text"))
    assert not is_reward_model(tmp_path / "nowhere")


# -- a run -----------------------------------------------------------------------------------------


@pytest.fixture
def chosen(tmp_path: Path) -> Callable[..., Any]:
    model = write_model(tmp_path / "policy", scale=1.0)
    prompts = write_prompts(tmp_path / "prompts.jsonl", 12)

    def make(judge: Path, **values: Any) -> Any:
        small = {
            "model": str(model),
            "judge": str(judge),
            "data": str(prompts),
            "iters": 3,
            "batch_size": 2,
            "eval_prompts": 3,
            "steps_per_eval": 3,
            "max_completion_length": 5,
        }
        return settings(**{**small, **values})

    return make


def test_a_run(chosen: Callable[..., Any], folder: Path) -> None:
    session = Session(chosen(folder))
    session.start()
    assert session.join(TIMEOUT)
    assert session.error is None
    run = session.run
    assert run is not None
    labels = [line for file in ("pairs.jsonl", "undecided.jsonl") for line in run.read(file)]
    assert len(labels) == 6
    assert all(label["q"] is None or 0 < label["q"] < 1 for label in labels)
    assert any(label["choice"] in ("first", "second") for label in labels)
    said = [event.text for event in session.drain() if isinstance(event, Log)]
    assert f"judge: {folder} is a reward model, which reads no rubric" in said
    assert [line["step"] for line in run.read("metrics.jsonl") if "split" in line] == [0, 3]


def test_its_weights_are_counted(chosen: Callable[..., Any], folder: Path) -> None:
    size = (folder / "model.safetensors").stat().st_size
    judge = plan(chosen(folder)).judge
    assert judge is not None
    assert 0.9 * size < judge <= size


def test_two_outputs_are_told_of_before_anything_is_loaded(
    chosen: Callable[..., Any], tmp_path: Path
) -> None:
    two = folder_of("qwen2", tmp_path / "two", outputs=2)
    session = Session(chosen(two, model=str(tmp_path / "two")))  # which is no model for text
    session.start()
    assert session.join(TIMEOUT)
    assert session.error_is_users
    assert "has 2 outputs" in (session.error or "")
