"""Several sources of prompts mixed to one: which they are, and how much of each is used."""

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from engine.data.sources import Reading
from engine.data_folder import at_home
from engine.settings.schema import Settings

T = TypeVar("T")  # a prompt


@dataclass(frozen=True, slots=True)
class Source:
    """One of the places that prompts are read from. `weight`: its part of all; None: as large as
    it is."""

    data: str
    reading: Reading
    prompt_feature: str | None
    system_feature: str | None
    weight: float | None = None


def sources_of(settings: Settings) -> list[Source]:
    """Where the prompts of a run come from."""
    mix = settings.data_mix or [
        {"data": settings.data}
        | ({"data_config": settings.data_config} if settings.data_config else {})
        | ({"data_split": settings.data_split} if settings.data_split else {})
    ]

    def text(source: Mapping[str, str | float], key: str) -> str | None:
        return str(source[key]) if key in source else None

    return [
        Source(
            data=str(source["data"]),
            reading=Reading(
                config=text(source, "data_config"),
                split=text(source, "data_split"),
                # Files beside a stream are read as files.
                streaming=settings.data_streaming
                and not (settings.data_mix and _is_here(str(source["data"]))),
                whole_files=settings.text_prompts == "files",
                seed=settings.seed,
            ),
            prompt_feature=text(source, "prompt_feature") or settings.prompt_feature,
            system_feature=text(source, "system_feature") or settings.system_feature,
            weight=float(source["weight"]) if "weight" in source else None,
        )
        for source in mix
    ]


def _is_here(data: str) -> bool:
    """Whether a source is a file or a folder."""
    with contextlib.suppress(OSError, ValueError):
        return at_home(data).exists()
    return False


def mixed(by_source: Sequence[list[T]], seed: int) -> list[T]:
    """The prompts of all sources in an order drawn by the seed; those of one as they are."""
    if len(by_source) == 1:
        return by_source[0]
    together = [prompt for prompts in by_source for prompt in prompts]
    random.Random(seed).shuffle(together)
    return together


def in_proportion(
    sources: Sequence[Source], by_source: Sequence[list[T]]
) -> tuple[list[list[T]], list[str]]:
    """As many prompts of each source as make the sources' weights the shares of all, and what was
    left out for that, a sentence each. Without weights all are used."""
    weights = [source.weight for source in sources]
    if len(sources) < 2 or None in weights:
        return list(by_source), []
    rounds = min(
        len(prompts) / weight for prompts, weight in zip(by_source, weights, strict=True) if weight
    )
    taken: list[list[T]] = []
    notes: list[str] = []
    total = sum(weight or 0 for weight in weights)
    for source, prompts, weight in zip(sources, by_source, weights, strict=True):
        count = max(1, round(rounds * (weight or 0)))
        taken.append(prompts[:count])
        if count < len(prompts):
            share = (weight or 0) / total
            notes.append(
                f"data: {count:,} of the {len(prompts):,} prompts of {source.data} are "
                f"used, so that they are {share:.0%} of all"
            )
    return taken, notes
