"""The stages of the starter's build: each leaves its result in a work folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import mlx.core as mx

from engine.judges import presentation
from engine.model import arrays
from engine.model.language_model import LanguageModel
from engine.runs.durable import new_folder, write_file
from engine.settings.sections.judge import RUBRIC
from engine.starter.build import grammar, model_folder, pretrain, processes, quality, train_judge
from engine.starter.build.sample import sample_texts
from engine.starter.build.tokenizer import load_tokenizer, train_tokenizer
from engine.starter.build.truth import RUBRIC_SCORES
from engine.starter.rubrics import KNOWN

PAIRS = 300  # that the judge is measured on, a rubric
# The policy's own answers that the judge learns from, one a prompt each: temperature, and noise
# on the weights, in their standard deviations. Training moves a policy off its grammar much as
# noise does, and the judge has to see that.
WRITTEN_AT = (
    *[(0.8, 0.0)] * 3,
    *[(1.0, 0.0)] * 2,
    (1.3, 0.0),
    (1.6, 0.0),
    (0.8, 0.3),
    (0.8, 0.5),
    (0.8, 0.7),
    (1.0, 0.7),
    (0.8, 0.9),
)


def build(work: Path, seed: int, every: int = 1) -> None:
    """Do the stages whose results `work` does not have yet; each is there whole or not at all.

    All processes train; the first alone writes and measures. With `every` above 1 only one in so
    many steps is taken, and one in so many prompts and pairs is used: a build that is quick, and
    useless but to see that it works.
    """
    first = processes.rank() == 0
    if not (work / "policy" / "model.safetensors").exists():
        tokenizer = train_tokenizer(tokenizer_texts(seed))
        policy = pretrain.pretrain(tokenizer, seed, report, every)
        if first:
            with new_folder(work / "policy", private=False) as folder:
                model_folder.save(folder, policy, tokenizer, pretrain.LAYERS)
        processes.wait_for_all()
    tokenizer = load_tokenizer(work / "policy")
    policy = model_folder.load(work / "policy", tokenizer)
    written_file = work / "written.json"
    if first and not written_file.exists():
        writer = model_folder.language_model(work / "policy")
        report_table("policy", {"at 0.8": quality.policy_quality(writer, every=every)})
        answers = json.dumps(policy_answers(writer, seed, every))
        write_file(written_file, answers, private=False)
    processes.wait_for_all()
    written = json.loads(written_file.read_text())
    if not (work / "judge" / "model.safetensors").exists():
        judge = train_judge.train_judge(policy, tokenizer, written, seed, report, every)
        if first:
            with new_folder(work / "judge", private=False) as folder:
                model_folder.save(folder, judge, tokenizer, train_judge.LAYERS)
    if first:
        judge = model_folder.language_model(work / "judge")
        known = {name: quality.judge_quality(judge, name, PAIRS // every) for name in RUBRIC_SCORES}
        report_table("judge", known)
        write_prompts(work / "prompts")


def tokenizer_texts(seed: int) -> Iterator[str]:
    """What the tokenizer learns its merges from: the world, the rubrics, the judge's frame."""
    rng = Random(seed)
    for question in grammar.questions(held_out=False):
        yield question.text
        for _ in range(20):
            yield grammar.answer(rng, question)
    for _ in range(4):
        for rubric in KNOWN:
            yield from (*rubric.trained, RUBRIC)
    for _ in range(300):
        yield from (
            presentation.INSTRUCTION,
            presentation.PROMPT_LABEL,
            presentation.FIRST_LABEL,
            presentation.SECOND_LABEL,
            presentation.RUBRIC_LABEL,
            presentation.QUESTION,
            presentation.BEGUN,
            "system\nuser\nassistant\n",
        )


def policy_answers(policy: LanguageModel, seed: int, every: int) -> dict[str, list[str]]:
    """Completions of every training prompt, or of every so many of them, by prompt."""
    prompts = [question.text for question in grammar.questions(held_out=False)][::every]
    written: dict[str, list[str]] = {prompt: [] for prompt in prompts}
    for number, (temperature, noise) in enumerate(WRITTEN_AT, seed * len(WRITTEN_AT)):
        writer = with_noise(policy, noise, number) if noise else policy
        texts = sample_texts(writer, prompts, temperature, number)
        for prompt, text in zip(prompts, texts, strict=True):
            if text.strip():
                written[prompt].append(text)
    return written


def with_noise(policy: LanguageModel, noise: float, seed: int) -> LanguageModel:
    """A copy of the policy with noise on every matrix but the embedding."""
    mx.random.seed(seed)
    noisy = [
        (name, w + noise * mx.std(w) * mx.random.normal(w.shape) if "_proj" in name else w)
        for name, w in arrays.flat(policy.model.parameters()).items()
    ]
    return model_folder.with_weights(pretrain.LAYERS, policy.tokenizer, noisy)


def write_prompts(folder: Path) -> None:
    """`train.jsonl`, and `valid.jsonl` with the phrasings that training never sees."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, held_out in (("train", False), ("valid", True)):
        lines = (json.dumps({"prompt": q.text}) for q in grammar.questions(held_out=held_out))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def report(line: str) -> None:
    if processes.rank() == 0:
        print(line, flush=True)


def report_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    for name, figures in rows.items():
        report(f"{title} {name}: " + ", ".join(f"{key} {v:.3f}" for key, v in figures.items()))
