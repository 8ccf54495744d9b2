"""A run that asks a person, without a model: real folder, real judge, pairs made by hand."""

from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Literal

from engine.data.pairs import JudgedPair, Pair, Verdict, prompt_id
from engine.data.recorded_pairs import RecordedPair
from engine.events import (
    Choice,
    Event,
    EventBuffer,
    PairSampled,
    Progress,
    RunStarted,
    RunStatus,
)
from engine.judges.human import HumanJudge
from engine.judges.picks import Picking
from engine.runs import archive
from engine.runs.folder import PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.runs.relabel import find, relabel_own
from engine.runs.storage import StorageError
from engine.settings.schema import Settings


def pair(step: int, index: int = 0, first: str = "", second: str = "", prompt: str = "") -> Pair:
    """A pair whose second completion was cut."""
    return Pair(
        pair_id=f"{step:07d}-{index:03d}",
        step=step,
        weights_step=step - 1,
        prompt=prompt or f"Question {step}.{index}?",
        prompt_ids=(1,),
        first=first or f"Answer one of {step}.{index}.",
        second=second or f"Answer two of {step}.{index}.",
        first_ids=(2, 3),
        second_ids=(4,),
        first_finished=True,
        second_finished=False,
    )


class PersonSession:
    """Stands in for `engine.session.Session`: all of it but the thread that samples and trains."""

    def __init__(self, settings: Settings, run: Run | None = None) -> None:
        self.settings = settings
        self.run = run or archive.create(settings)
        self.alive = self.has_folder = True
        self.unbegun = self.lingers = False
        self.stopping = False
        self.error: str | None = None
        self.events = EventBuffer()
        self.full = False  # whether the disk is
        self.judge = HumanJudge(
            seed=settings.seed,
            undo_seconds=settings.undo_seconds,
            self_check_every=settings.self_check_every,
            labels=Labels(self),
            show=self.events.put,
            picking=Picking.of(settings),
        )
        self.waiting, self.answer = self.judge.waiting, self.judge.answer
        self.undo, self.agreement = self.judge.undo, self.judge.agreement
        self.given, self.relabel = self.judge.given, self.judge.relabel
        self.labels_of = self.judge.labels_of
        self.drain = self.events.drain
        self.tell(
            RunStarted(
                name=self.run.name,
                folder=str(self.run.path),
                step=0,
                total_steps=settings.iters,
                device="cpu",
                trainable_parameters=1,
                total_parameters=2,
                prompts=3,
                dropped_prompts={},
            )
        )

    @property
    def status(self) -> RunStatus:
        return "running" if self.alive else "stopped"

    def tell(self, *events: Event) -> None:
        for event in events:
            self.events.put(event)

    def sampling(self, done: int, total: int) -> None:
        self.tell(Progress(phase="sampling", step=0, done=done, total=total, unit="tokens"))

    def submit(self, *pairs: Pair) -> None:
        """Ask for pairs, a batch a step."""
        for _, batch in groupby(pairs, key=lambda pair: pair.step):
            self.judge.submit(list(batch))

    def learn(self) -> list[JudgedPair]:
        """What the training loop does with the oldest batch."""
        return self.judge.collect() or []

    def labels(self) -> dict[str, str]:
        """What the run's files say of each pair."""
        lines = [line for file in (PAIRS, UNDECIDED) for line in self.run.read(file)]
        assert len({line["pair_id"] for line in lines}) == len(lines)
        return {line["pair_id"]: line["choice"] for line in lines}

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each pair, as the run's files have it."""
        lines = [line for file in (PAIRS, UNDECIDED) for line in self.run.read(file)]
        return {line["pair_id"]: RecordedPair.from_record(line).verdict for line in lines}

    def left(self, waiting: PairSampled) -> Literal["first", "second"]:
        """Which completion stands on the left of a waiting pair."""
        return "first" if "one" in waiting.left else "second"


class Labels:
    """The labels in the run's files, on a disk that can be full."""

    def __init__(self, session: PersonSession) -> None:
        self.session = session

    @property
    def run(self) -> Run:
        return self.session.run

    def write(self, judged: Sequence[JudgedPair]) -> None:
        file = PAIRS if judged[0].decided else UNDECIDED
        self.check(file)
        lines = [
            each.to_record("human", "messages" if each.pair.messages else "text") for each in judged
        ]
        self.run.append(file, lines, sync=True)

    def claim(self, pair: Pair) -> Verdict | None:
        return None

    def retract(self, pair_ids: Collection[str]) -> None:
        for file in (PAIRS, UNDECIDED):
            self.run.rewrite(file, lambda line: None if line["pair_id"] in pair_ids else line)

    def find(self, pair_id: str) -> Record | None:
        match = find(self.run, pair_id)
        return match[1] if match else None

    def of_prompt(self, prompt: str) -> list[str]:
        return [each for each in self.session.labels() if prompt_id(each) == prompt]

    def relabel(self, pair_id: str, choice: Choice | None) -> None:
        self.check(PAIRS)
        relabel_own(self.run, pair_id, choice)

    def check(self, file: str) -> None:
        if self.session.full:
            raise StorageError(self.run.path / file, OSError(28, "No space left on device"))


def human_settings(**more: object) -> Settings:
    """Settings of a run that asks a person."""
    return Settings.model_validate(
        {"model": "starter", "data": "starter", "judge": "human", "undo_seconds": 0, **more}
    )
