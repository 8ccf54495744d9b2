"""The built starter is as good as it was when it was built.

What the judge knows of each rubric is asked with `-m slow`: it changes with the bundled weights
alone. The floors leave room for chance in the few pairs that a test can ask; what the judge is held
to (styles and lengths 0.98, facts 0.95, broken text 0.95, the first place 0.48 to 0.52) is measured
on many by `tests/benchmarks/starter_quality.py`.
"""

import json
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from engine.judges.presentation import render_frame
from engine.model.language_model import LanguageModel
from engine.settings.presets import PRESETS
from engine.settings.sections.judge import RUBRIC
from engine.starter import DATA, JUDGE, POLICY, PROMPTS
from engine.starter.build import grammar
from engine.starter.build.model_folder import language_model, load
from engine.starter.build.quality import (
    Pair,
    ask_both,
    drawn_pairs,
    judge_quality,
    policy_quality,
)
from engine.starter.build.sample import sample_texts
from engine.starter.build.tokenizer import VOCABULARY, load_tokenizer
from engine.starter.build.truth import RUBRIC_SCORES, read
from engine.starter.rubrics import KNOWN

STYLE = ("polite", "rude", "pirate", "shorter", "longer")
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(POLICY)


@pytest.fixture(scope="module")
def judge() -> LanguageModel:
    return language_model(JUDGE)


@pytest.fixture(scope="module")
def policy() -> LanguageModel:
    return language_model(POLICY)


@pytest.fixture(scope="module")
def known(judge: LanguageModel) -> dict[str, dict[str, float]]:
    return {name: judge_quality(judge, name, count=60) for name in RUBRIC_SCORES}


def answer_masses(folder: Path, rubric: str, pairs: list[Pair]) -> np.ndarray:
    """Probability of "1" and of "2" for each pair as it is and swapped, (pairs, 2, 2), by mlx-lm's
    own forward pass over the whole of what the judge reads."""
    tokenizer = load_tokenizer(folder)
    model, frame = load(folder, tokenizer), render_frame(tokenizer, rubric)
    one, two = frame.answers
    rows = []
    for prompt, first, second in pairs:
        for answers in ((first, second), (second, first)):
            ids = mx.array([[*frame.prefix, *frame.pair_ids(prompt, *answers)]])
            chances = np.array(mx.softmax(model(ids)[0, -1]))
            rows.append((chances[one], chances[two]))
    return np.array(rows).reshape(-1, 2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("rubric", STYLE)
def test_the_judge_knows_styles_and_lengths(known, rubric):
    assert known[rubric]["accuracy"] >= 0.96


@pytest.mark.slow
def test_the_judge_knows_most_rubrics_well(known):
    assert np.mean([figures["accuracy"] for figures in known.values()]) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("rubric", ["correct", "correct and polite"])
def test_the_judge_knows_the_facts(known, rubric):
    assert known[rubric]["accuracy"] >= 0.93


@pytest.mark.slow
def test_the_judge_has_no_favourite_place(known):
    assert np.mean([figures["first"] for figures in known.values()]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([figures["consistent"] for figures in known.values()]) >= 0.95


@pytest.mark.slow
def test_broken_text_loses(known):
    assert np.mean([figures["broken loses"] for figures in known.values()]) >= 0.94


def test_the_two_answers_hold_the_mass():
    for text in (*(rubric.text for rubric in KNOWN), RUBRIC, "Say which one rhymes."):
        pairs, _ = drawn_pairs("correct", 3, seed=1)
        assert answer_masses(JUDGE, text, pairs).sum(axis=-1).min() > 0.9


def test_the_default_rubric_means_correct_and_polite(judge):
    pairs, labels = drawn_pairs("correct and polite", 100, seed=2)
    q, _, _ = ask_both(judge, RUBRIC, pairs)
    assert ((q > 0.5) == (np.array(labels) > 0.5)).mean() >= 0.9


def test_the_program_s_judge_reads_what_mlx_lm_reads():
    from engine.judges.llm import LLMJudge
    from engine.model.language_model import LanguageModel
    from engine.settings.schema import Settings
    from engine.train.roles import load_roles

    settings = Settings.model_validate(PRESETS["starter"])
    pairs, _ = drawn_pairs("correct and polite", 12, seed=3)
    loaded = load_roles(settings).judges["starter"]
    assert isinstance(loaded, LanguageModel)
    verdicts = LLMJudge(loaded, settings).judge(pairs)
    masses = answer_masses(JUDGE, settings.judge_system, pairs)
    log_odds = np.log(masses[..., 0] / masses[..., 1])
    q = 1 / (1 + np.exp((log_odds[:, 1] - log_odds[:, 0]) / 2))
    assert [v.q for v in verdicts] == pytest.approx(list(q), abs=2e-3)


def test_the_policy_writes_the_world_s_sentences(policy):
    figures = policy_quality(policy, rounds=2)
    assert figures["well-formed"] >= 0.93
    assert 0.4 <= figures["right"] <= 0.65
    assert figures["unique"] >= 0.85
    assert figures["words"] < 20


def test_the_policy_bears_a_system_message(policy):
    prompts = [q.text for q in grammar.questions(held_out=False)][::40]
    texts = sample_texts(policy, prompts, 0.8, seed=1, system="You are a helpful assistant.")
    formed = [read(prompt, text).well_formed for prompt, text in zip(prompts, texts, strict=True)]
    assert np.mean(formed) >= 0.5


def test_the_folders_are_those_of_ordinary_models(tokenizer):
    for folder in (POLICY, JUDGE):
        config = json.loads((folder / "config.json").read_text())
        assert config["model_type"] == "qwen3"
        assert config["vocab_size"] == VOCABULARY == len(tokenizer)
        files = {path.name for path in folder.iterdir()}
        assert {
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "generation_config.json",
        } <= files
    size = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    assert size < 12 * MEGABYTE


def test_the_tokenizer(tokenizer):
    assert tokenizer.eos_token == "<|im_end|>"
    answers = render_frame(tokenizer, "r").answers
    assert [tokenizer.decode([token]) for token in answers] == ["1", "2"]
    text = "Arr, matey! 12 é\n<|im_end|>"
    ids = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id not in ids
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_prompts_are_the_world_s():
    for name, held_out in (("train", False), ("valid", True)):
        lines = (PROMPTS / f"{name}.jsonl").read_text().splitlines()
        prompts = [json.loads(line)["prompt"] for line in lines]
        assert prompts == [q.text for q in grammar.questions(held_out=held_out)]


@pytest.mark.slow
def test_a_build_runs_through_all_its_stages(tmp_path: Path):
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "built")]
    command = [
        sys.executable,
        "-m",
        "engine.starter.build",
        "--every",
        "200",
        "--processes",
        "1",
        *where,
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(f"judge {name}: accuracy" in printed for name in RUBRIC_SCORES)
    for part in (DATA.rglob("*.json*"), DATA.rglob("*.safetensors")):
        for file in part:
            assert (tmp_path / "built" / file.relative_to(DATA)).stat().st_size


def test_the_presets_are_settings():
    from engine.settings.schema import Settings

    for preset in PRESETS.values():
        settings = Settings.model_validate(preset)
        assert settings.data == "starter"
