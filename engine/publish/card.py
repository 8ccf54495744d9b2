"""The cards of what is published, written from the run: README.md of a repository of the hub.

Prompts, answers, names and rubrics are untrusted: each stands in a block of code or is escaped.
"""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from engine.data.pairs import Layout
from engine.events import EVAL_WIN_RATE, WIN_RATE
from engine.json_number import count, finite, whole
from engine.markdown import fenced, inline, table
from engine.publish.curves import PICTURE
from engine.publish.judge import judge_card
from engine.publish.public import hub_id, judge_of, public_name, public_settings
from engine.runs.folder import METRICS, Run
from engine.runs.json_lines import Record
from engine.runs.labels import Label
from engine.runs.pair_files import TRAIN
from engine.runs.sweep import SPLITS
from engine.secrets import hide
from engine.settings.schema import Settings

if TYPE_CHECKING:
    from engine.train.results import TrainedWeights

STUDIO = "LoRA Studio"
EXAMPLES = 3
MEASURED = {  # of the last report, with what they are
    "accuracy": "share of pairs whose chosen answer the policy favours more than the start does",
    "margin": "lead of the chosen answer over the rejected one, in nats, times beta",
    "kl": "distance from the start, in nats a completion",
    "completion_tokens": "length of an answer, in tokens",
    "swap_consistency": "share of pairs on which the judge says the same once they are swapped",
    "first_position_rate": "share of pairs on which it favours the one shown first (0.5: neither)",
    "tie_rate": "share of pairs that it could not decide",
}


def model_card(
    run: Run,
    repo: str,
    places: Mapping[str, str],
    *,
    gguf: str | None,
    picture: bool,
    weights: "TrainedWeights",
) -> str:
    """The card of a model.

    Args:
        places: the folders of its parts in the repository, by name.
        weights: which are published; what is said to be measured is of their step.
    """
    settings, _ = run.known_settings()
    state = run.state()
    rated = _rated(run, weights)
    base = hub_id(settings.model)
    datasets = [data for name in settings.data_names if (data := hub_id(name))]
    facts: dict[str, Any] = {
        "library_name": "peft" if places.get("peft") == "" else "mlx",
        "pipeline_tag": "text-generation",
        **({"base_model": base} if base else {}),
        **({"base_model_relation": _relation(places)} if base else {}),
        **({"datasets": datasets} if datasets else {}),
        "tags": ["lora-studio", "online-dpo", "dpo", settings.train_type],
    }
    named = f"[{inline(base)}](https://huggingface.co/{base})" if base else _model_name(settings)
    trained = {"lora": "with LoRA", "dora": "with DoRA", "full": "in full"}[settings.train_type]
    sections = [
        f"# {inline(run.name)}",
        f"{named}, fine-tuned {trained} by Online DPO: for each prompt the model wrote two "
        f"answers, a judge ({inline(judge_of(settings))}) picked the better one, and the model "
        f"learned from that pair at once. {_progress(state, weights)} Made with {STUDIO}.",
        "## How to use it",
        *_usage(run, repo, places, gguf),
        "## How good it is",
        *_win_rates(rated, weights),
        *([f"![learning curves]({PICTURE})"] if picture else []),
        *_guard(state, weights),
        *_measured(state),
        *_examples(state, rated),
        "## How it was judged",
        *_judge(settings),
        *judge_card(run),
        "## Settings",
        "Those that differ from the defaults:",
        fenced(
            yaml.safe_dump(public_settings(settings), sort_keys=False, allow_unicode=True), "yaml"
        ),
        *_versions(state),
    ]
    return _card(facts, sections)


def dataset_card(run: Run, repo: str, labels: Sequence[Label], layout: Layout) -> str:
    """The card of a run's labels."""
    settings, _ = run.known_settings()
    facts = {
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "lora-studio"],
        "configs": [{"config_name": "default", "data_files": f"{TRAIN}.jsonl"}],
    }
    judges = Counter(label.judge for label in labels)
    columns = [
        ("prompt, chosen, rejected", "texts" if layout == "text" else "lists of messages"),
        *([("tools", "what the prompt offered, as JSON")] if "tools" in layout else []),
        ("choice", "which of the two sampled answers won: first or second"),
        (
            "confidence",
            "the judge's probability that the chosen one is better; 1 for a person's pick",
        ),
        ("judge", "who picked"),
        ("flagged, note", "what a person said beside it"),
        ("run, pair_id", "where it is from"),
    ]
    sections = [
        f"# {inline(run.name)}: preferences",
        f"{len(labels):,} pairs of answers that {_model_name(settings)} wrote while it was trained "
        f"by Online DPO, each with the one that a judge preferred. Made with {STUDIO}. The answers "
        "are a model's: they may be false or offensive.",
        "```python\nfrom datasets import load_dataset\n\n"
        f'pairs = load_dataset("{repo}", split="train")\n```',
        "## Columns",
        table(("column", "what it is"), [(name, about) for name, about in columns]),
        "## Who judged",
        table(("judge", "pairs"), [(inline(each), f"{n:,}") for each, n in judges.most_common()]),
        *_judge(settings),
    ]
    return _card(facts, sections)


def _card(facts: Mapping[str, Any], sections: Sequence[str]) -> str:
    front = yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True)
    return hide(f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n")


def _model_name(settings: Settings) -> str:
    return f"`{public_name(settings.model).replace('`', '')}`"


def _relation(places: Mapping[str, str]) -> str:
    return "adapter" if places.keys() <= {"peft", "adapters"} else "finetune"


def _progress(state: Record, weights: "TrainedWeights") -> str:
    """How long it was trained, and of which step this is."""
    steps, pairs = whole(state.get("step")), whole(state.get("pairs"))
    text = f"It was trained for {steps:,} steps on {pairs:,} pairs"
    if weights.step is not None and weights.step < steps:
        best = ", the best by its win rate" if weights.best else ""
        text += f"; these are the weights of step {weights.step:,}{best}"
    return text + "."


def _usage(run: Run, repo: str, places: Mapping[str, str], gguf: str | None) -> list[str]:
    from engine.export import readme  # with MLX

    settings, _ = run.known_settings()
    base = public_name(settings.model)
    parts: list[str] = []
    if "fused" in places:
        parts += ["With mlx-lm:", _shell(readme.mlx_lines(repo))]
    if "adapters" in places:
        folder = f"./adapters/{places['adapters']}".rstrip("/")
        download = shlex.join(["hf", "download", repo, "--local-dir", "adapters"])
        lines = [download, *readme.mlx_lines(base, folder)]
        parts += ["The adapters with mlx-lm:", _shell(lines)]
    if "peft" in places:
        inner = f', subfolder="{places["peft"]}"' if places["peft"] else ""
        code = (
            "from peft import AutoPeftModelForCausalLM\n\n"
            f'model = AutoPeftModelForCausalLM.from_pretrained("{repo}"{inner})'
        )
        parts += ["The adapters with transformers and peft:", fenced(code, "python")]
    if places.keys() & {"adapters", "peft"} and not hub_id(settings.model):
        parts.append(f"They belong to {_model_name(settings)}, which is not on the hub.")
    if gguf:
        lines = [f"llama-cli -hf {shlex.quote(repo)}", f"ollama run hf.co/{shlex.quote(repo)}"]
        parts += ["With llama.cpp or Ollama:", _shell(lines)]
    return parts


def _shell(lines: Sequence[str]) -> str:
    return fenced("\n".join(lines), "sh")


def _rated(run: Run, weights: "TrainedWeights") -> Record:
    """The line of metrics with the surest win rate of the weights' step, or of the one before it
    that was measured last; the start's own is none. Empty where there is no such line."""
    last = math.inf if weights.step is None else weights.step
    names = (*WIN_RATE, *EVAL_WIN_RATE)
    lines = [
        line
        for line in run.read(METRICS)
        if line.get("split") in SPLITS
        and 0 < whole(line.get("step")) <= last
        and any(finite(line.get(name)) is not None for name in names)
    ]
    lines.sort(key=lambda line: (line["step"], -SPLITS.index(line["split"])))
    return lines[-1] if lines else {}


def _win_rates(line: Record, weights: "TrainedWeights") -> list[str]:
    """The win rates of a line, each with its interval and the number of prompts."""
    rows: list[tuple[str, ...]] = []
    for names, who, asked in (
        (WIN_RATE, "the judge", "prompts"),
        (EVAL_WIN_RATE, "another judge", "eval_prompts"),
    ):
        rate, low, high = (finite(line.get(name)) for name in names)
        if rate is not None and low is not None and high is not None:
            number = f"{whole(line.get(asked)):,}"
            rows.append((who, f"{rate:.1%}", f"{low:.1%} to {high:.1%}", number))
    if not rows:
        return ["No win rate was measured."]
    what = {
        "valid": "on prompts that it was not trained on",
        "test": "on the test prompts",
        "kept": "on prompts that it was not trained on, with answers drawn anew",
    }[line["split"]]
    at = _earlier(line["step"], weights)
    intro = f"How often its answer is preferred to that of the model it started from, {what}{at}:"
    return [intro, table(("by", "win rate", "95% interval", "prompts"), rows)]


def _earlier(step: object, weights: "TrainedWeights") -> str:
    """That something was measured at another step than that of the weights, a clause."""
    measured = count(step)
    other = None not in (measured, weights.step) and measured != weights.step
    return f" (measured at step {measured:,})" if other else ""


def _guard(state: Record, weights: "TrainedWeights") -> list[str]:
    """What it could do before and can do now."""
    suites = state.get("guard")
    rows = [
        (
            inline(str(each.get("suite"))),
            f"{whole(each.get('items')):,}",
            f"{whole(each.get('kept')) + whole(each.get('lost')):,}",
            f"{whole(each.get('kept')) + whole(each.get('gained')):,}",
            f"{whole(each.get('lost')):,}",
            "too few to tell" if (p := finite(each.get("p"))) is None else f"{p:.2g}",
        )
        for each in (suites if isinstance(suites, list) else [])
        if isinstance(each, dict)
    ]
    columns = ("suite", "questions", "right before", "right now", "lost", "p of such a loss")
    at = _earlier(state.get("guard_step"), weights)
    intro = f"Small suites of questions that rules score, before and after{at}:"
    return [intro, table(columns, rows)] if rows else []


def _measured(state: Record) -> list[str]:
    metrics = state.get("metrics")
    values = metrics if isinstance(metrics, dict) else {}
    rows = [
        (f"`{name}`", f"{value:.3g}", about)
        for name, about in MEASURED.items()
        if (value := finite(values.get(name))) is not None
    ]
    intro = "At the end of the training:"
    return [intro, table(("metric", "value", "what it is"), rows)] if rows else []


def _examples(state: Record, rated: Record) -> list[str]:
    """Answers of the policy whose win rate is told: of another step none are there."""
    if not rated or state.get("win_rate_step", rated["step"]) != rated["step"]:
        return []
    given = state.get("examples")
    texts = [
        f"> {each.get('prompt')}\n\nbefore: {each.get('before')}\n\nafter: {each.get('after')}"
        for each in (given if isinstance(given, list) else [])[:EXAMPLES]
        if isinstance(each, dict)
    ]
    intro = "Answers to prompts that it was not trained on, before and after:"
    return [intro, *(fenced(text, "text") for text in texts)] if texts else []


def _judge(settings: Settings) -> list[str]:
    """Who judged, and by which rubric."""
    sentence = f"Judge: {inline(judge_of(settings))}."
    if not settings.judge_kinds & {"model", "server"}:
        return [sentence]
    if settings.judge_criteria:
        parts = [f"{each.get('name')}: {each.get('text')}" for each in settings.judge_criteria]
        return [
            f"{sentence} Its rubric, in parts that were asked apart:",
            fenced("\n".join(parts), "text"),
        ]
    return [f"{sentence} It read this rubric:", fenced(settings.judge_system, "text")]


def _versions(state: Record) -> list[str]:
    versions = state.get("versions")
    if not isinstance(versions, dict):
        return []
    return [", ".join(f"{inline(str(k))} {inline(str(v))}" for k, v in versions.items()) + "."]
