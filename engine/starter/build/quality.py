"""How good the built policy and judge are, measured on what they were not trained on."""

from collections.abc import Sequence
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np

from engine.judges.presentation import JudgePrompt, answer_ids, render_frame
from engine.starter.build import grammar
from engine.starter.build.broken import broken
from engine.starter.build.cpu_layers import run_layer
from engine.starter.build.sample import sample
from engine.starter.build.truth import prefer, read
from engine.starter.rubrics import BY_MEANING

BATCH = 32

Pair = tuple[str, str, str]  # prompt, first answer, second answer


def ask(judge: Any, frame: JudgePrompt, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Let the judge read each pair in the order given.

    Returns:
        P(first is better), float (pairs,), and the mass on the two answer tokens, float (pairs,).
    """
    ids = [frame.pair_ids(*pair) for pair in pairs]
    order = sorted(range(len(pairs)), key=lambda i: len(ids[i]))
    chances, masses = np.zeros(len(pairs)), np.zeros(len(pairs))
    first, second = answer_ids(frame.tokenizer)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        logits = last_logits(judge, frame.prefix, [ids[i] for i in chosen])
        p = np.array(mx.softmax(logits, axis=-1))
        one, two = p[:, list(first)].sum(-1), p[:, list(second)].sum(-1)
        chances[chosen], masses[chosen] = one / (one + two), one + two
    return chances, masses


def last_logits(judge: Any, prefix: Sequence[int], rows: list[list[int]]) -> mx.array:
    """Logits (rows, vocabulary) at the last token of each row, all after one prefix."""
    length = max(len(row) for row in rows)
    padded = mx.array([row + [0] * (length - len(row)) for row in rows])
    last = mx.array([len(row) - 1 for row in rows])
    body = judge.model
    before, hidden = body.embed_tokens(mx.array([list(prefix)])), body.embed_tokens(padded)
    for number, layer in enumerate(body.layers, 1):
        before, shared = run_layer(layer, before)
        hidden, _ = run_layer(layer, hidden, shared, last if number == len(body.layers) else None)
    return body.embed_tokens.as_linear(body.norm(hidden[:, 0]))


def ask_both(judge: Any, frame: JudgePrompt, pairs: Sequence[Pair]) -> tuple[np.ndarray, ...]:
    """q averaged over both orders, and P(first) of each order as it was shown; each (pairs,)."""
    one, _ = ask(judge, frame, pairs)
    two, _ = ask(judge, frame, [(prompt, b, a) for prompt, a, b in pairs])
    return (one + 1 - two) / 2, one, two


def test_pairs(meaning: str, count: int, seed: int) -> tuple[list[Pair], list[float]]:
    """Well-formed pairs on held-out phrasings that the rubric separates, and their labels."""
    rng = Random(seed)
    asked = list(grammar.questions(held_out=True))
    pairs: list[Pair] = []
    labels: list[float] = []
    while len(pairs) < count:
        question = rng.choice(asked)
        first, second = (grammar.answer(rng, question) for _ in range(2))
        label = prefer(meaning, read(question.text, first), read(question.text, second))
        if label != 0.5:
            pairs.append((question.text, first, second))
            labels.append(label)
    return pairs, labels


def broken_pairs(count: int, seed: int) -> list[Pair]:
    """A well-formed answer and a broken one, in this order."""
    rng = Random(seed)
    asked = list(grammar.questions(held_out=True))
    pairs = []
    for _ in range(count):
        question = rng.choice(asked)
        good, bad = (grammar.answer(rng, question) for _ in range(2))
        pairs.append((question.text, good, broken(rng, question.text, bad)))
    return pairs


def judge_quality(
    judge: Any, tokenizer: Any, meaning: str, count: int = 300, seed: int = 7
) -> dict[str, float]:
    """Accuracy over both orders, P(first), swap consistency, and how often broken text loses.

    The pairs are shared out among the rubric's held-out wordings.
    """
    wordings = BY_MEANING[meaning].held_out
    hits, firsts, agreed, intact = [], [], [], []
    for number, wording in enumerate(wordings):
        frame = render_frame(tokenizer, wording)
        pairs, labels = test_pairs(meaning, count // len(wordings), seed + number)
        q, one, two = ask_both(judge, frame, pairs)
        hits.append((q > 0.5) == (np.array(labels) > 0.5))
        agreed.append((one > 0.5) == (two < 0.5))
        firsts.append((one + two) / 2)
        q, _, _ = ask_both(judge, frame, broken_pairs(count // len(wordings), seed + number))
        intact.append(q > 0.5)
    return {
        "accuracy": float(np.concatenate(hits).mean()),
        "first": float(np.concatenate(firsts).mean()),
        "consistent": float(np.concatenate(agreed).mean()),
        "broken loses": float(np.concatenate(intact).mean()),
    }


def policy_quality(
    policy: Any, tokenizer: Any, temperature: float = 0.8, rounds: int = 3, seed: int = 1
) -> dict[str, float]:
    """Shares of well-formed, right, polite and distinct completions on held-out prompts."""
    prompts = [q.text for q in grammar.questions(held_out=True)] * rounds
    texts = sample(policy, tokenizer, prompts, temperature, seed)
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
