"""Judges that come with the program, as functions of a prompt and a completion: `judge: rule:NAME`.

Each gives a score. The probability that the first of two completions is better is the sigmoid of
the difference of their scores.
"""

import json as json_text
import re

SURE = 5.0  # a difference that makes a probability of 0.993


def length(prompt: str, completion: str, *, words: int) -> float:
    """Nearer to so many words is better, a word at a time; 0: shorter is."""
    return -abs(len(completion.split()) - words)


def matches(prompt: str, completion: str, *, pattern: str) -> float:
    """One in which a regular expression is found is better."""
    return SURE if re.search(pattern, completion) else 0.0


def json(prompt: str, completion: str) -> float:
    """One that is JSON, and nothing else, is better."""
    try:
        json_text.loads(completion)
    except (ValueError, RecursionError):
        return 0.0
    return SURE


def avoid(prompt: str, completion: str, *, words: list[str]) -> float:
    """Each use of a word costs a point, in whatever case."""
    anywhere = "|".join(re.escape(word) for word in words)
    return -float(len(re.findall(rf"(?<!\w)(?:{anywhere})(?!\w)", completion, re.IGNORECASE)))
