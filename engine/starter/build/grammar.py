"""Prompts and answers of the starter's world, drawn from a seeded `random.Random`.

An answer is at most one opening, one statement of a fact, some remarks, at most one closing:

    answer  = [opening] statement remark* [closing]

Tone, truth and length are drawn independently, so each can be preferred apart from the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from engine.starter.build.families import FAMILIES, Family
from engine.starter.build.world import PIRATE_WORDS, TONES

# How often an answer is right, in which tone, how it is marked, and with how many remarks.
RIGHT = 0.46
TONE_WEIGHTS = {"plain": 0.25, "polite": 0.25, "rude": 0.25, "pirate": 0.25}
MARKS = {(True, False): 0.35, (False, True): 0.25, (True, True): 0.4}  # (opening, closing)
REMARKS = {0: 0.4, 1: 0.38, 2: 0.22}


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt of the world, and what it asks for."""

    family: Family
    subject: str
    text: str

    @property
    def fact(self) -> str:
        return self.family.facts[self.subject]


def questions(*, held_out: bool) -> Iterator[Question]:
    """Every prompt of the world: those of training, or those in phrasings kept from it."""
    for family in FAMILIES:
        templates = (family.held_out_question,) if held_out else family.training_questions
        for subject in family.facts:
            for template in templates:
                yield Question(family, subject, fill(template, subject))


def fill(template: str, x: str, y: str = "") -> str:
    """Put a subject and a value into a template of `families`."""
    return template.format(x=x, y=y, X=capitalised(x), Y=capitalised(y))


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def as_pirate(sentence: str) -> str:
    """A statement or remark as a pirate says it."""
    for word, bent in PIRATE_WORDS.items():
        sentence = sentence.replace(word, bent)
    return sentence


def pick(rng: Random, weights: dict) -> object:
    return rng.choices(list(weights), list(weights.values()))[0]


def wrong_value(rng: Random, question: Question) -> str:
    """A value of the same family that is not the fact."""
    values = sorted(set(question.family.facts.values()) - {question.fact})
    return rng.choice(values)


def answer(
    rng: Random,
    question: Question,
    *,
    right: bool | None = None,
    tone: str | None = None,
    remarks: int | None = None,
) -> str:
    """Draw an answer; what is not given is drawn by the weights above."""
    right = rng.random() < RIGHT if right is None else right
    tone = str(pick(rng, TONE_WEIGHTS)) if tone is None else tone
    count = int(str(pick(rng, REMARKS))) if remarks is None else remarks
    value = question.fact if right else wrong_value(rng, question)
    body = [fill(rng.choice(question.family.statements), question.subject, value)]
    body += rng.sample(question.family.remarks, count)
    if tone == "pirate":
        body = [as_pirate(sentence) for sentence in body]
    opening, closing = [], []
    if tone != "plain":
        opens, closes = rng.choices(list(MARKS), list(MARKS.values()))[0]
        opening = [rng.choice(TONES[tone].openings)] if opens else []
        closing = [rng.choice(TONES[tone].closings)] if closes else []
    return " ".join(opening + body + closing)
