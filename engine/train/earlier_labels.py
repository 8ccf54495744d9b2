"""A person's labels of steps that a run went back from, for pairs of the same texts."""

import json
from typing import Any

from engine.data.pairs import JudgedPair, Layout, Pair, Verdict, completion_fields
from engine.data.recorded_pairs import RecordedPair
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.go_back import is_set_aside
from engine.runs.json_lines import Record


class EarlierLabels:
    """Those in a run's files, by the prompt and the two answers that they are of."""

    def __init__(self, run: Run, layout: Layout) -> None:
        self._run = run
        self._layout: Layout = layout
        self._lines: dict[str, tuple[str, Record]] = {}  # the file and the line
        for file in (PAIRS, UNDECIDED):
            for line in run.read(file):
                if is_set_aside(str(line.get("pair_id"))):
                    self._lines[_texts(line)] = (file, line)

    def claim(self, pair: Pair) -> Verdict | None:
        """The verdict that a person gave on the same texts, None where nobody did. The label is
        this pair's from now on.

        Raises:
            StorageError: the label is as it was.
        """
        if not self._lines:
            return None
        texts = _texts(JudgedPair(pair, Verdict("tie")).to_record("", self._layout))
        if texts not in self._lines:
            return None
        file, line = self._lines[texts]
        facts = {"pair_id": pair.pair_id, "step": pair.step, "weights_step": pair.weights_step}
        self._run.rewrite(
            file, lambda each: each | facts if each.get("pair_id") == line["pair_id"] else each
        )
        del self._lines[texts]
        return RecordedPair.from_record(line).verdict


def _texts(line: Record) -> str:
    """What a line of the run's files is a label of, whatever its label."""
    first, second = completion_fields(str(line.get("choice")))
    texts: list[Any] = [line.get("prompt"), line.get(first), line.get(second)]
    return json.dumps(texts, sort_keys=True)
