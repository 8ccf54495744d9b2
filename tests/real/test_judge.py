"""A real small model as judge: what it makes of polite and rude answers.

`polite_pairs.jsonl` are those on which the wording of the frame was chosen, and
`polite_pairs_held_out.jsonl` others, in which nothing was chosen.
"""

import json
from pathlib import Path

import mlx.core as mx
import pytest

from engine.compute import choose
from engine.judges.llm import LLMJudge
from engine.model.language_model import LanguageModel
from engine.model.load import load
from engine.settings.schema import Settings
from tests.engine.small_models import number


@pytest.fixture(scope="module")
def judge(smollm2: Path) -> LanguageModel:
    """SmolLM2-135M-Instruct as a run loads it."""
    model, tokenizer, _ = load(smollm2, "judge", quantization="none", trust_remote_code=False)
    return choose.alone(model, tokenizer, 2048)


@pytest.mark.parametrize(
    "file",
    ["polite_pairs_held_out", pytest.param("polite_pairs", marks=pytest.mark.slow)],
)
def test_a_small_judge_prefers_polite_answers(judge: LanguageModel, file: str) -> None:
    """Floors below what was measured: all 64 pairs valid, 0.94 of them decided (0.92 and 0.95 of
    the two files), right in 0.90 of those (0.95 and 0.87)."""
    lines = Path(__file__).with_name(f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines]
    settings = Settings(judge="starter", judge_system="Prefer the more polite answer.")
    answers = LLMJudge(judge, settings).judge(
        [(p["prompt"], p["first"], p["second"]) for p in pairs]
    )
    decided = [(a, p["winner"]) for a, p in zip(answers, pairs, strict=True) if a.decided]
    assert sum(each.q is not None for each in answers) >= 0.95 * len(answers)
    assert len(decided) >= 0.9 * len(answers)
    assert sum(a.choice == winner for a, winner in decided) >= 0.85 * len(decided)


def test_the_numbers_hold_the_mass(judge: LanguageModel) -> None:
    """The answer is begun, so that nothing but a number comes next."""
    frame = LLMJudge(judge, Settings(judge="starter"))._frame
    rows = [frame.pair_ids("Why?", "Because.", "No idea"), frame.pair_ids("Hi", "No.", "Hello!")]
    logits = judge.backend.last_logits(frame.prefix, rows).astype(mx.float32)
    mass = mx.softmax(logits, axis=-1)[:, mx.array(frame.answers)].sum(axis=-1)
    assert number(mass.min()) > 0.95
