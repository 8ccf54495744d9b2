"""What a model, data set or path field may hold: names in the local hub cache, and files."""

import os
from pathlib import Path

from engine.data_folder import at_home
from engine.settings.judge_names import RULE, RULES
from tui.widgets.offers import Complete

RULE_NAMES = tuple(RULE + name for name in RULES)
LIMIT = 50  # candidates; more do not help anybody


def for_setting(key: str) -> Complete | None:
    """What completes the text of a setting; None where nothing does."""
    return _SETTINGS.get(key)


def models(text: str, *first: str, files: bool = False) -> list[str]:
    """Models that `text` may mean: the words in `first`, cached ones, folders, and where `files`
    may judge, those too."""
    return [each for each in _named(text, first, "models--") if files or not _is_file(each)]


def datasets(text: str) -> list[str]:
    """Data sets that `text` may mean: the bundled one, cached ones, folders and files."""
    return _named(text, ("starter",), "datasets--")


def paths(text: str) -> list[str]:
    """Files and folders whose path begins with `text`; a folder ends in a separator."""
    head, _, start = text.rpartition(os.sep)
    folder = at_home(head + os.sep if os.sep in text else ".")
    matches = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".") and not start.startswith(".")
                if entry.name.startswith(start) and not hidden and entry.name.isprintable():
                    place = f"{head}{os.sep}" if os.sep in text else ""
                    matches.append(f"{place}{entry.name}{os.sep if entry.is_dir() else ''}")
    except (OSError, ValueError):
        return []
    return sorted(matches)[:LIMIT]


def hub_cache() -> Path:
    """The folder in which the hub's files are cached."""
    if cache := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return at_home(cache)
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return at_home(home or Path(cache, "huggingface")) / "hub"


def cached(prefix: str) -> list[str]:
    """Hub ids of what the cache holds; `prefix` is `models--` or `datasets--`."""
    try:
        names = os.listdir(hub_cache())
    except OSError:
        return []
    matches = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return sorted(name.replace("--", "/") for name in matches if name.isprintable())


def _named(text: str, first: tuple[str, ...], prefix: str) -> list[str]:
    looks_like_path = text.startswith(("/", "~", "."))
    words = [] if looks_like_path else [*first, *cached(prefix)]
    lowered = text.lower()
    near = [word for word in words if lowered in word.lower()]
    near.sort(key=lambda word: not word.lower().startswith(lowered))
    return [*near, *(paths(text) if looks_like_path or (text and not near) else [])][:LIMIT]


def _is_file(text: str) -> bool:
    """Whether an offered path is no folder, which ends in a separator."""
    return text.startswith(("/", "~", ".")) and not text.endswith(os.sep)


_SETTINGS: dict[str, Complete] = {
    "model": lambda text: models(text, "starter"),
    "judge": lambda text: models(text, "human", "hybrid", "starter", *RULE_NAMES, files=True),
    "hybrid_model": lambda text: models(text, "starter", *RULE_NAMES, files=True),
    "eval_judge": lambda text: models(text, "starter", *RULE_NAMES, files=True),
    "reference_model_path": models,
    "data": datasets,
    "resume_adapter_file": paths,
    "output_root": paths,
}
