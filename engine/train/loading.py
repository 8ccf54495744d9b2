"""Loads the prompts and the models of a run."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx

from engine.compute.sampling import stream_seed
from engine.control import Control
from engine.data import chat_template
from engine.data.columns import counted
from engine.data.pairs import Layout, layout_for
from engine.data.prompts import PromptSet, load_prompts
from engine.data.tool_text import takes_tools
from engine.errors import UserError
from engine.model.adapter_files import start_of
from engine.model.language_model import LanguageModel
from engine.plan.memory import plan, refusal
from engine.runs.folder import START, Run
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.results import write_adapters
from engine.train.roles import Roles, load_roles
from engine.train.warm_start import copy_pairs


def load(
    settings: Settings, run: Run, journal: Journal, control: Control
) -> tuple[PromptSet, Roles]:
    """The prompts and models of a run, with what a person should know of them in its log."""
    journal.progress("loading")
    control.raise_if_stopping()
    if reason := refusal(plan(settings), settings):
        raise UserError(reason)
    control.raise_if_stopping()
    copy_pairs(settings, run, journal)
    control.raise_if_stopping()
    prompts = load_prompts(settings)
    control.raise_if_stopping()
    for note in prompts.notes:
        journal.log("info", note)
    mx.random.seed(stream_seed(settings.seed, "adapters"))

    def downloading(name: str) -> None:
        control.raise_if_stopping()
        journal.log("info", f"downloading {name}")
        journal.progress("downloading")

    start = start_of(run, settings)
    roles = load_roles(settings, downloading, start)
    control.raise_if_stopping()
    for note in roles.notes:
        journal.log("info", note)
    if missing := _tools_left_out(prompts, roles):
        journal.log("warning", missing)
    if start and start.parent != run.path / START:
        # Kept, so that a resume does not depend on a file that is not the run's.
        journal.persist(lambda: write_adapters(roles.policy.model, settings, run.path / START))
    for change in _computed_otherwise(settings, run, start):
        journal.log("info", change)
    journal.layout = _layout(run, prompts, journal)
    for note in _thinking_notes(settings, roles):
        journal.log("info", note)
    return prompts, roles


def _tools_left_out(prompts: PromptSet, roles: Roles) -> str | None:
    """That the policy's chat template has no place for the prompts' tools; None where it has."""
    equipped = sum(bool(prompt.tools) for prompt in prompts.train)
    if not equipped or takes_tools(roles.policy.tokenizer):
        return None
    return (
        f"data: {counted(equipped, 'prompt')} asked without tools: the model's chat "
        "template has no place for them"
    )


def _computed_otherwise(settings: Settings, run: Run, start: Path | None) -> Iterator[str]:
    """For a resumed run of an older format, a sentence on each thing that goes on differently from
    how it began, or stays different from how a new run has it."""
    if run.latest_checkpoint() is None:
        return
    older = "this run was begun by an older version"
    if run.format < 4 and not settings.judge_kinds.isdisjoint(("model", "server")):
        yield f"{older}: its judge reads pairs in other words now, so some verdicts differ"
    if run.format < 3:
        yield f"{older}: chance in sampling differs now, so it goes on with other completions"
    if run.format > 1:
        return
    yield f"{older}: what stands beside the prompt column, such as input and tools, is asked now"
    if settings.resume_adapter_file and not start:
        yield f"{older}: its reference stays the model without the adapters that it started from"
    if settings.train_type == "dora" and not settings.reference_model_path:
        yield f"{older}: its reference is now rounded as the policy is, so margins may shift a bit"


def _layout(run: Run, prompts: PromptSet, journal: Journal) -> Layout:
    """The layout of the run's files of pairs: once it began, what it began with."""
    state = run.state()
    began = "total_steps" in state
    layout = state.get("pairs_layout") or ("text" if began else layout_for(prompts.train))
    journal.update(pairs_layout=layout)
    return layout


def _thinking_notes(settings: Settings, roles: Roles) -> list[str]:
    """Notes for a person who turned on thinking, on the models that have no such mode."""
    if not settings.enable_thinking:
        return []
    thinkers = [(settings.model, "model", roles.policy)]
    if settings.judge_mode == "generate":
        readers = {k: v for k, v in roles.judges.items() if isinstance(v, LanguageModel)}
        thinkers += [(name, "judge", judge) for name, judge in readers.items()]
    return [
        f"enable_thinking: the chat template of {name} knows no such mode, so it changes nothing "
        f"for the {role}"
        for name, role, lm in thinkers
        if not chat_template.knows_thinking(lm.tokenizer)
    ]
