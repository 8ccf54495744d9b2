"""How good the built policy and judge are, measured on what they were not trained on."""

from collections.abc import Sequence
from random import Random

import numpy as np

from engine.judges.llm import LLMJudge
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings
from engine.starter.build import grammar
from engine.starter.build.broken import broken
from engine.starter.build.sample import sample_texts
from engine.starter.build.truth import prefer, read
from engine.starter.rubrics import BY_MEANING

Pair = tuple[str, str, str]  # prompt, first answer, second answer


def ask_both(judge: LanguageModel, rubric: str, pairs: Sequence[Pair]) -> tuple[np.ndarray, ...]:
    """q of both orders together, and P(first) of each order as it was shown; each (pairs,), NaN
    where the judge says neither 1 nor 2."""
    settings = Settings(judge="starter", judge_system=rubric)
    verdicts = LLMJudge(judge, settings).judge(pairs)
    orders = np.array([each.q_orders or (np.nan, np.nan) for each in verdicts])
    q = np.array([np.nan if each.q is None else each.q for each in verdicts])
    return q, orders[:, 0], 1 - orders[:, 1]


def drawn_pairs(meaning: str, count: int, seed: int) -> tuple[list[Pair], list[float]]:
    """Well-formed pairs on held-out phrasings that the rubric separates, and their labels."""
    rng = Random(seed)
    questions = list(grammar.questions(held_out=True))
    pairs: list[Pair] = []
    labels: list[float] = []
    while len(pairs) < count:
        question = rng.choice(questions)
        first, second = (grammar.answer(rng, question) for _ in range(2))
        label = prefer(meaning, read(question.text, first), read(question.text, second))
        if label != 0.5:
            pairs.append((question.text, first, second))
            labels.append(label)
    return pairs, labels


def broken_pairs(count: int, seed: int) -> list[Pair]:
    """A well-formed answer and a broken one, in this order."""
    rng = Random(seed)
    questions = list(grammar.questions(held_out=True))
    pairs = []
    for _ in range(count):
        question = rng.choice(questions)
        good, bad = (grammar.answer(rng, question) for _ in range(2))
        pairs.append((question.text, good, broken(rng, question.text, bad)))
    return pairs


def judge_quality(
    judge: LanguageModel, meaning: str, count: int = 300, seed: int = 7
) -> dict[str, float]:
    """Accuracy over both orders, P(first), swap consistency, and how often broken text loses.

    The pairs are shared out among the rubric's held-out wordings.
    """
    wordings = BY_MEANING[meaning].held_out
    each = max(1, count // len(wordings))
    hits, firsts, agreed, intact = [], [], [], []
    for number, wording in enumerate(wordings):
        pairs, labels = drawn_pairs(meaning, each, seed + number)
        q, one, two = ask_both(judge, wording, pairs)
        # A pair without an answer is no hit and no agreement: NaN is neither above nor below.
        hits.append(np.where(np.array(labels) > 0.5, q > 0.5, q < 0.5))
        agreed.append(((one > 0.5) & (two < 0.5)) | ((one < 0.5) & (two > 0.5)))
        firsts.append((one + two) / 2)
        q, _, _ = ask_both(judge, wording, broken_pairs(each, seed + number))
        intact.append(q > 0.5)
    return {
        "accuracy": float(np.concatenate(hits).mean()),
        "first": float(np.concatenate(firsts).mean()),
        "consistent": float(np.concatenate(agreed).mean()),
        "broken loses": float(np.concatenate(intact).mean()),
    }


def policy_quality(
    policy: LanguageModel, temperature: float = 0.8, rounds: int = 3, seed: int = 1, every: int = 1
) -> dict[str, float]:
    """Shares of well-formed, right, polite and distinct completions on held-out prompts, or on
    every so many of them."""
    prompts = [q.text for q in grammar.questions(held_out=True)][::every] * rounds
    texts = sample_texts(policy, prompts, temperature, seed)
    traits = [read(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    share = lambda values: sum(values) / len(traits)  # noqa: E731
    return {
        "well-formed": share(t.well_formed for t in traits),
        "right": share(t.right for t in traits),
        "polite": share(t.politeness > 0 for t in traits),
        "pirate": share(t.pirate > 0 for t in traits),
        "unique": len(set(zip(prompts, texts, strict=True))) / len(texts),
        "words": share(t.words for t in traits),
    }
