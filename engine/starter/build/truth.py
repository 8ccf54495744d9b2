"""What is true of a plain text: the starter's scorers, which read text and nothing else.

`read` is the grammar run backwards. `RUBRIC_SCORES` says what each rubric means: the answer with
the higher score is the better one, and a text outside the grammar loses to one inside it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from engine.starter.build.families import FAMILIES
from engine.starter.build.grammar import Question, as_pirate, fill, questions
from engine.starter.build.world import TONES

LENGTH_TIE = 2  # answers whose lengths differ by no more words than this are equally long

Meaning = tuple[str, str | None, str]  # family, subject (None: not named), value


@dataclass(frozen=True, slots=True)
class Traits:
    """What the scorers find in one answer to one prompt."""

    well_formed: bool
    right: bool
    politeness: int  # polite sentences less rude ones, -2 to 2
    pirate: int  # pirate openings and closings, 0 to 2
    words: int


def read(prompt: str, text: str) -> Traits:
    """Read an answer to a prompt of the world.

    Raises:
        KeyError: the prompt is not one of the world's.
    """
    question = all_questions()[prompt]
    parts = sentences(text)
    roles = sentence_roles()
    kinds = [roles.get(sentence, "") for sentence in parts]
    stated = [
        meaning
        for sentence in parts
        for meaning in statements().get(sentence, ())
        if meaning[0] == question.family.name
    ]
    return Traits(
        well_formed=is_derivable(parts, kinds, question),
        right=any(is_right(meaning, question) for meaning in stated),
        politeness=sum(kind.startswith("polite") for kind in kinds)
        - sum(kind.startswith("rude") for kind in kinds),
        pirate=sum(kind.startswith("pirate") for kind in kinds),
        words=len(text.split()),
    )


def sentences(text: str) -> list[str]:
    """A text cut after every full stop, exclamation and question mark that a space follows."""
    return re.split(r"(?<=[.!?]) ", text)


def is_right(meaning: Meaning, question: Question) -> bool:
    _, subject, value = meaning
    return subject in (None, question.subject) and value == question.fact


def is_derivable(parts: list[str], kinds: list[str], question: Question) -> bool:
    """Whether the sentences are an optional opening, a statement, remarks, an optional closing.

    Tones may mix; a sentence may not come twice.
    """
    family = question.family.name
    body = range(
        1 if kinds[0].endswith("opening") else 0,
        len(kinds) - (1 if kinds[-1].endswith("closing") else 0),
    )
    if not body or len(set(parts)) < len(parts):
        return False
    stated = any(m[0] == family for m in statements().get(parts[body[0]], ()))
    return stated and all(family in remarks().get(parts[i], ()) for i in body[1:])


@cache
def all_questions() -> dict[str, Question]:
    return {q.text: q for held_out in (False, True) for q in questions(held_out=held_out)}


@cache
def sentence_roles() -> dict[str, str]:
    """Opening or closing sentence -> for instance "polite opening"."""
    return {
        sentence: f"{name} {role}"
        for name, tone in TONES.items()
        for role, group in (("opening", tone.openings), ("closing", tone.closings))
        for sentence in group
    }


@cache
def statements() -> dict[str, tuple[Meaning, ...]]:
    """Every sentence that states something, with all that it can mean."""
    meanings_of: dict[str, set[Meaning]] = {}
    for family in FAMILIES:
        for template in family.statements:
            for value in set(family.facts.values()):
                for subject in family.facts if "{x}" in template.lower() else (None,):
                    sentence = fill(template, subject or "", value)
                    for form in (sentence, as_pirate(sentence)):
                        meanings_of.setdefault(form, set()).add((family.name, subject, value))
    return {sentence: tuple(meanings) for sentence, meanings in meanings_of.items()}


@cache
def remarks() -> dict[str, tuple[str, ...]]:
    """Every remark, plain or pirate -> the families that use it."""
    families_of: dict[str, tuple[str, ...]] = {}
    for family in FAMILIES:
        for remark in family.remarks:
            for form in {remark, as_pirate(remark)}:
                families_of[form] = (*families_of.get(form, ()), family.name)
    return families_of


RUBRIC_SCORES: dict[str, Callable[[Traits], float]] = {
    "polite": lambda t: t.politeness,
    "rude": lambda t: -t.politeness,
    "pirate": lambda t: t.pirate,
    "shorter": lambda t: -t.words,
    "longer": lambda t: t.words,
    "correct": lambda t: t.right,
    "correct and polite": lambda t: t.right + t.politeness / 2,
}


def prefer(rubric: str, first: Traits, second: Traits) -> float:
    """1.0 where the first answer is better by the rubric, 0.0 the second, 0.5 neither."""
    if first.well_formed != second.well_formed:
        return float(first.well_formed)
    score = RUBRIC_SCORES[rubric]
    difference = score(first) - score(second)
    tie = LENGTH_TIE if rubric in ("shorter", "longer") else 0
    if abs(difference) <= tie:
        return 0.5
    return float(difference > 0)
