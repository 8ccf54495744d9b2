"""How good the bundled starter is: `python -m tests.benchmarks.starter_quality`.

Tables of the policy and the judge on unseen phrasings and rubric wordings; with `--training`,
runs of the `starter` preset on three seeds, by the judge and by the programmatic truth; with
`--person`, runs of `starter-human` with a scripted person who likes one tone. Runs are kept in a
temporary home. Accuracy counts pairs that the rubric separates (lengths: by more than two words).
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from rich.console import Console
from rich.table import Table

from engine.machine.blas import load_fast_blas

SEEDS = (0, 1, 2)
PRESSES = 40
CONSOLE = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description="How good the bundled starter is.")
    parser.add_argument("--training", action="store_true", help="train the preset on three seeds")
    parser.add_argument("--person", action="store_true", help="let a scripted person train it")
    parser.add_argument("--tone", default="polite", choices=["polite", "rude", "pirate"])
    parser.add_argument("--pairs", type=int, default=900, help="pairs a rubric")
    options = parser.parse_args()
    load_fast_blas()
    with tempfile.TemporaryDirectory() as home:
        os.environ["LORA_STUDIO_HOME"] = home
        if options.training:
            show("starter, three seeds", training())
        if options.person:
            show(f"starter-human, a person who likes {options.tone}", person(options.tone))
        if not (options.training or options.person):
            show("the judge", judge(options.pairs))
            show("the policy at temperature 0.8", policy())


def show(title: str, rows: list[dict[str, object]]) -> None:
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("rubric", "seed") else "right")
    for row in rows:
        table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()))
    CONSOLE.print(table)


def judge(pairs: int) -> list[dict[str, object]]:
    from engine.starter import JUDGE
    from engine.starter.build.model_folder import language_model
    from engine.starter.build.quality import judge_quality
    from engine.starter.build.truth import RUBRIC_SCORES

    model = language_model(JUDGE)
    return [{"rubric": name, **judge_quality(model, name, pairs)} for name in RUBRIC_SCORES]


def policy() -> list[dict[str, object]]:
    from engine.starter import POLICY
    from engine.starter.build.model_folder import language_model
    from engine.starter.build.quality import policy_quality

    return [dict(policy_quality(language_model(POLICY), rounds=5))]


def training() -> list[dict[str, object]]:
    """A line an evaluation: the judge's win rate from the run, the truth's from its adapters."""
    rows: list[dict[str, object]] = []
    for seed in SEEDS:
        folder = run({"seed": seed}, "starter", lambda session: session.join(0.2))
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        seconds = {line["step"]: line["seconds"] for line in lines if "seconds" in line}
        for line in lines:
            if "win_rate" in line:
                step = line["step"]
                row = {"seed": seed, "step": step, "seconds": seconds.get(step, 0.0)}
                rows.append(row | {"judge": line["win_rate"], "truth": "", "well-formed": ""})
        rows[-1] |= truth_of(folder)
    return rows


def person(tone: str) -> list[dict[str, object]]:
    """A press a pair, ties included; the share of the liked tone before and after."""
    from engine.starter.build.truth import read

    def likes(prompt: str, text: str) -> bool:
        traits = read(prompt, text)
        if tone == "pirate":
            return traits.pirate > 0
        return traits.politeness > 0 if tone == "polite" else traits.politeness < 0

    rows: list[dict[str, object]] = []
    for seed in SEEDS:
        presses = 0

        def answer(session) -> bool:
            nonlocal presses
            for pair in session.waiting()[:1]:
                left, right = likes(pair.prompt, pair.left), likes(pair.prompt, pair.right)
                side = "tie" if left == right else "left" if left else "right"
                presses += session.answer(pair.pair_id, side)
            if presses >= PRESSES:
                session.stop()
            return session.join(0.02)

        folder = run({"seed": seed, "undo_seconds": 0}, "starter-human", answer)
        rows.append({"seed": seed, "presses": presses} | truth_of(folder, likes))
    return rows


def run(changes: dict[str, object], preset: str, tend: Callable) -> Path:
    """Train a preset with changes; `tend` is called until it says that the run has ended."""
    from engine.session import Session
    from engine.settings.presets import PRESETS
    from engine.settings.schema import Settings

    session = Session(Settings.model_validate(PRESETS[preset] | {"fuse": False} | changes))
    session.start()
    while not tend(session):
        session.drain()
    if session.error or session.run is None:
        raise SystemExit(session.error)
    return session.run.path


def truth_of(
    folder: Path,
    likes: Callable[[str, str], bool] | None = None,
    keep: Literal["best", "last"] | None = None,
) -> dict[str, object]:
    """What the trained policy writes for held-out prompts, by the programmatic truth; `keep` says
    of which step."""
    from engine.runs.folder import Run
    from engine.starter.build import grammar
    from engine.starter.build.sample import sample_texts
    from engine.starter.build.truth import prefer, read
    from engine.trained import load_trained

    models = load_trained(Run(folder), keep)
    prompts = [q.text for q in grammar.questions(held_out=True)] * 3
    before = sample_texts(models.reference, prompts, 0.8, seed=1)
    after = sample_texts(models.policy, prompts, 0.8, seed=2)
    old = [read(*each) for each in zip(prompts, before, strict=True)]
    new = [read(*each) for each in zip(prompts, after, strict=True)]
    share = lambda values: sum(values) / len(prompts)  # noqa: E731
    if likes is not None:
        figures: dict[str, object] = {
            "liked before": share(likes(*each) for each in zip(prompts, before, strict=True)),
            "liked after": share(likes(*each) for each in zip(prompts, after, strict=True)),
        }
    else:
        wins = (prefer("correct and polite", *each) for each in zip(new, old, strict=True))
        figures = {"truth": share(wins)}
    return figures | {"well-formed": share(t.well_formed for t in new)}


if __name__ == "__main__":
    main()
