"""Text that has gone wrong, made from text that has not: what a judge must never reward."""

from random import Random

from engine.starter.build import grammar
from engine.starter.build.truth import all_questions, read, sentences


def shuffled_words(rng: Random, text: str) -> str:
    words = text.split()
    rng.shuffle(words)
    return " ".join(words)


def repeated_words(rng: Random, text: str) -> str:
    words = text.split()
    at = rng.randrange(len(words))
    return " ".join(words[:at] + [words[at]] * rng.randint(2, 8) + words[at + 1 :])


def dropped_words(rng: Random, text: str) -> str:
    words = text.split()
    rest = [word for word in words if rng.random() > 0.35]
    return " ".join(rest or words[:1])


def cut_words(rng: Random, text: str) -> str:
    """Some words lose their end."""
    cut = lambda word: word[: rng.randint(1, max(1, len(word) - 1))]  # noqa: E731
    return " ".join(cut(w) if rng.random() < 0.4 else w for w in text.split())


def truncated(rng: Random, text: str) -> str:
    return text[: rng.randrange(1, len(text))].rstrip()


def misspelt(rng: Random, text: str) -> str:
    letters = list(text)
    for _ in range(max(2, len(letters) // 6)):
        letters[rng.randrange(len(letters))] = rng.choice("abcdefghijklmnopqrstuvwxyz .!?")
    return "".join(letters)


def garbage(rng: Random, text: str) -> str:
    """Random printable characters and bytes, about as long as the text."""
    size = rng.randint(3, max(4, len(text) // 2))
    return "".join(
        chr(rng.choice((rng.randint(33, 126), rng.randint(160, 255)))) for _ in range(size)
    )


def repeated_text(rng: Random, text: str) -> str:
    return " ".join([text] * rng.randint(2, 3))


def repeated_sentence(rng: Random, text: str) -> str:
    parts = sentences(text)
    at = rng.randrange(len(parts))
    again = rng.randint(at, len(parts))
    return " ".join([*parts[:again], parts[at], *parts[again:]])


def lost_sentence(rng: Random, text: str) -> str:
    parts = sentences(text)
    del parts[rng.randrange(len(parts))]
    return " ".join(parts)


def shuffled_sentences(rng: Random, text: str) -> str:
    parts = sentences(text)
    rng.shuffle(parts)
    return " ".join(parts)


def foreign_sentence(rng: Random, text: str) -> str:
    """A sentence gives way to one from an answer to something else."""
    parts = sentences(text)
    parts[rng.randrange(len(parts))] = rng.choice(sentences(stray_answer(rng)))
    return " ".join(parts)


def foreign_words(rng: Random, text: str) -> str:
    """A word or two give way to words from an answer to something else."""
    words = text.split()
    for _ in range(rng.randint(1, 2)):
        words[rng.randrange(len(words))] = rng.choice(stray_answer(rng).split())
    return " ".join(words)


def spliced(rng: Random, text: str) -> str:
    """A sentence goes over into the end of another one."""
    parts = sentences(text)
    at = rng.randrange(len(parts))
    head, tail = parts[at].split(), rng.choice(sentences(stray_answer(rng))).split()
    parts[at] = " ".join(head[: rng.randint(1, len(head))] + tail[-rng.randint(1, len(tail)) :])
    return " ".join(parts)


def stray_answer(rng: Random) -> str:
    return grammar.answer(rng, rng.choice(list(all_questions().values())))


KINDS = (
    shuffled_words,
    repeated_words,
    dropped_words,
    cut_words,
    truncated,
    misspelt,
    garbage,
    repeated_text,
    repeated_sentence,
    lost_sentence,
    shuffled_sentences,
    foreign_sentence,
    foreign_words,
    spliced,
)


def broken(rng: Random, prompt: str, text: str) -> str:
    """A broken form of an answer, checked to be outside the grammar."""
    while True:
        result = rng.choice(KINDS)(rng, text)
        if result.strip() and not read(prompt, result).well_formed:
            return result
