"""A person's labels in the files of a run that is being trained."""

from collections.abc import Collection, Sequence

from engine.data import pairs
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.events import Choice
from engine.judges.human import HumanJudge
from engine.runs import relabel, retracted
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.train.journal import Journal


class RunLabels:
    """The store of a `HumanJudge`. Called on the thread of whoever answers."""

    def __init__(self, run: Run, journal: Journal) -> None:
        self._run = run
        self._journal = journal

    def write(self, judged: Sequence[JudgedPair]) -> None:
        """Store the labels of a prompt, synced, and kept when the run goes on from before its step.
        They are for one file: all have a winner, or there is one without."""
        layout = self._journal.layout
        lines = [each.to_record(HumanJudge.name, layout) | {"keep": True} for each in judged]
        self._run.append(PAIRS if judged[0].decided else UNDECIDED, lines, sync=True)
        self._journal.count_pairs(len(lines))

    def claim(self, pair: Pair) -> Verdict | None:
        """The label that the person gave the same texts in a step that the run went back from."""
        return self._journal.claim(pair)

    def retract(self, pair_ids: Collection[str]) -> None:
        """Take the labels of a prompt that waits again out of the files."""
        retracted.retract(self._run, pair_ids)
        self._journal.count_pairs()

    def find(self, pair_id: str) -> Record | None:
        """The line of a pair, None where it has no label."""
        match = relabel.find(self._run, pair_id)
        return match[1] if match else None

    def of_prompt(self, prompt: str) -> list[str]:
        """The ids of the pairs of a prompt that have a label."""
        lines = (line for file in (PAIRS, UNDECIDED) for line in self._run.read(file))
        ids = (str(line.get("pair_id")) for line in lines)
        return [each for each in ids if pairs.prompt_id(each) == prompt]

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        """Give a stored pair another verdict, or with None take its label out."""
        relabel.relabel_own(self._run, pair_id, choice)
        self._journal.count_pairs()
