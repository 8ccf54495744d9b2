"""Labelled pairs for the judge, as the ids that the program will show it.

An answer comes from the grammar, from the policy itself, or broken; `truth` labels the pair.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from engine.judges.presentation import (
    FIRST_LABEL,
    PROMPT_LABEL,
    SECOND_LABEL,
    JudgePrompt,
    data_ids,
    frame_ids,
)
from engine.starter import grammar
from engine.starter.broken import broken
from engine.starter.grammar import Question
from engine.starter.truth import Traits, prefer, read, statements

BROKEN_SHARE = 0.25  # pairs in which one answer is broken
POLICY_SHARE = 0.3  # answers that the policy wrote
TIE_SHARE = 0.08  # how often a pair that the rubric does not separate is kept


@dataclass(frozen=True, slots=True)
class Side:
    """One answer of a row: where things are in the row's ids, and what is true of it."""

    end: int  # position of the token that follows the answer
    traits: Traits
    statement: tuple[int, int] | None  # first token of the statement and the one after its last
    value: int | None  # last token of the value that the statement gives


@dataclass(frozen=True, slots=True)
class Row:
    """A pair in one order; `ids` follow the rubric's prefix. `target` is P(first is better)."""

    ids: list[int]
    sides: tuple[Side, Side]
    target: float


def draw_answer(
    rng: Random, question: Question, written: Mapping[str, Sequence[str]], remarks: int | None
) -> str:
    """An answer of the policy's or the grammar's, the latter with so many remarks (None: any)."""
    own = written.get(question.text)
    if own and rng.random() < POLICY_SHARE:
        return rng.choice(own)
    return grammar.answer(rng, question, remarks=remarks)


def draw_pair(
    rng: Random,
    meaning: str,
    asked: Sequence[Question],
    written: Mapping[str, Sequence[str]],
    remarks: int | None = None,
) -> tuple[Question, str, str, float]:
    """A question, two answers in random order, and P(first is better) by a rubric's meaning."""
    while True:
        question = rng.choice(asked)
        first, second = (draw_answer(rng, question, written, remarks) for _ in range(2))
        if rng.random() < BROKEN_SHARE:
            second = broken(rng, question.text, grammar.answer(rng, question))
        if rng.random() < 0.5:
            first, second = second, first
        traits = read(question.text, first), read(question.text, second)
        if not (traits[0].well_formed or traits[1].well_formed):
            continue
        target = prefer(meaning, *traits)
        if target != 0.5 or rng.random() < TIE_SHARE:
            return question, first, second, target


def rows(
    rng: Random,
    meaning: str,
    asked: Sequence[Question],
    written: Mapping[str, Sequence[str]],
    frame: JudgePrompt,
    size: int,
    pool: int = 8,
    remarks: int | None = None,
) -> Iterator[list[Row]]:
    """Endless lists of `size` rows of about the same length."""
    while True:
        drawn = [
            make_row(frame, *draw_pair(rng, meaning, asked, written)) for _ in range(size * pool)
        ]
        drawn.sort(key=lambda row: len(row.ids))
        chunks = [drawn[i : i + size] for i in range(0, len(drawn), size)]
        rng.shuffle(chunks)
        yield from chunks


def make_row(frame: JudgePrompt, question: Question, first: str, second: str, target: float) -> Row:
    """Tokenise a pair and find where its answers and statements lie."""
    tokenizer = frame.tokenizer
    count = lambda text: len(data_ids(tokenizer, text))  # noqa: E731
    first_start = (
        len(frame_ids(tokenizer, PROMPT_LABEL))
        + count(question.text)
        + len(frame_ids(tokenizer, FIRST_LABEL))
    )
    first_end = first_start + count(first)
    second_start = first_end + len(frame_ids(tokenizer, SECOND_LABEL))
    second_end = second_start + count(second)
    sides = []
    for text, start, end in ((first, first_start, first_end), (second, second_start, second_end)):
        statement = value = None
        if span := find_statement(question, text):
            first_word, value_end, full_stop = span
            statement = start + count(text[:first_word].rstrip()), start + count(text[:full_stop])
            value = start + count(text[:value_end]) - 1
        sides.append(Side(end, read(question.text, text), statement, value))
    ids = frame.pair_ids(question.text, first, second)
    return Row(ids, (sides[0], sides[1]), target)


def find_statement(question: Question, text: str) -> tuple[int, int, int] | None:
    """Characters at which the statement of a fact starts, its value ends, and it ends."""
    start = 0
    for sentence in re.split(r"(?<=[.!?]) ", text):
        for family, _, value in statements().get(sentence, ()):
            if family == question.family.name:
                # The value comes last, or first with a capital.
                at = sentence.rfind(value)
                at = max(at, 0) + len(value)
                return start, start + at, start + len(sentence)
        start += len(sentence) + 1
    return None
