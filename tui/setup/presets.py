"""Where a form begins: the ready-made settings, and those that were started last."""

import contextlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.data_folder import data_folder
from engine.errors import RunError, UserError
from engine.runs import durable
from engine.settings import files
from engine.settings.judge_names import judge_kind
from engine.settings.presets import PRESETS
from engine.settings.schema import Settings, fields, value

QWEN, LAST = "Qwen3-0.6B", "my last run again"
MOST_CACHED = 8  # models of this machine that are offered
BUNDLED = "starter"


@dataclass(frozen=True, slots=True)
class Preset:
    """A ready-made set of settings, and what it is in a few words."""

    name: str
    what: str


_KNOWN = {
    "starter": "the bundled small model and judge; trains in a minute or two, offline",
    "starter-human": "the bundled small model; you pick the better answers",
    "smollm2": "a real model of 135 M on simple questions, taught to be brief by a rule",
    "smollm2-human": "a real model of 135 M on simple questions; you pick the better answers",
}


def all_presets(hub: bool | None = None) -> list[Preset]:
    """The presets in the order to offer them: what needs no hub first where there is none.

    `hub`: whether it answers; None where that is not known.
    """
    ready = [Preset(name, _KNOWN.get(name, "bundled") + _absence(name, hub)) for name in PRESETS]
    real = Preset(QWEN, "a real small model on human-like answers, its own judge")
    near = _is_near(Settings().model, hub)
    real = real if near else Preset(QWEN, f"{real.what}{_absence(QWEN, hub)}")
    offered = [real, *ready] if near else [*ready, real]
    offered += [Preset(name, "a model of this machine, its own judge") for name in _cached()]
    if _last_file().is_file():
        offered.append(Preset(LAST, "the settings of the run that was started last"))
    return offered


def settings_of(name: str) -> Settings:
    """The settings of a preset.

    Raises:
        UserError: there is none of that name, or what was started last cannot be read.
    """
    if name == QWEN:
        return Settings()
    if name == LAST:
        return files.load(_last_file())
    return files.preset(name) if name in PRESETS or name not in _cached() else _with_model(name)


def _with_model(name: str) -> Settings:
    """The settings for a model of this machine: what needs the hub gives way to what is here."""
    from engine.model.files import has_dataset

    if has_dataset(Settings().data):
        return Settings(model=name, judge=name)
    return Settings(
        model=name, judge=name, data=BUNDLED, max_seq_length=512, max_completion_length=64
    )


def nearest(settings: Settings) -> tuple[str, Settings]:
    """The ready-made settings that differ least from some, and their name; a model of this machine
    is no other set."""
    ready = [(name, _ready(name)) for name in (*PRESETS, QWEN)]
    return min(ready, key=lambda each: _differences(each[1], settings))


@cache
def _ready(name: str) -> Settings:
    return settings_of(name)


def _differences(one: Settings, other: Settings) -> int:
    return sum(value(one, each.key) != value(other, each.key) for each in fields())


def first() -> tuple[str, Settings]:
    """What the form opens on: what was started last, and for a newcomer the starter."""
    if _last_file().is_file():
        with contextlib.suppress(UserError):
            return LAST, settings_of(LAST)
    return "starter", settings_of("starter")


def remember(settings: Settings) -> None:
    """Keep the settings of a start for the next time the form opens."""
    nameless = settings.model_copy(update={"run_name": None})
    with contextlib.suppress(RunError, OSError):
        durable.write_file(_last_file(), files.to_yaml(nameless, commented=False))


def describe(settings: Settings) -> str:
    """One sentence on what a start will do."""
    from tui.setup.cost import length

    bundled = settings.model == "starter"
    kinds = set(map(judge_kind, settings.judges))
    model = "the bundled model" if bundled else Path(settings.model).name or settings.model
    if settings.human_judge:
        judge = "you pick the better answers"
    elif settings.asks_person:
        judge = f"judged by {settings.hybrid_model}, and by you where it is not sure"
    elif len(settings.judges) > 1:
        judge = f"judged by {len(settings.judges)} judges"
    elif settings.judge == "starter":
        judge = "judged by the bundled judge"
    elif settings.judge == settings.model:
        judge = "which judges its own answers"
    elif "server" in kinds:
        judge = f"judged by {settings.judge_model or 'the model'} at {settings.judge}"
    elif kinds <= {"function", "rule"}:
        judge = f"judged by {settings.judge}"
    else:
        judge = f"judged by {Path(settings.judge).name}"
    return f"trains {model} for {length(settings)}, {judge}"


def prospect(settings: Settings) -> str:
    """What somebody who is about to start will see, in a few sentences."""
    if settings.human_judge:
        outlook = "Pairs wait for you in Review as soon as the first are sampled."
    elif settings.asks_person:
        outlook = (
            "Pairs that the model is not sure of wait for you in Review, as long as "
            f"{settings.lookahead_batches} steps take."
        )
    elif settings.steps_per_eval == -1 or not settings.eval_prompts:
        outlook = "No win rate is measured: watch margin, accuracy and the pairs."
    else:
        outlook = (
            f"The win rate is measured at the start and every {settings.steps_per_eval:,} steps."
        )
    if settings.model != "starter":
        return outlook
    return (
        f"{outlook} The starter is a small bundled world for a first run: simple questions, and a "
        "judge that knows a few rubrics. O takes a real model instead."
    )


def ways_out(key: str, name: str) -> str:
    """What to do where a model or data is not here and the hub is out of reach."""
    from tui.setup.completions import cached

    here = [each for each in cached("datasets--" if key == "data" else "models--") if each != name]
    listed = ", ".join([*here[:3], *(["…"] if len(here) > 3 else [])])
    choose = f"choose one of this machine in {key} ({listed or 'there is only starter'})"
    return f"O takes a preset that is here, such as starter · {choose} · or give {key} a folder"


def _last_file() -> Path:
    return data_folder() / "last-start.yaml"


def _cached() -> list[str]:
    """The language models in the hub's cache that have all their files, less those of presets."""
    from engine.model.files import find, read_config, read_shape, read_tensors
    from tui.setup.completions import cached

    names = []
    for name in cached("models--"):
        folder = find(name, "model") if name != Settings().model else None
        config = read_config(folder) if folder else None
        if folder and config and read_shape(config) and read_tensors(folder):
            names.append(name)
    return names[:MOST_CACHED]


def _absence(name: str, hub: bool | None) -> str:
    """What is to be said of a preset whose model has to be fetched first."""
    near = _is_near(settings_of(name).model, hub)
    if near:
        return ""
    return "; a download" if hub is None else "; not here, and the hub is out of reach"


def _is_near(model: str, hub: bool | None) -> bool:
    """Whether a model can be had from the hub, or is on this machine."""
    from engine.model.files import find, packaged
    from tui.setup.completions import cached

    here = find(model, "model") or packaged(model) or model in cached("models--")
    return bool(hub) or bool(here)
