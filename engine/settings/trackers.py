"""The programs that `report_to` may name, and whether their libraries are installed."""

from collections.abc import Iterator
from importlib.util import find_spec

# Name, which is that of the extra too -> the module that has to be there.
TRACKERS = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "trackio": "trackio",
    "swanlab": "swanlab",
}


def tracker_problems(names: list[str]) -> Iterator[str]:
    """What is wrong with the value of `report_to`, a sentence each. Nothing is imported."""
    for name in names:
        if name not in TRACKERS:
            yield f"there is no {name!r}; it takes {', '.join(TRACKERS)}"
        elif find_spec(TRACKERS[name]) is None:
            yield f"{name} is not installed; `pip install 'lora-studio[{name}]'` brings it"
