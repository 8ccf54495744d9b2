"""What ranks other than 0 do: the shares of a run that `engine.train.ranks` gives out.

Such a rank has no run folder, no data and no loop of its own. It loads the models, and computes
what it is asked.
"""

import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from engine.compute.sampling import Interrupted, Sampler, sample, stream_seed
from engine.control import Control
from engine.data.pairs import JudgedPair, Pair, Verdict
from engine.distributed.group import Group, SumTimeout
from engine.distributed.hang_watch import HangWatch
from engine.distributed.links import FAULT, LOG, STOP, WAKE, Link, RankLost
from engine.distributed.wire import Message
from engine.errors import RunError, UserError
from engine.events import Event, Log
from engine.judges import PairJudge
from engine.machine.device import configure_mlx
from engine.machine.launch import Place
from engine.runs.archive import versions
from engine.runs.folder import STATE, Run
from engine.secrets import hide
from engine.settings.judge_names import judge_kind
from engine.settings.judge_roles import evaluator, training_judge
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.judging import Elsewhere, judge_of, judges_elsewhere
from engine.train.online_dpo import summed_loss
from engine.train.optimizers import build_optimizer
from engine.train.ranks.checks import file_digests
from engine.train.ranks.judges import answer_to
from engine.train.ranks.refusal import REFUSED
from engine.train.ranks.shares import (
    HEADER,
    reduced,
    start_file,
    state_digest,
    take_state,
    zeros,
)
from engine.train.roles import Roles, load_roles
from engine.train.update import Sums, Update
from engine.train.watch.memory_guard import MemoryGuard

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
        self._loads = False
        self.run_settings: Settings | None = None  # those of rank 0, once it has told them
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.hung: End | None = None  # how it ended, where the engine's thread cannot say so

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
        except UserError as error:
            return End(2, str(error))
        except (TimeoutError, SumTimeout, RuntimeError, RankLost) as error:
            return End(1, f"rank {self._place.rank} did not find rank 0: {error}")
        try:
            self._obey(group, link)
        except RankLost:
            pass
        except BaseException as error:  # whatever it is, rank 0 has to know
            known = isinstance(error, UserError | RunError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            link.send(do=FAULT, text=hide(text))  # rank 0 does not know the keys of this one
        while link.is_alive:
            link.wait(END_SECONDS)
        return self._end(link)

    def end_of_load(self) -> End | None:
        """How the run ended, for who waits on another thread, where this rank still loads: nothing
        breaks that off."""
        link = self._link
        return self._end(link) if self._loads and link and not link.is_alive else None

    def _end(self, link: Link) -> End:
        """How rank 0 ended, once its process has."""
        self._tidy()
        if link.end is None:
            return End(
                1,
                f"{link.lost}, so rank {self._place.rank} ends; `lora-studio resume` goes on from "
                "the newest checkpoint of the run, with any number of ranks",
            )
        if not link.end.get("hangs"):
            link.wait(END_SECONDS, exit=True)
        return End(link.end["status"], link.end["text"])

    def _tidy(self) -> None:
        """Remove the temporary files, since this process may end in the middle of what the engine's
        thread does."""
        if self._folder:
            self._folder.cleanup()

    def _connect(self, group: Group) -> Link:
        group.start(lambda: None)
        facts = json.loads(group.spread(b"", HEADER, lambda: None))
        if reason := facts.get(REFUSED):
            raise UserError(reason)
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
        self._loads = True
        self.run_settings = settings = Settings.model_validate(begin["settings"])
        link.answer(begin, files=file_digests(settings))
        control = _Following(link)
        self._folder = tempfile.TemporaryDirectory(prefix="lora-studio-rank-")
        with self._folder as folder:
            (Path(folder) / STATE).write_text("{}", encoding="utf-8")
            journal = _Notes(Run(Path(folder)), control.tell, control)
            both = training_judge(settings), evaluator(settings)
            with judges_elsewhere(*both, journal, control) as elsewhere:
                work = _Work(group, control, settings, begin, journal, elsewhere)
                self._loads = False
                work.serve(HangWatch(self._hang))

    def _hang(self, what: str) -> None:
        """End the run from the watching thread, since the one that computes is stuck."""
        link = self._link
        assert link is not None
        link.send(do=FAULT, text=f"it hangs: {what}")
        self._tidy()
        link.wait(END_SECONDS)
        link.wait(END_SECONDS, exit=True)
        self.hung = End(1, f"rank {self._place.rank} hangs: {what}")


class _Notes(Journal):
    """What is logged goes to rank 0, which keeps the run's files: no disk holds a rank up."""

    def persist(self, write: Callable[[], object]) -> None:
        pass


class _Following(Control):
    """Says of the command at hand whether it is still wanted, and lets rank 0 know what is new."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link
        self.message: Message | None = None  # the one at hand

    @property
    def stopping(self) -> bool:
        return self.link.dropped(self.message) if self.message else not self.link.is_alive

    def wake(self) -> None:
        self.link.send(do=WAKE)

    def tell(self, event: Event) -> None:
        """Rank 0 has the log."""
        if isinstance(event, Log):
            self.link.send(do=LOG, level=event.level, text=event.text)


class _Work:
    """A rank whose models are loaded."""

    def __init__(
        self,
        group: Group,
        control: _Following,
        settings: Settings,
        begin: Message,
        journal: Journal,
        elsewhere: tuple[Elsewhere, Elsewhere],
    ) -> None:
        """The folder of the journal's run is for files that nobody needs afterwards."""
        self._group, self._control, self._settings = group, control, settings
        self._link = control.link
        self._sums: Sums | None = None  # of the step at hand
        self._pairs = 0  # of this rank in it
        mx.random.seed(stream_seed(settings.seed, "adapters"))
        roles: Roles = load_roles(
            settings,
            lambda name: journal.log("info", f"downloading {name}"),
            start_file(begin["start"], journal.run.path),
        )
        self._models = {"policy": roles.policy, "reference": roles.reference}
        self._judges: list[PairJudge | None] = [
            each and judge_of(each, roles.judges, away, journal, control)
            for each, away in zip(
                (training_judge(settings), evaluator(settings)), elsewhere, strict=True
            )
        ]
        self._judges_here = [
            each is not None and all(judge_kind(name) == "model" for name in each.judges)
            for each in (training_judge(settings), evaluator(settings))
        ]
        message = self._link.next()
        optimizer = build_optimizer(settings, message["updates"])
        self._update = Update(
            roles.policy, roles.reference, settings, optimizer, stop=lambda: control.stopping
        )
        self._memory = MemoryGuard(settings)

    def serve(self, watch: HangWatch) -> None:
        """Do what rank 0 asks for, until it ends; `watch` looks whether the work goes on.

        Raises:
            RankLost: rank 0 has ended, or is gone.
        """
        while True:
            self._control.message = message = self._link.next()
            self._start = time.monotonic()
            kind, size = self._work_of(message)
            try:
                with watch.over(kind, size) if kind else contextlib.nullcontext():
                    self._do(message)
            except RankLost:
                raise
            except Interrupted:
                continue  # rank 0 does not want it

    def _do(self, message: Message) -> None:
        link, update = self._link, self._update
        match message["do"]:
            case "sample":
                self._answer(message, result=self._sample(message))
            case "judge" | "score" | "submit" | "collect":
                judge = self._judges[message["judge"]]
                assert judge is not None
                if answer := answer_to(judge, message):
                    self._answer(message, **answer)
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
            stop=lambda: self._control.stopping,
        )
        return [[(list(each.ids), each.finished) for each in row] for row in completions]

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
        self._answer(message, loss=self._sums.loss, logps=self._sums.logps.tolist())

    def _reduce(self, message: Message) -> None:
        assert self._sums is not None
        own = self._sums
        try:
            gradients, _, check = reduced(
                self._group,
                own.gradients,
                self._pairs,
                self._link.alive,
                short=self._settings.rank_gradients == "bfloat16",
            )
        except SumTimeout:
            raise RunError("the sum of gradients does not come to an end") from None
        self._sums = Sums(own.loss, own.logps, gradients)
        self._link.answer(message, check=check)

    def _answer(self, message: Message, **answer: Any) -> None:
        """Answer, with the seconds that it took."""
        self._link.answer(message, **answer, seconds=time.monotonic() - self._start)

    def _work_of(self, message: Message) -> tuple[str, int]:
        """The kind of work that a command has this rank compute, and its size; an empty kind where
        it only waits for others, who have time limits of their own."""
        match message["do"]:
            case "sample":
                return "sampling", sum(map(len, message["prompts"]))
            case "judge" | "score" if self._judges_here[message["judge"]]:
                return "judging", sum(len(str(each)) for each in message["texts"])
            case "sums" if message["pairs"]:
                return "gradients", sum(
                    len(pair["prompt_ids"]) + len(pair["first_ids"]) + len(pair["second_ids"])
                    for pair, _ in message["pairs"]
                )
            case "add" | "apply" | "digest" as command:
                return command, 1
            case _:
                return "", 0
