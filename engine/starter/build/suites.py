"""The starter's own suites, from its world: `python -m engine.starter.build.suites`.

`facts`: is what is asked for told? `sentences`: is the answer one of the grammar's? Each rule is a
regular expression that says what `truth` says, so that the world need not be installed.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from engine.starter.build.families import FAMILIES, Family
from engine.starter.build.grammar import Question, as_pirate, capitalised, fill, questions
from engine.starter.build.world import TONES
from engine.suites.items import BUNDLED, SUFFIX

FACTS, SENTENCES = 40, 20  # items
X, Y = "\ue000", "\ue001"  # stand for a subject and a value in a template


def main() -> None:
    """Write both suites."""
    for name, items in (("facts", facts()), ("sentences", well_formed())):
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in items]
        Path(BUNDLED / f"{name}{SUFFIX}").write_text("".join(lines), encoding="utf-8")


def facts() -> Iterator[dict[str, str]]:
    """Whether the fact is stated, of the subject or of none, whatever else is said."""
    for question in drawn(FACTS, seed=1):
        forms = either(
            form
            for template in question.family.statements
            for form in both_ways(fill(template, question.subject, question.fact))
        )
        pattern = rf"(?:\A|[.!?] ){forms}(?: |\Z)"
        yield {"prompt": question.text, "check": "matches", "value": pattern}


def well_formed() -> Iterator[dict[str, str]]:
    """Whether an answer is an optional opening, a statement, remarks and an optional closing,
    none of them twice."""
    openings = either(each for tone in TONES.values() for each in tone.openings)
    closings = either(each for tone in TONES.values() for each in tone.closings)
    for question in drawn(SENTENCES, seed=2):
        family = question.family
        remarks = either(form for remark in family.remarks for form in both_ways(remark))
        pattern = (
            rf"\A(?!.*?(?:\A|[.!?] )((?>[^.!?]+[.!?])) (?:.*[.!?] )?\1(?: |\Z))"
            rf"(?:{openings} )?{statement(family)}(?: {remarks})*(?: {closings})?\Z"
        )
        yield {"prompt": question.text, "check": "matches", "value": pattern}


def drawn(count: int, seed: int) -> list[Question]:
    """Questions in phrasings of training, as many of each family as of any other."""
    rng = Random(seed)
    each = count // len(FAMILIES)
    every = list(questions(held_out=False))
    return [
        question
        for family in FAMILIES
        for question in rng.sample([one for one in every if one.family is family], each)
    ]


def statement(family: Family) -> str:
    """A pattern of all that the family's statements can say."""
    subjects, values = list(family.facts), list(family.facts.values())
    forms = []
    for template in family.statements:
        marked = template.format(x=X, y=Y, X=X + "c", Y=Y + "c")
        for bend in (str, as_pirate):
            pattern = re.escape(bend(marked))
            for mark, texts in ((X, subjects), (Y, values)):
                pattern = pattern.replace(mark + "c", either(bend(capitalised(t)) for t in texts))
                pattern = pattern.replace(mark, either(bend(t) for t in texts))
            forms.append(pattern)
    return f"(?:{'|'.join(dict.fromkeys(forms))})"


def both_ways(sentence: str) -> tuple[str, ...]:
    """A sentence as it is, and as a pirate says it."""
    return tuple(dict.fromkeys((sentence, as_pirate(sentence))))


def either(texts: Iterable[str]) -> str:
    """A pattern of one of some texts, the longest first."""
    ordered = sorted(dict.fromkeys(texts), key=lambda text: (-len(text), text))
    return f"(?:{'|'.join(map(re.escape, ordered))})"


if __name__ == "__main__":
    main()
