"""Preference pairs that were there before a run: learned from before its first own ones, and mixed
into its later steps.

What is learned from is a function of the step and the seed, so that there is nothing to save. The
pairs are copied into the run's folder, so that a resume does not depend on files of others.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from engine.control import Control
from engine.data.chat_messages import Message
from engine.data.columns import counted
from engine.data.files import Unusable
from engine.data.order import drawn_in
from engine.data.pairs import NO_STEP, JudgedPair, Pair, Verdict, message_record
from engine.data.preference_check import answer_text
from engine.data.preferences import Preference, read_preferences
from engine.data.prompts import Prompt
from engine.data.rendering import fit_prompt, render_answered, render_prompt
from engine.data.sources import read_splits
from engine.data.tokens import CHARACTERS_PER_TOKEN, data_ids
from engine.data_folder import at_home
from engine.errors import UserError
from engine.model.language_model import LanguageModel
from engine.runs import durable, json_lines
from engine.runs.folder import WARM_START, Run
from engine.runs.json_lines import Record
from engine.runs.labels import select
from engine.runs.preference_sources import run_of, splits_of
from engine.settings.schema import Settings
from engine.train.journal import Journal

RECORD = "warm_start"  # in run.json: where the pairs came from, and how many steps they take
ASK_EVERY = 64  # pairs made ready between two looks at whether the run is to stop

Purpose = Literal["warm start", "replay"]


@dataclass(frozen=True)
class WarmStart:
    """The pairs, ready to be learned from, and which of them a step takes.

    `steps` come before the run's own; `count` pairs are learned from in them, those of a further
    epoch again. `replay` times `batch_size` of them are in a later step, on average.
    """

    pairs: tuple[JudgedPair, ...] = ()
    steps: int = 0
    count: int = 0
    replay: float = 0.0
    batch_size: int = 1
    seed: int = 0

    def of_step(self, step: int) -> list[JudgedPair]:
        """The pairs that a step of the run learns from beside its own, of which those of the warm
        start have none. Steps count from 1."""
        if not self.pairs:
            return []
        if step <= self.steps:
            return self._drawn("warm start", self.learned(step - 1), self.learned(step))
        share, own = self.replay * self.batch_size, step - self.steps
        return self._drawn("replay", math.floor(share * (own - 1)), math.floor(share * own))

    def learned(self, step: int) -> int:
        """How many pairs the warm start has learned from after a step."""
        return min(step * self.batch_size, self.count)

    def _drawn(self, purpose: Purpose, start: int, end: int) -> list[JudgedPair]:
        """The pairs at some places of an order that goes through all of them, epoch by epoch."""
        size = len(self.pairs)
        return [
            self.pairs[_order(size, self.seed, purpose, at // size)[at % size]]
            for at in range(start, end)
        ]


@lru_cache(maxsize=4)
def _order(size: int, seed: int, purpose: Purpose, epoch: int) -> list[int]:
    order = list(range(size))
    random.Random(f"{seed}/{purpose}/{epoch}").shuffle(order)
    return order


# -- before anything is loaded -------------------------------------------------------------------


def copy_pairs(settings: Settings, run: Run, journal: Journal) -> None:
    """Copy the pairs that the settings name into the run's folder, unless they are there.

    Raises:
        UserError: there are none, or the run began with others.
        StorageError: they could not be written.
    """
    source, record = settings.warm_start, _record(run)
    if run.latest_checkpoint() is not None:
        _refuse_another(settings, record)
    elif source and not (record.get("source") == source and (run.path / WARM_START).is_file()):
        try:
            preferences, left_out = _usable(settings, run, source)
        except UserError as error:
            reason = str(error).removeprefix("data: ")
            raise UserError(f"warm_start: {reason}") from error
        if left_out:
            reasons = ", ".join(f"{count:,} {why}" for why, count in left_out.items())
            journal.log("info", f"warm_start: pairs left out: {reasons}")
        equipped = any(each.tools for each in preferences)
        lines = b"".join(json_lines.to_line(_line(each, equipped)) for each in preferences)
        journal.persist(lambda: durable.write_file(run.path / WARM_START, lines))
        journal.update(**{RECORD: {"source": source, "epochs": settings.warm_start_epochs}})


def _refuse_another(settings: Settings, record: Record) -> None:
    """A run goes on with the pairs that it began with.

    Raises:
        UserError: its settings have others now.
    """
    began, epochs = record.get("source"), record.get("epochs")
    if settings.warm_start != began:
        with_what = f"warm_start: {began}" if began else "no warm_start"
        raise UserError(
            f"warm_start: this run began with {with_what}, which a resume cannot change; put it "
            "back, or start a new run"
        )
    if began and settings.warm_start_epochs != epochs:
        raise UserError(
            f"warm_start_epochs: this run began with {epochs:g}, which a resume cannot change; put "
            "it back, or start a new run"
        )


def _usable(settings: Settings, run: Run, source: str) -> tuple[list[Preference], Counter[str]]:
    """The pairs of a source that can be learned from, and how many others there are for which
    reason.

    Raises:
        UserError: the source is not there or has no such pair.
    """
    usable: list[Preference] = []
    left_out: Counter[str] = Counter()
    first = ""  # unreadable row
    for place, preference in _read(settings, run, source, left_out):
        if isinstance(preference, Unusable):
            left_out["unreadable"] += 1
            first = first or f"{place} {preference}"
        elif preference.tie:
            left_out["ties"] += 1
        elif len(preference.chosen) > 1 or len(preference.rejected) > 1:
            left_out["with answers of several turns"] += 1
        elif any(turn.tool_calls for turn in (*preference.chosen, *preference.rejected)):
            left_out["with answers that call a tool"] += 1
        elif not answer_text(preference.chosen).strip():
            left_out["whose chosen answer is empty"] += 1
        elif answer_text(preference.chosen).strip() == answer_text(preference.rejected).strip():
            left_out["whose answers are equal"] += 1
        else:
            usable.append(preference)
    if not usable:
        reasons = ", ".join(f"{count:,} {why}" for why, count in left_out.items())
        raise UserError(
            f"{source} holds no pair to learn from"
            + (f"; left out: {reasons}" if reasons else "")
            + (f" (the first: {first})" if first else "")
            + "; `lora-studio pairs check` tells what a file or a run holds"
        )
    return usable, left_out


def _read(
    settings: Settings, run: Run, source: str, left_out: Counter[str]
) -> Iterator[tuple[str, Preference | Unusable]]:
    """The pairs of a source, with what a run says is left out of its labels counted."""
    splits = splits_of(source)
    if splits is None and "/" in source and not at_home(source).is_dir():
        splits = read_splits(source)
    if splits is None:
        other = run_of(source)
        if other.path.resolve() == run.path.resolve():
            raise UserError(f"{source} is this run itself; name another one, or a file")
        selection = select([other])
        left_out.update(selection.left_out)
        for label in selection.labels:
            yield f"pair {label.pair_id}", label.preference
        return
    split = splits["train"]
    prompt, system = (
        name if name in split.columns else None
        for name in (settings.prompt_feature, settings.system_feature)
    )
    yield from read_preferences(split, prompt, system)


def _line(preference: Preference, equipped: bool) -> Record:
    """A pair as `read_preferences` reads it; `equipped`: lines have a column of tools."""
    line: Record = {
        "prompt": [message_record(turn) for turn in preference.prompt],
        "chosen": [message_record(turn) for turn in preference.chosen],
        "rejected": [message_record(turn) for turn in preference.rejected],
    }
    return {**line, "tools": json_lines.to_json(preference.tools)} if equipped else line


# -- once the policy is loaded -------------------------------------------------------------------


def load_warm_start(
    settings: Settings, run: Run, policy: LanguageModel, journal: Journal, control: Control
) -> WarmStart:
    """The pairs that `copy_pairs` left, as token ids; none where the settings name none.

    Raises:
        UserError: no pair has room, or the batch size was changed in the middle of them.
        LoadingStopped: asked to stop.
    """
    if not settings.warm_start:
        return WarmStart()
    [split] = read_splits(str(run.path / WARM_START)).values()
    read = [each for _, each in read_preferences(split) if isinstance(each, Preference)]
    pairs: list[JudgedPair] = []
    end = end_of_turn(policy)
    for number, preference in enumerate(read, 1):
        if number % ASK_EVERY == 0:
            control.raise_if_stopping()
            journal.progress("loading", number, len(read), "pairs")
        if pair := tokenized(preference, policy, settings, end, number):
            pairs.append(pair)
    if left_out := len(read) - len(pairs):
        journal.log(
            "warning",
            f"warm_start: {counted(left_out, 'pair')} of {len(read):,} left out: longer than "
            f"max_seq_length {settings.max_seq_length}, prompt and answer together",
        )
    if not pairs:
        raise UserError(
            f"warm_start: no pair of {settings.warm_start} has room in max_seq_length "
            f"{settings.max_seq_length}; raise it"
        )
    count = drawn_in(settings.warm_start_epochs, len(pairs))
    steps = _steps(settings, run, math.ceil(count / settings.batch_size))
    before = _record(run)
    if before != (now := {**before, "pairs": len(pairs), "steps": steps}):
        journal.update(**{RECORD: now})
    journal.log(
        "info",
        f"warm_start: {counted(len(pairs), 'pair')} of {settings.warm_start}, learned from in the "
        f"first {counted(steps, 'step')}",
    )
    return WarmStart(
        tuple(pairs), steps, count, settings.replay, settings.batch_size, settings.seed
    )


def _steps(settings: Settings, run: Run, steps: int) -> int:
    """How many steps the warm start takes: once it is over, what it took."""
    before, checkpoint = _record(run).get("steps"), run.latest_checkpoint()
    if checkpoint is None or not isinstance(before, int) or before == steps:
        return steps
    if int(checkpoint.name) < before:
        raise UserError(
            f"batch_size: this run is in its warm start, of {counted(before, 'step')}, and with "
            f"{settings.batch_size} it would have {steps:,}; put it back, or start a new run"
        )
    return before


def tokenized(
    preference: Preference, policy: LanguageModel, settings: Settings, end: int, number: int
) -> JudgedPair | None:
    """A pair as token ids, both answers with their end-of-turn token; None where it has no room.

    Args:
        end: the end-of-turn token.
    """
    room, tokenizer = settings.max_seq_length, policy.tokenizer
    messages = preference.prompt
    if messages[0].role != "system" and (settings.system_prompt or "").strip():
        messages = (Message("system", settings.system_prompt or ""), *messages)
    texts = [answer_text(answer) for answer in (preference.chosen, preference.rejected)]
    if max(map(len, texts)) > room * CHARACTERS_PER_TOKEN:
        return None
    chosen, rejected = ((*data_ids(tokenizer, text), end) for text in texts)
    fitted = fit_prompt(tokenizer, Prompt(messages, "", preference.tools), settings, room)
    longest = max(len(chosen), len(rejected))
    if fitted.dropped or fitted.cut or len(fitted.ids) + longest > room:
        return None
    pair = Pair(
        pair_id=f"{WARM_START}:{number}",
        step=0,
        weights_step=NO_STEP,
        prompt="",
        messages=messages,
        tools=preference.tools,
        prompt_ids=tuple(fitted.ids),
        first=texts[0],
        second=texts[1],
        first_ids=chosen,
        second_ids=rejected,
        first_finished=True,
        second_finished=True,
    )
    return JudgedPair(pair, Verdict("first"))


def end_of_turn(policy: LanguageModel) -> int:
    """The token that ends an answer: the one that the chat template puts behind it, or the
    tokenizer's end of text."""
    tokenizer: Any = policy.tokenizer
    question, answer = Message("user", "Why?"), Message("assistant", "So.")
    before = render_prompt(tokenizer, Prompt((question,), ""), Settings(), 10**6)
    whole = render_answered(tokenizer, (question, answer))
    ends = (each for each in whole[len(before) :] if each in policy.eos_ids)
    return next(ends, tokenizer.eos_token_id)


def _record(run: Run) -> Record:
    record: Any = run.state().get(RECORD)
    return record if isinstance(record, dict) else {}
