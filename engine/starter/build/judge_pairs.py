"""Labelled pairs for the judge, as the ids that the program will show it.

An answer comes from the grammar, from the policy itself, or broken; `truth` labels the pair.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from engine.judges.presentation import (
    FIRST_LABEL,
    PROMPT_LABEL,
    SECOND_LABEL,
    JudgePrompt,
    data_ids,
    frame_ids,
)
from engine.judges.quoting import QUOTE, quoted
from engine.starter.build import grammar
from engine.starter.build.broken import broken
from engine.starter.build.grammar import Question
from engine.starter.build.truth import (
    Traits,
    prefer,
    read,
    remarks,
    sentence_roles,
    sentences,
    statements,
)

POLICY_SHARE = 0.3  # answers that the policy wrote
TIE_SHARE = 0.05  # how often a pair that a rubric does not separate is kept
AGREED_SHARE = 0.5  # how often a pair on which both rubrics agree is kept


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer, in positions of the row's ids."""

    start: int
    end: int  # position after its last token
    known: bool  # whether the world has it for this question
    value: int | None  # last token of the value it states, if it states one
    words: int  # of the answer so far


@dataclass(frozen=True, slots=True)
class Side:
    """One answer of a row: where things are in the row's ids, and what is true of it."""

    end: int  # position of the token that follows the answer
    traits: Traits
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A pair in one order; `ids` stand between a rubric's prefix and its suffix. `targets` are
    P(first is better) by each of two rubrics."""

    ids: list[int]
    sides: tuple[Side, Side]
    targets: tuple[float, float]


def draw_answer(rng: Random, question: Question, written: Mapping[str, Sequence[str]]) -> str:
    """An answer of the policy's or the grammar's."""
    own = written.get(question.text)
    if own and rng.random() < POLICY_SHARE:
        return rng.choice(own)
    return grammar.answer(rng, question)


def draw_pair(
    rng: Random,
    meanings: tuple[str, str],
    questions: Sequence[Question],
    written: Mapping[str, Sequence[str]],
    broken_share: float,
) -> tuple[Question, str, str, tuple[float, float]]:
    """A question, two answers in random order, and P(first is better) by each of two rubrics.

    So large a share of the pairs has one answer that is broken.
    """
    while True:
        question = rng.choice(questions)
        first, second = (draw_answer(rng, question, written) for _ in range(2))
        if rng.random() < broken_share:
            second = broken(rng, question.text, grammar.answer(rng, question))
        if rng.random() < 0.5:
            first, second = second, first
        traits = read(question.text, first), read(question.text, second)
        if not (traits[0].well_formed or traits[1].well_formed):
            continue
        one, other = (prefer(meaning, *traits) for meaning in meanings)
        if 0.5 in (one, other) and rng.random() >= TIE_SHARE:
            continue
        differ = meanings[0] != meanings[1] and traits[0].well_formed == traits[1].well_formed
        if differ and one == other and rng.random() >= AGREED_SHARE:
            continue
        return question, first, second, (one, other)


def rows(
    rng: Random,
    meanings: tuple[str, str],
    questions: Sequence[Question],
    written: Mapping[str, Sequence[str]],
    broken_share: float,
    frame: JudgePrompt,
    size: int,
    pool: int = 8,
) -> Iterator[list[Row]]:
    """Endless lists of `size` rows of about the same length."""
    while True:
        drawn = [
            make_row(frame, *draw_pair(rng, meanings, questions, written, broken_share))
            for _ in range(size * pool)
        ]
        drawn.sort(key=lambda row: len(row.ids))
        chunks = [drawn[i : i + size] for i in range(0, len(drawn), size)]
        rng.shuffle(chunks)
        yield from chunks


def make_row(
    frame: JudgePrompt, question: Question, first: str, second: str, targets: tuple[float, float]
) -> Row:
    """Tokenise a pair and find where its answers and their sentences lie."""
    tokenizer = frame.tokenizer
    first_start = (
        len(frame_ids(tokenizer, PROMPT_LABEL))
        + token_count(tokenizer, quoted(question.text))
        + len(frame_ids(tokenizer, FIRST_LABEL))
    )
    one = find_side(tokenizer, question, first, "1", first_start)
    second_start = one.end + len(frame_ids(tokenizer, SECOND_LABEL))
    two = find_side(tokenizer, question, second, "2", second_start)
    ids = frame.pair_ids(question.text, first, second)
    return Row(ids[: -len(frame.suffix)], (one, two), targets)


def find_side(tokenizer: Any, question: Question, text: str, number: str, start: int) -> Side:
    """Locate an answer that is quoted with a number from position `start` on."""
    at, words = start + token_count(tokenizer, number + QUOTE.strip()), 0
    positions = []
    for sentence in sentences(text):
        # A token never spans two words, so the counts of sentences add up to the text's.
        lead = " "  # of the quote's mark, or what parted it from the sentence before
        end = at + token_count(tokenizer, lead + sentence)
        value = value_end(question, sentence)
        last = value and at + token_count(tokenizer, lead + sentence[:value]) - 1
        words += len(sentence.split())
        positions.append(Sentence(at, end, is_known(question, sentence), last or None, words))
        at = end
    return Side(
        start + token_count(tokenizer, quoted(text, number)),
        read(question.text, text),
        tuple(positions),
    )


@lru_cache(maxsize=100_000)
def token_count(tokenizer: Any, text: str) -> int:
    return len(data_ids(tokenizer, text))


def is_known(question: Question, sentence: str) -> bool:
    """Whether a sentence may stand in an answer to this question."""
    family = question.family.name
    return (
        sentence in sentence_roles()
        or family in remarks().get(sentence, ())
        or value_end(question, sentence) is not None
    )


def value_end(question: Question, sentence: str) -> int | None:
    """The character at which the value of a statement ends; None where nothing is stated."""
    for family, _, value in statements().get(sentence, ()):
        if family == question.family.name:
            # The value comes last, or first with a capital; a pirate bends what is in it too.
            said = value if value[1:] in sentence else grammar.as_pirate(value)
            return max(sentence.rfind(said), 0) + len(said)
    return None
