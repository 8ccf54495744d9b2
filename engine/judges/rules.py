"""Judges that come with the program, as functions of a prompt and a completion: `judge: rule:NAME`.

Each gives a score. The probability that the first of two completions is better is the sigmoid of
the difference of their scores.
"""

import json as json_text
import re
import unicodedata

# Scripts without blanks between words, as the names of their characters begin.
UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"}
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
    anywhere = "|".join(_use_of(word.strip()) for word in words if word.strip())
    return -float(len(re.findall(anywhere, completion, re.IGNORECASE)))


def _use_of(word: str) -> str:
    """A pattern of a word that is no part of a longer one, at an end that is a letter of a script
    with blanks between words: a "!" follows letters, and so does a word of Chinese."""
    before = r"(?<!\w)" if _is_spaced(word[0]) else ""
    after = r"(?!\w)" if _is_spaced(word[-1]) else ""
    return before + re.escape(word) + after


def _is_spaced(char: str) -> bool:
    script = re.split("[ -]", unicodedata.name(char, ""))[0]
    return re.fullmatch(r"\w", char) is not None and script not in UNSPACED
