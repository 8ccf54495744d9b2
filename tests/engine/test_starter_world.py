"""The starter's world: what the grammar writes, the scorers read back; held out is held out."""

from collections import Counter
from random import Random

import pytest

from engine.starter.build import grammar
from engine.starter.build.broken import KINDS, broken
from engine.starter.build.families import FAMILIES
from engine.starter.build.judge_pairs import is_known, value_end
from engine.starter.build.truth import (
    LENGTH_TIE,
    RUBRIC_SCORES,
    Traits,
    prefer,
    read,
    sentence_roles,
    statements,
)
from engine.starter.build.world import TONES
from engine.starter.rubrics import BY_MEANING, KNOWN

TRAINED = list(grammar.questions(held_out=False))
HELD_OUT = list(grammar.questions(held_out=True))
SAMPLES = 4000


@pytest.mark.parametrize("asked", [TRAINED, HELD_OUT], ids=["trained", "held out"])
@pytest.mark.parametrize("tone", list(TONES))
@pytest.mark.parametrize("right", [True, False])
def test_the_scorers_read_what_the_grammar_wrote(asked, tone, right):
    rng = Random(f"{tone} {right}")
    for _ in range(SAMPLES // 8):
        question = rng.choice(asked)
        text = grammar.answer(rng, question, right=right, tone=tone)
        traits = read(question.text, text)
        assert traits.well_formed, text
        assert traits.right == right, (question.text, text)
        assert traits.words == len(text.split())
        assert (traits.politeness > 0) == (tone == "polite"), text
        assert (traits.politeness < 0) == (tone == "rude"), text
        assert (traits.pirate > 0) == (tone == "pirate"), text


def test_answers_follow_the_stated_weights():
    rng = Random(1)
    traits = [read(q.text, grammar.answer(rng, q)) for q in rng.choices(TRAINED, k=SAMPLES)]
    assert sum(t.right for t in traits) / SAMPLES == pytest.approx(grammar.RIGHT, abs=0.03)
    polite = sum(t.politeness > 0 for t in traits) / SAMPLES
    assert polite == pytest.approx(grammar.TONE_WEIGHTS["polite"], abs=0.03)


def test_the_same_seed_draws_the_same_answers():
    def drawn(seed: int) -> list[str]:
        rng = Random(seed)
        return [grammar.answer(rng, question) for question in TRAINED]

    assert drawn(3) == drawn(3) != drawn(4)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_broken_text_is_seen_as_broken(kind):
    rng = Random(2)
    asked = rng.choices(TRAINED, k=300)
    seen = [read(q.text, kind(rng, grammar.answer(rng, q))).well_formed for q in asked]
    assert sum(seen) / len(seen) < 0.9  # a lost sentence may be a remark, a swap may change nothing


def test_broken_is_always_outside_the_grammar():
    rng = Random(3)
    for question in rng.choices(TRAINED, k=500):
        text = broken(rng, question.text, grammar.answer(rng, question))
        assert not read(question.text, text).well_formed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Of course!",
        "I hope this helps.",
        "It is a lovely city to visit.",  # a remark states nothing
        "The capital of France is Paris. The capital of France is Paris.",
        "Paris. Paris.",
        "The capital of France is Paris. Of course!",  # an opening at the end
        "I hope this helps. Paris.",
        "The capital of France is Paris",
        "the capital of France is Paris.",
        "The opposite of hot is cold.",  # an answer to another kind of question
        "Paris. Children learn it when they paint.",
        "Paris.  I hope this helps.",
        "Paris.\nI hope this helps.",
    ],
)
def test_text_outside_the_grammar(text):
    assert not read("What is the capital of France?", text).well_formed


def test_a_true_statement_about_something_else_is_not_right():
    traits = read("What is the capital of France?", "The capital of Spain is Madrid.")
    assert traits.well_formed
    assert not traits.right


def test_a_prompt_from_elsewhere_is_refused():
    with pytest.raises(KeyError):
        read("What is the capital of Mars?", "It is Paris.")


def test_held_out_phrasings_are_never_trained():
    trained = {q.text for q in TRAINED}
    assert not trained & {q.text for q in HELD_OUT}
    for family in FAMILIES:
        assert family.held_out_question not in family.training_questions
        assert len(set(family.questions)) == len(family.questions) >= 6
    for rubric in KNOWN:
        assert not set(rubric.trained) & set(rubric.held_out)
        assert len(rubric.trained) >= 12


def test_every_fact_is_trained():
    asked = Counter((q.family.name, q.subject) for q in TRAINED)
    facts = {(family.name, subject) for family in FAMILIES for subject in family.facts}
    assert set(asked) == facts == {(q.family.name, q.subject) for q in HELD_OUT}


def test_no_sentence_has_two_roles():
    assert not set(sentence_roles()) & set(statements())
    openings = [s for tone in TONES.values() for s in tone.openings + tone.closings]
    assert len(openings) == len(set(openings))


def test_rubrics_prefer_what_they_say():
    plain = Traits(well_formed=True, right=True, politeness=0, pirate=0, words=10)
    polite = Traits(well_formed=True, right=False, politeness=2, pirate=0, words=15)
    broken_one = Traits(well_formed=False, right=True, politeness=2, pirate=2, words=1)
    assert prefer("polite", polite, plain) == 1.0
    assert prefer("rude", polite, plain) == 0.0
    assert prefer("correct", polite, plain) == 0.0
    assert prefer("correct and polite", polite, plain) == 0.5
    assert prefer("pirate", polite, plain) == 0.5
    assert prefer("shorter", plain, polite) == prefer("longer", polite, plain) == 1.0
    for rubric in RUBRIC_SCORES:
        assert prefer(rubric, plain, broken_one) == 1.0
        assert prefer(rubric, broken_one, plain) == 0.0
        assert prefer(rubric, plain, plain) == 0.5
    close = Traits(well_formed=True, right=True, politeness=0, pirate=0, words=10 + LENGTH_TIE)
    assert prefer("longer", close, plain) == 0.5


def test_known_rubrics_are_those_that_have_a_meaning():
    assert set(BY_MEANING) == set(RUBRIC_SCORES)
    assert len({rubric.text for rubric in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize(
    "sentence", ["The capital of France is Rome.", "Rome is the capital of France."]
)
def test_the_value_is_found_in_a_statement(sentence):
    question = next(q for q in TRAINED if q.text == "What is the capital of France?")
    end = value_end(question, sentence)
    assert sentence[:end].endswith("Rome")
    assert value_end(question, "Of course!") is None
    assert is_known(question, sentence)
    assert is_known(question, "Of course!")
    assert not is_known(question, "It is weak.")


def test_the_value_is_found_in_every_statement_of_every_tone():
    for family in FAMILIES:
        subject, *_ = family.facts
        question = grammar.Question(family, subject, "")
        for template in family.statements:
            for value in family.facts.values():
                for bend in (str, grammar.as_pirate):
                    sentence = bend(grammar.fill(template, subject, value))
                    end = value_end(question, sentence)
                    assert sentence[:end].lower().endswith(bend(value).lower()), sentence
