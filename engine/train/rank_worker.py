"""What ranks other than 0 do: the shares of a run that `engine.train.ranks` gives out.

Such a rank has no run folder, no data and no loop of its own. It loads the models, and computes
what it is asked.
"""

import json
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.compute.sampling import Interrupted, Sampler, sample, stream_seed
from engine.control import Control
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.data.prompts import Prompt
from engine.distributed.group import Group, SumTimeout
from engine.distributed.links import FAULT, LOG, STOP, Link, Message, RankLost
from engine.errors import RunError, UserError
from engine.events import Event, Log
from engine.judges import PairJudge
from engine.judges.presentation import Request
from engine.machine.device import configure_mlx
from engine.machine.launch import Place
from engine.runs.archive import versions
from engine.runs.folder import Run
from engine.settings.judge_names import judge_kind
from engine.settings.judge_roles import evaluator, training_judge
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.judging import judge_of
from engine.train.memory_guard import MemoryGuard
from engine.train.online_dpo import summed_loss
from engine.train.optimizers import build_optimizer
from engine.train.rank_checks import model_digests
from engine.train.rank_shares import (
    HEADER,
    reduced,
    start_file,
    state_digest,
    take_state,
    zeros,
)
from engine.train.roles import Roles, load_roles
from engine.train.update import Sums, Update

END_SECONDS = 60.0  # that rank 0 gets to write its last checkpoint


@dataclass(frozen=True, slots=True)
class End:
    """How a rank ended: the exit status, and why where it was no good end, in a sentence."""

    status: int
    text: str = ""


class RankWorker:
    """A rank that follows rank 0. `work` is for the engine's thread, `stop` for any."""

    def __init__(self, place: Place, settings: Settings | None) -> None:
        """`settings` are compared with those of rank 0; without, those are taken."""
        self._place, self._settings = place, settings
        self._link: Link | None = None

    def stop(self) -> bool:
        """Ask rank 0 to stop with a checkpoint; False: it is not there to be asked."""
        if self._link is None or self._link.lost:
            return False
        self._link.send(do=STOP)
        return True

    def work(self) -> End:
        """Do what rank 0 wants, to its end."""
        try:
            configure_mlx()
            group = Group(self._place)
            link = self._connect(group)
        except (TimeoutError, SumTimeout, RuntimeError, RankLost) as error:
            return End(1, f"rank {self._place.rank} did not find rank 0: {error}")
        try:
            self._obey(group, link)
        except RankLost:
            pass
        except BaseException as error:  # whatever it is, rank 0 has to know
            text = str(error) if isinstance(error, UserError | RunError) else repr(error)
            link.send(do=FAULT, text=text)
        while not (link.end or link.lost):
            link.wait(END_SECONDS)
        if link.end is None:
            return End(
                1,
                f"{link.lost}, so rank {self._place.rank} ends; `lora-studio resume` goes on from "
                "the newest checkpoint of the run, with any number of ranks",
            )
        link.wait(END_SECONDS, exit=True)
        return End(link.end["status"], link.end["text"])

    def _connect(self, group: Group) -> Link:
        group.start(lambda: None)
        facts = json.loads(group.spread(b"", HEADER, lambda: None))
        own = self._settings
        hello = {
            "rank": self._place.rank,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "versions": versions(),
            "settings": own and own.model_dump(mode="json", exclude_defaults=True),
        }
        key = bytes.fromhex(facts["key"])
        self._link = Link(facts["name"], facts["addresses"], facts["port"], key, hello)
        return self._link

    def _obey(self, group: Group, link: Link) -> None:
        begin = link.next()
        settings = Settings.model_validate(begin["settings"])
        link.answer(begin, models=model_digests(settings))
        with tempfile.TemporaryDirectory(prefix="lora-studio-rank-") as folder:
            _Work(group, link, settings, begin, Path(folder)).serve()


class _Dropping(Control):
    """Says of the command at hand whether it is still wanted."""

    def __init__(self, dropped: Callable[[], bool]) -> None:
        super().__init__()
        self._dropped = dropped

    @property
    def stopping(self) -> bool:
        return self._dropped()


class _Work:
    """A rank whose models are loaded."""

    def __init__(
        self, group: Group, link: Link, settings: Settings, begin: Message, folder: Path
    ) -> None:
        """`folder` is for files that nobody needs afterwards."""
        self._group, self._link, self._settings = group, link, settings
        self._message: Message | None = None  # the one at hand
        self._sums: Sums | None = None  # of the step at hand
        self._pairs = 0  # of this rank in it
        control = _Dropping(self._is_dropped)
        journal = Journal(Run(folder), self._tell, control)
        mx.random.seed(stream_seed(settings.seed, "adapters"))
        roles: Roles = load_roles(
            settings,
            lambda name: journal.log("info", f"downloading {name}"),
            start_file(begin["start"], folder),
        )
        self._models = {"policy": roles.policy, "reference": roles.reference}
        self._judges: list[PairJudge | None] = [
            judge_of(each, roles.judges, {}, journal, control)
            if each and all(judge_kind(name) == "model" for name in each.judges)
            else None
            for each in (training_judge(settings), evaluator(settings))
        ]
        message = link.next()
        optimizer = build_optimizer(settings, message["updates"])
        self._update = Update(roles.policy, roles.reference, settings, optimizer)
        self._memory = MemoryGuard(settings)

    def serve(self) -> None:
        """Do what comes, until nothing more does.

        Raises:
            RankLost: rank 0 has ended, or is gone.
        """
        while True:
            self._message = message = self._link.next()
            try:
                self._do(message)
            except RankLost:
                raise
            except Interrupted:
                continue  # not wanted any more

    def _do(self, message: Message) -> None:
        link, update = self._link, self._update
        match message["do"]:
            case "sample":
                link.answer(message, result=self._sample(message))
            case "judge":
                link.answer(message, result=self._judge(message))
            case "sums":
                self._score(message)
            case "reduce":
                self._reduce(message)
            case "add":
                assert self._sums is not None
                sums = Sums(message["loss"], self._sums.logps, self._sums.gradients)
                update.add(sums, message["pairs"])
                self._sums = None
            case "apply":
                update.apply()
                if excess := self._memory.excess():
                    link.send(do=FAULT, text=excess)
            case "digest":
                link.answer(message, digest=state_digest(update))
            case "ready":
                link.answer(message)
            case "state":
                try:
                    data = self._group.spread(b"", message["size"], link.alive)
                except SumTimeout:
                    raise RunError("the weights of rank 0 do not come") from None
                take_state(update, data, message["arrays"], message)
            case unknown:
                raise RunError(f"rank 0 wants what this version does not know: {unknown}")

    def _sample(self, message: Message) -> list[list[tuple[list[int], bool]]]:
        completions = sample(
            self._models[message["of"]],
            message["prompts"],
            copies=message["copies"],
            max_tokens=message["max_tokens"],
            sampler=Sampler(**message["sampler"]),
            seed=message["seed"],
            indices=message["indices"],
            stop=self._is_dropped,
        )
        return [[(list(each.ids), each.finished) for each in row] for row in completions]

    def _judge(self, message: Message) -> list[dict[str, Any]]:
        judge = self._judges[message["judge"]]
        assert judge is not None
        texts = [(_request(prompt), first, second) for prompt, first, second in message["texts"]]
        return [asdict(verdict) for verdict in judge.judge(texts, message["names"])]

    def _score(self, message: Message) -> None:
        judged = [
            JudgedPair(Pair.from_json(pair), Verdict.from_json(verdict))
            for pair, verdict in message["pairs"]
        ]
        self._pairs = len(judged)
        self._sums = (
            self._update.sums(summed_loss, judged, message["step"], message["first"])
            if judged
            else zeros(self._update)
        )
        self._link.answer(message, loss=self._sums.loss, logps=self._sums.logps.tolist())

    def _reduce(self, message: Message) -> None:
        assert self._sums is not None
        own = self._sums
        try:
            gradients, _, check = reduced(self._group, own.gradients, self._pairs, self._link.alive)
        except SumTimeout:
            raise RunError("the sum of gradients does not come to an end") from None
        self._sums = Sums(own.loss, own.logps, gradients)
        self._link.answer(message, check=check)

    def _is_dropped(self) -> bool:
        return self._message is not None and self._link.dropped(self._message)

    def _tell(self, event: Event) -> None:
        """Rank 0 has the log."""
        if isinstance(event, Log):
            self._link.send(do=LOG, level=event.level, text=event.text)


def _request(prompt: Any) -> Request:
    return prompt if isinstance(prompt, str) else Prompt.from_json(prompt)
