"""A person's labels in the files of a run that is being trained."""

from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.events import Choice
from engine.judges.human import HumanJudge
from engine.runs import relabel
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.train.journal import Journal


class RunLabels:
    """The store of a `HumanJudge`. Called on the thread of whoever answers."""

    def __init__(self, run: Run, journal: Journal) -> None:
        self._run = run
        self._journal = journal

    def write(self, judged: JudgedPair) -> None:
        """Store a label, synced, and kept when the run goes on from before its step."""
        line = judged.to_record(HumanJudge.name, self._journal.layout) | {"keep": True}
        self._run.append(PAIRS if judged.decided else UNDECIDED, [line], sync=True)
        self._journal.count_pairs(1)

    def claim(self, pair: Pair) -> Verdict | None:
        """The label that the person gave the same texts in a step that the run went back from."""
        return self._journal.claim(pair)

    def retract(self, pair_id: str) -> None:
        """Take the label of a pair that waits again out of the files."""
        for file in (PAIRS, UNDECIDED):
            self._run.rewrite(file, lambda line: None if line.get("pair_id") == pair_id else line)
        self._journal.count_pairs()

    def find(self, pair_id: str) -> Record | None:
        """The line of a pair, None where it has no label."""
        match = relabel.find(self._run, pair_id)
        return match[1] if match else None

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        """Give a stored pair another verdict, or with None take its label out."""
        relabel.relabel_own(self._run, pair_id, choice)
        self._journal.count_pairs()
