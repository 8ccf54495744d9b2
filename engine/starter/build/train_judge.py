"""Train the judge: it reads a rubric, a prompt and two answers, and says 1 or 2.

It starts from the policy's layers, with two new ones on top. The answer alone is too thin a
signal for a model this small, so heads that are thrown away afterwards also ask its inner layers
what each answer is like: its sentences, tone, length and truth, and its score by the rubric.

From the middle of the first course on, every pair is shown under two rubrics, often opposite
ones. Under one alone the judge takes long to find that the rubric matters: what is right and
polite is a good guess without it. The courses after it are about facts and broken text.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from engine.judges.presentation import JudgePrompt, render_frame
from engine.settings.sections.judge import RUBRIC
from engine.starter.build import grammar, processes
from engine.starter.build.cpu_layers import cross_entropy, run_layer
from engine.starter.build.judge_pairs import Row, rows
from engine.starter.build.model_folder import HIDDEN, new_model
from engine.starter.build.pretrain import cosine_rate
from engine.starter.build.truth import RUBRIC_SCORES, Traits
from engine.starter.rubrics import BY_MEANING

LAYERS = 6
GROUPS = 4  # rubrics a step; the rows of one share the cache of its prefix
ROWS = 8  # pairs of answers a rubric
WARMUP = 60


@dataclass(frozen=True, slots=True)
class Course:
    """A part of the training, with a learning rate and heads of its own."""

    steps: int
    peak_rate: float
    shares: Mapping[str, float]  # how often each rubric comes
    broken_share: float  # of the pairs, one answer is broken
    plain_steps: int = 0  # of answers of the grammar alone, in which the facts are learned best
    alone_steps: int = 0  # in which every pair is shown under one rubric

    def shortened(self, every: int) -> "Course":
        """The course with one in `every` steps."""
        return replace(
            self,
            steps=self.steps // every,
            plain_steps=self.plain_steps // every,
            alone_steps=self.alone_steps // every,
        )


SHARES = {
    "polite": 1.5,
    "rude": 1.5,
    "pirate": 2.0,
    "shorter": 2.0,
    "longer": 2.0,
    "correct": 2.0,
    "correct and polite": 3.0,
}
COURSES = (
    Course(2000, 1.5e-3, SHARES, broken_share=0.3, plain_steps=400, alone_steps=1000),
    Course(900, 7e-4, SHARES | {"correct": 3.0, "correct and polite": 5.0}, broken_share=0.42),
    Course(1400, 7e-4, SHARES | {"correct": 3.0, "correct and polite": 5.0}, broken_share=0.5),
)
OPPOSITES = {"polite": "rude", "rude": "polite", "shorter": "longer", "longer": "shorter"}
OPPOSITE_SHARE = 0.5  # of the contrasts of these
LOSS_WEIGHTS = (1.0, 1.0, 1.0, 0.5, 0.3, 0.3)  # verdict, traits, value, sentence, words, rubric
TRAIT_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0, 4.0)  # politeness, pirate, words, right, formed, score
# Words become a number of about -1 to 1, as the other scores are.
MEAN_WORDS, WORDS_SCALE = 14, 5
BROKEN_SCORE = -3.0
# What should be known after which layer: the fact and the rubric; whether a stated value is right;
# what the whole answer is worth. The last layer compares the two.
FACT_LAYER, VALUE_LAYER, ANSWER_LAYER = 3, 4, 5


class Heads(nn.Module):
    """Linear readings of inner layers, used in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.value_norm = nn.RMSNorm(HIDDEN)
        self.value = nn.Linear(HIDDEN, 1)  # right or wrong
        self.sentence_norm = nn.RMSNorm(HIDDEN)
        self.sentence = nn.Linear(HIDDEN, 2)  # known or not, words so far
        self.answer_norm = nn.RMSNorm(HIDDEN)
        self.answer = nn.Linear(HIDDEN, len(TRAIT_WEIGHTS))
        self.rubric_norm = nn.RMSNorm(HIDDEN)
        self.rubric = nn.Linear(HIDDEN, len(RUBRIC_SCORES))


class Trained(nn.Module):
    """The judge and its heads, so that one optimizer sees both."""

    def __init__(self, judge: Any) -> None:
        super().__init__()
        self.judge = judge
        self.heads = Heads()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one rubric as arrays. Positions index the flattened (rows * length) states."""

    meaning: str
    prefix: mx.array  # (1, prefix length)
    ids: mx.array  # (rows, length), right-padded
    last: mx.array  # (rows,) index of each row's last token
    target: mx.array  # (rows,) P(first is better)
    ends: mx.array  # (2 rows,) positions that follow an answer
    traits: mx.array  # (2 rows, traits) what the answer heads should say
    values: mx.array  # (statements,) positions of the last token of a stated value
    values_right: mx.array  # (statements,) 1 or 0
    stops: mx.array  # (sentences,) positions of the last tokens of sentences
    stop_targets: mx.array  # (sentences, 2) known 1 or 0, tens of words so far
    fact_positions: mx.array  # (tokens,) positions before the tokens of sound and right sentences
    fact_targets: mx.array  # (tokens,) those tokens


def make_batch(meaning: str, frame: JudgePrompt, group: list[Row], which: int, pad: int) -> Batch:
    """Rows under the rubric `meaning` in one of its frames, whose targets are the rows' first or
    second (`which`)."""
    length = max(len(row.ids) for row in group) + len(frame.suffix)
    ids = np.full((len(group), length), pad, np.int32)
    last, ends, traits, values, right, stops, stop_targets, fact_positions, fact_targets = (
        [] for _ in range(9)
    )
    for index, row in enumerate(group):
        whole = [*row.ids, *frame.suffix]
        ids[index, : len(whole)] = whole
        base = index * length
        last.append(len(whole) - 1)
        for side in row.sides:
            ends.append(base + side.end)
            traits.append(trait_targets(meaning, side.traits))
            for sentence in side.sentences:
                stops.append(base + sentence.end - 1)
                stop_targets.append([float(sentence.known), sentence.words / 10])
                if not side.traits.well_formed:
                    continue
                if sentence.value is not None:
                    values.append(base + sentence.value)
                    right.append(float(side.traits.right))
                if sentence.value is None or side.traits.right:
                    fact_positions.extend(range(base + sentence.start - 1, base + sentence.end - 1))
                    fact_targets.extend(row.ids[sentence.start : sentence.end])
    return Batch(
        meaning,
        mx.array([list(frame.prefix)]),
        mx.array(ids),
        mx.array(last),
        mx.array([row.targets[which] for row in group]),
        mx.array(ends),
        mx.array(traits),
        mx.array(values, mx.int32),
        mx.array(right, mx.float32),
        mx.array(stops, mx.int32),
        mx.array(stop_targets),
        mx.array(fact_positions, mx.int32),
        mx.array(fact_targets, mx.int32),
    )


def trait_targets(meaning: str, traits: Traits) -> list[float]:
    words = (traits.words - MEAN_WORDS) / WORDS_SCALE
    score = {"shorter": -words, "longer": words}.get(meaning, RUBRIC_SCORES[meaning](traits))
    return [
        float(traits.politeness),
        float(traits.pirate),
        words,
        2.0 * traits.right - 1.0,
        2.0 * traits.well_formed - 1.0,
        score if traits.well_formed else BROKEN_SCORE,
    ]


def states_at(batch: Batch, judge: Any) -> tuple[dict[int, mx.array], mx.array, mx.array]:
    """Flattened hidden states (rows * length, HIDDEN) after each layer but the last, those of
    the rows' last tokens (rows, HIDDEN) after the last layer, and the state (1, HIDDEN) at the
    end of the rubric's prefix after the fact layer."""
    body = judge.model
    prefix, hidden = body.embed_tokens(batch.prefix), body.embed_tokens(batch.ids)
    states, rubric = {}, prefix
    for number, layer in enumerate(body.layers, 1):
        last = batch.last if number == len(body.layers) else None
        prefix, shared = run_layer(layer, prefix)
        hidden, _ = run_layer(layer, hidden, shared, last)
        states[number] = hidden.reshape(-1, HIDDEN)
        if number == FACT_LAYER:
            rubric = prefix[:, -1]
    return states, hidden[:, 0], rubric


def batch_loss(batch: Batch, judge: Any, heads: Heads, answers: tuple[int, int]) -> list[mx.array]:
    """The judge's own loss, then the auxiliary ones."""
    states, last, rubric = states_at(batch, judge)
    logits_of = judge.model.embed_tokens.as_linear
    log_p = nn.log_softmax(logits_of(judge.model.norm(last)), axis=-1)
    verdict = -(batch.target * log_p[:, answers[0]] + (1 - batch.target) * log_p[:, answers[1]])
    answer = heads.answer(heads.answer_norm(states[ANSWER_LAYER][batch.ends]))
    traits = nn.losses.smooth_l1_loss(answer, batch.traits, reduction="none")
    traits = (traits * mx.array(TRAIT_WEIGHTS)).mean()
    meaning = mx.array([list(RUBRIC_SCORES).index(batch.meaning)])
    rubric = nn.losses.cross_entropy(heads.rubric(heads.rubric_norm(rubric)), meaning)
    known = heads.sentence(heads.sentence_norm(states[VALUE_LAYER][batch.stops]))
    sentence = nn.losses.binary_cross_entropy(known[:, 0], batch.stop_targets[:, 0]).mean()
    sentence = sentence + mx.square(known[:, 1] - batch.stop_targets[:, 1]).mean()
    value = fact_loss = mx.array(0.0)
    if batch.values.size:
        guess = heads.value(heads.value_norm(states[VALUE_LAYER][batch.values]))[:, 0]
        value = nn.losses.binary_cross_entropy(guess, batch.values_right)
    if batch.fact_positions.size:
        fact = judge.model.norm(states[FACT_LAYER][batch.fact_positions])
        fact_loss = cross_entropy(logits_of(fact), batch.fact_targets).mean()
    return [verdict.mean(), traits, value, sentence, fact_loss, rubric.mean()]


def total_loss(
    trained: Trained, group: list[Batch], answers: tuple[int, int]
) -> tuple[mx.array, mx.array]:
    """Weighted loss of a step, and its parts for the log."""
    parts = [batch_loss(batch, trained.judge, trained.heads, answers) for batch in group]
    means = mx.stack([mx.stack(part) for part in parts]).mean(axis=0)
    return (means * mx.array(LOSS_WEIGHTS)).sum(), means


def from_policy(policy: Any, tokenizer: Any) -> nn.Module:
    """A judge whose lower layers and embeddings are the policy's; new layers start small."""
    from mlx.utils import tree_flatten

    judge: Any = new_model(LAYERS, tokenizer)
    judge.load_weights(tree_flatten(policy.parameters()), strict=False)
    for layer in judge.model.layers[len(policy.model.layers) :]:
        layer.self_attn.o_proj.weight = layer.self_attn.o_proj.weight * 0.1
        layer.mlp.down_proj.weight = layer.mlp.down_proj.weight * 0.1
    mx.eval(judge.parameters())
    return judge


def train_judge(
    policy: Any,
    tokenizer: Any,
    written: Mapping[str, Sequence[str]],
    seed: int,
    report: Callable[[str], None],
    every: int = 1,
) -> nn.Module:
    """Train the judge; about an hour and a half of processor time.

    Args:
        written: completions of the policy by prompt, a part of what the judge is shown.
        every: one in so many steps is taken.
    """
    judge = from_policy(policy, tokenizer)
    for number, course in enumerate(COURSES):
        take_course(course.shortened(every), judge, tokenizer, written, seed + number, report)
    return judge


def take_course(
    course: Course,
    judge: nn.Module,
    tokenizer: Any,
    written: Mapping[str, Sequence[str]],
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Train the judge in place."""
    mx.random.seed(seed)
    rng = Random(seed)
    trained = Trained(judge)
    questions = list(grammar.questions(held_out=False))
    frames = {
        name: [render_frame(tokenizer, wording) for wording in BY_MEANING[name].trained]
        for name in RUBRIC_SCORES
    }
    # The program's default rubric, written for real judges, means this to the small one.
    frames["correct and polite"] += [render_frame(tokenizer, RUBRIC)] * 12
    answers = frames["correct"][0].answers
    make = lambda pair, shown: rows(  # noqa: E731
        rng, pair, questions, shown, course.broken_share, frames[pair[0]][0], ROWS
    )
    sources = {pair: make(pair, written) for pair in itertools.product(RUBRIC_SCORES, repeat=2)}
    plain = {(name, name): make((name, name), {}) for name in RUBRIC_SCORES}
    optimizer = optim.AdamW(course.peak_rate, betas=[0.9, 0.98], weight_decay=0.02)
    loss_and_grad = nn.value_and_grad(trained, total_loss)
    log: list[list[float]] = []
    started = time.time()
    for step in range(course.steps):
        rate = cosine_rate(step, course.steps, course.peak_rate, WARMUP)
        optimizer.learning_rate = mx.array(rate)
        group = []
        while len(group) < GROUPS:
            alone = step < course.alone_steps
            pair = draw_rubrics(rng, course.shares, alone)
            some = next((plain if step < course.plain_steps else sources)[pair])
            for which, name in enumerate(pair[:1] if alone else pair):
                frame = rng.choice(frames[name])
                group.append(make_batch(name, frame, some, which, tokenizer.pad_token_id))
        (_, parts), grads = loss_and_grad(trained, processes.own_part(group), answers)
        grads, _ = optim.clip_grad_norm(processes.average(grads), 1.0)
        optimizer.update(trained, grads)
        mx.eval(trained.parameters(), optimizer.state, parts)
        log.append(parts.tolist())
        if (step + 1) % 50 == 0:
            means = " ".join(f"{value:.3f}" for value in np.mean(log[-50:], axis=0))
            report(f"judge step {step + 1} losses {means} {time.time() - started:.0f} s")


def draw_rubrics(rng: Random, shares: Mapping[str, float], alone: bool) -> tuple[str, str]:
    """Two different rubrics, or one twice."""
    draw = lambda names: rng.choices(names, [shares[name] for name in names])[0]  # noqa: E731
    one = draw(list(shares))
    if alone:
        return one, one
    if one in OPPOSITES and rng.random() < OPPOSITE_SHARE:
        return one, OPPOSITES[one]
    return one, draw([name for name in shares if name != one])
