"""A person's labels of pairs on which a judge is tried before anything is trained.

They stand in the data folder, a file for each question (the rubric and where the pairs come from),
whichever judge is asked: so they hold for another judge too, and outlive the program. A run that is
started with the same question takes them into its own folder, where they are labels of a person
beside those that it learns from; no training reads or writes them.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.prompts import Prompt, prompt_digest
from engine.data_folder import data_folder
from engine.events import Choice
from engine.runs import json_lines, record_files
from engine.runs.folder import CARD_PAIRS, Run
from engine.runs.json_lines import Record
from engine.runs.labels import PERSON
from engine.runs.relabel import CARD_ID
from engine.runs.storage import PRIVATE_FOLDER, StorageError

if TYPE_CHECKING:
    from engine.settings.schema import Settings

FOLDER = "judge_labels"  # in the data folder
# What a label answers for: another judge, rate or length of the run asks the same question.
QUESTION = (
    "model",
    "data",
    "prompt_feature",
    "system_feature",
    "system_prompt",
    "judge_system",
    "judge_criteria",
)


def pair_id(prompt: Prompt, first: str, second: str) -> str:
    """The id of a pair by its texts, so that it is found again when it is sampled again."""
    digest = hashlib.blake2b(prompt_digest(prompt.messages, prompt.tools), digest_size=8)
    for text in (first, second):
        digest.update(hashlib.blake2b(text.encode(errors="surrogatepass")).digest())
    return f"{CARD_ID}{digest.hexdigest()}"


def labels(settings: "Settings") -> dict[str, Choice]:
    """The labels of these settings' question, by the id of the pair.

    Raises:
        OSError: the file cannot be read.
    """
    choices: dict[str, Choice] = {"first": "first", "second": "second", "tie": "tie"}
    return {
        str(line.get("pair_id")): choices[line["choice"]]
        for line in record_files.read_records(_file(settings))
        if line.get("choice") in choices
    }


def label(settings: "Settings", prompt: Prompt, first: str, second: str, choice: Choice) -> None:
    """Keep a label, in place of an earlier one of the same pair; it is on the disk when this
    returns.

    Raises:
        StorageError: it is as it was.
    """
    file, line = _file(settings), _record(prompt, first, second, choice)
    if line["pair_id"] in labels(settings):
        record_files.rewrite_records(
            file, lambda each: line if each.get("pair_id") == line["pair_id"] else each
        )
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    except OSError as error:
        raise StorageError(file, error) from error
    record_files.repair_last_line(file)
    record_files.append_lines(file, [line], sync=True)


def take_back(settings: "Settings", pair_id: str) -> None:
    """Take a label out again.

    Raises:
        StorageError: it is still there.
    """
    record_files.rewrite_records(
        _file(settings), lambda each: None if each.get("pair_id") == pair_id else each
    )


def copy_to(run: Run, settings: "Settings") -> list[str]:
    """Put the labels of the settings' question into the folder of a run that begins; a sentence on
    what was done, if there are any.

    They stay where they are too: the run may be discarded, and another judge be tried.
    """
    try:
        lines = [*record_files.read_records(_file(settings))]
        if lines:
            run.append(CARD_PAIRS, lines, sync=True)
    except (OSError, StorageError) as error:
        return [f"labels given on the judge's card could not be put into the run's folder: {error}"]
    labels = f"{len(lines)} label{'' if len(lines) == 1 else 's'}"
    return [f"{labels} given on the judge's card: {CARD_PAIRS} has them"] if lines else []


def _file(settings: "Settings") -> Path:
    question = {key: getattr(settings, key) for key in QUESTION}
    digest = hashlib.blake2b(json_lines.to_json(question).encode(), digest_size=8).hexdigest()
    return data_folder() / FOLDER / f"{digest}.jsonl"


def _record(prompt: Prompt, first: str, second: str, choice: Choice) -> Record:
    pair = Pair(
        pair_id=pair_id(prompt, first, second),
        step=0,
        weights_step=0,
        prompt=prompt.text,
        messages=prompt.conversation,
        tools=prompt.tools,
        prompt_ids=(),
        first=first,
        second=second,
        first_ids=(),
        second_ids=(),
        first_finished=True,
        second_finished=True,
    )
    layout = "messages and tools" if prompt.tools else "messages"
    line = JudgedPair(pair, Verdict(choice)).to_record(PERSON, layout)
    # Texts alone are known of it.
    return {key: each for key, each in line.items() if not key.endswith(("_tokens", "_finished"))}
