"""The built starter is as good as it was when it was built.

The floors of the judge leave room for chance in the few pairs that a quick test can ask; what it
is held to (styles and lengths 0.98, facts 0.95, broken text 0.95, the first place 0.48 to 0.52)
is measured on many by `tests/benchmarks/starter_quality.py`.
"""

import json

import numpy as np
import pytest

from engine.judges.presentation import answer_ids, render_frame
from engine.settings.presets import PRESETS
from engine.settings.schema import RUBRIC
from engine.starter import DATA, DESCRIPTION, JUDGE, POLICY, PROMPTS, RUBRICS
from engine.starter.build import grammar
from engine.starter.build.tokenizer import VOCABULARY, load_tokenizer
from engine.starter.build.truth import RUBRIC_SCORES, read

STYLE = ("polite", "rude", "pirate", "shorter", "longer")
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(POLICY)


@pytest.fixture(scope="module")
def judge(tokenizer):
    from engine.starter.build.model_folder import load

    return load(JUDGE, tokenizer)


@pytest.fixture(scope="module")
def policy(tokenizer):
    from engine.starter.build.model_folder import load

    return load(POLICY, tokenizer)


@pytest.fixture(scope="module")
def known(judge, tokenizer):
    from engine.starter.build.quality import judge_quality

    return {name: judge_quality(judge, tokenizer, name, count=90) for name in RUBRIC_SCORES}


@pytest.mark.parametrize("rubric", STYLE)
def test_the_judge_knows_styles_and_lengths(known, rubric):
    assert known[rubric]["accuracy"] >= 0.96


def test_the_judge_knows_most_rubrics_well(known):
    assert np.mean([figures["accuracy"] for figures in known.values()]) >= 0.97


@pytest.mark.parametrize("rubric", ["correct", "correct and polite"])
def test_the_judge_knows_the_facts(known, rubric):
    assert known[rubric]["accuracy"] >= 0.93


def test_the_judge_has_no_favourite_place(known):
    assert np.mean([figures["first"] for figures in known.values()]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([figures["consistent"] for figures in known.values()]) >= 0.95


def test_broken_text_loses(known):
    assert np.mean([figures["broken loses"] for figures in known.values()]) >= 0.94


def test_the_two_answers_hold_the_mass(judge, tokenizer):
    from engine.starter.build.quality import ask, test_pairs

    for text in (*RUBRICS.values(), RUBRIC, "Say which one rhymes."):
        pairs, _ = test_pairs("correct", 8, seed=1)
        _, masses = ask(judge, render_frame(tokenizer, text), pairs)
        assert masses.min() > 0.9


def test_the_default_rubric_means_correct_and_polite(judge, tokenizer):
    from engine.starter.build.quality import ask_both, test_pairs

    pairs, labels = test_pairs("correct and polite", 100, seed=2)
    q, _, _ = ask_both(judge, render_frame(tokenizer, RUBRIC), pairs)
    assert ((q > 0.5) == (np.array(labels) > 0.5)).mean() >= 0.9


def test_the_program_s_judge_reads_the_same(judge, tokenizer):
    from engine.judges.llm import LLMJudge
    from engine.settings.schema import Settings
    from engine.starter.build.quality import ask_both, test_pairs
    from engine.train.roles import load_roles

    settings = Settings.model_validate(PRESETS["starter"])
    pairs, _ = test_pairs("correct and polite", 12, seed=3)
    loaded = load_roles(settings).judge
    assert loaded is not None
    verdicts = LLMJudge(loaded, settings).judge(pairs)
    q, _, _ = ask_both(judge, render_frame(tokenizer, settings.judge_system), pairs)
    assert [v.q for v in verdicts] == pytest.approx(list(q), abs=2e-3)


def test_the_policy_writes_the_world_s_sentences(policy, tokenizer):
    from engine.starter.build.quality import policy_quality

    figures = policy_quality(policy, tokenizer, rounds=2)
    assert figures["well-formed"] >= 0.93
    assert 0.4 <= figures["right"] <= 0.65
    assert figures["unique"] >= 0.85
    assert figures["words"] < 20


def test_the_policy_bears_a_system_message(policy, tokenizer):
    from engine.starter.build.sample import sample

    asked = [q.text for q in grammar.questions(held_out=False)][::40]
    texts = sample(policy, tokenizer, asked, 0.8, seed=1, system="You are a helpful assistant.")
    formed = [read(prompt, text).well_formed for prompt, text in zip(asked, texts, strict=True)]
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
    first, second = answer_ids(tokenizer)
    assert len(first) == len(second) == 1
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


def test_it_says_what_it_is():
    assert "small bundled world" in DESCRIPTION
    assert all(name in DESCRIPTION for name in RUBRICS)


def test_the_presets_are_settings():
    from engine.settings.schema import Settings

    for preset in PRESETS.values():
        settings = Settings.model_validate(preset)
        assert settings.model == settings.data == "starter"
