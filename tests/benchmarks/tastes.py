"""What a scripted person prefers, which prompts are answered, and what is told of the answers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from engine.data.chat_messages import Message
from engine.data.prompts import Prompt, load_prompts
from engine.settings.files import from_mapping, preset_mapping

PRESET = "smollm2-human"
HELD_OUT = 32
TOPICS_HELD_OUT = 8
# Prompts on the topics below, for what they have a model write: longer answers, lists, small talk.
FORMS = {
    "topics": (
        "Tell me about {}.",
        "What should I know about {}?",
        "Give me some advice on {}.",
        "Explain {} to a friend of mine.",
    ),
    "tips": (
        "Give me some advice on {}.",
        "Give me five tips on {}.",
        "List what I need for {}.",
        "What are the steps of {}?",
    ),
    "chats": (
        "Hey! What's fun about {}?",
        "I'm thinking about {}. What do you think?",
        "I want to know more about {}, can you help me?",
        "Can you help me with {}?",
    ),
}
TOPICS = """
growing tomatoes, the moon, baking bread, learning to swim, old castles, honey bees, trains,
keeping a diary, thunderstorms, making soup, chess openings, house cats, volcanoes, a first job,
painting a room, migrating birds, saving money, mountain hiking, coffee beans, learning Spanish,
city bicycles, winter sleep of bears, choosing a guitar, the Roman roads, planting an apple tree,
writing a letter, sharks, camping in the rain, a quiet garden, public libraries, jogging, tea,
dinosaurs, fixing a bicycle, the ocean tides, a school play, wooden boats, stargazing,
packing a suitcase, making cheese
"""
STOP_WORDS = re.compile(
    r"a|about|advice|after|an|and|are|be|before|by|call|called|can|comes|could|do|does|"
    r"explain|first|five|for|friend|from|fun|get|give|has|have|help|hey|how|i|in|is|it|its|"
    r"know|list|m|make|me|mine|more|most|my|name|need|of|on|one|or|please|s|say|should|some|"
    r"steps|tell|than|that|the|think|thinking|this|tips|to|want|was|what|when|where|which|who|"
    r"whose|why|with|would|you|your"
)
Taste = Callable[[str], float]
# The score of an answer: of two the person picks the one with more.
TASTES: dict[str, Taste] = {
    "shorter": lambda text: -len(text.split()),
    "asks": lambda text: text.rstrip().endswith("?") + 0.5 * ("?" in text),
    "no-lists": lambda text: -len(re.findall(r"(?m)^\s*(?:[-*\u2022]|\d+[.)])\s", text)),
    "formal": lambda text: (
        -len(re.findall(r"(?i)n['\u2019]t|\b\w+['\u2019](?:ll|re|ve|m|d)\b|!|\bokay\b", text))
    ),
}


@dataclass(frozen=True)
class Text:
    """What a model wrote for a prompt."""

    prompt: str
    prompt_ids: tuple[int, ...]
    text: str
    ids: tuple[int, ...]
    finished: bool


def prompts_of(name: str) -> tuple[list[Prompt], list[Prompt]]:
    """Those to train on, and those that are held out."""
    if name == "starter":
        own = preset_mapping(PRESET) | {"judge": "rule:length", "eval_prompts": HELD_OUT}
        prompts = load_prompts(from_mapping(own, "the benchmark"))
        return prompts.train, prompts.held_out
    topics = [" ".join(each.split()) for each in TOPICS.split(",")]
    trained, held_out = (
        [form.format(each) for form in FORMS[name] for each in part]
        for part in (topics[TOPICS_HELD_OUT:], topics[:TOPICS_HELD_OUT])
    )
    return (
        [Prompt((Message("user", each),), each) for each in trained],
        [Prompt((Message("user", each),), each) for each in held_out],
    )


def measures(now: Sequence[Text], start: Sequence[Text], score: Taste) -> dict[str, Any]:
    """What is told of some answers. On the subject: the share that has a word of its prompt, of
    those whose answer at the start had one."""
    on_subject = [
        _on_subject(text) for text, first in zip(now, start, strict=True) if _on_subject(first)
    ]
    grams = [[text.ids[at : at + 4] for at in range(len(text.ids) - 3)] for text in now]
    words = fmean(len(text.text.split()) for text in now)
    return {
        "score": float(fmean(score(text.text) for text in now)),
        "words": words,
        "of the start's": words / fmean(len(text.text.split()) for text in start),
        "ends": fmean(text.finished for text in now),
        "loops": 1 - sum(len(set(each)) for each in grams) / max(1, sum(map(len, grams))),
        "on the subject": fmean(on_subject),
    }


def _on_subject(text: Text) -> bool:
    words = {_stem(word) for word in _words(text.prompt) if not STOP_WORDS.fullmatch(word)}
    return not words.isdisjoint(map(_stem, _words(text.text)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _stem(word: str) -> str:
    return word.rstrip("s")
