"""A run of several ranks, as rank 0 sees it: it alone runs the loop, and has the others compute
their shares of what takes long: sampling, judging by models of this machine, and gradients.

What is sampled does not depend on who samples it: draws have keys of their own. Every rank applies
the same sum of gradients by the same optimizer, and so has the same weights. What the others do is
in `engine.train.ranks.worker`.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar

import numpy as np

from engine.compute.sampling import Interrupted, Sampler, sample
from engine.control import Control
from engine.data.completion import Completion
from engine.data.pairs import JudgedPair
from engine.distributed.group import Group, SumTimeout
from engine.distributed.hang_watch import FIRST_SECONDS, SLOWER, HangWatch
from engine.distributed.links import Hub, RankLost, own_addresses
from engine.errors import UserError
from engine.judges import JudgeAway, PairJudge
from engine.judges.server import ServerJudge
from engine.machine.launch import Place
from engine.model.language_model import LanguageModel
from engine.settings.judge_names import judge_kind
from engine.settings.schema import Settings
from engine.train.journal import Journal
from engine.train.ranks import meeting
from engine.train.ranks.checks import check_disk
from engine.train.ranks.judges import SharedJudge, SharedServer
from engine.train.ranks.shares import (
    by_weight,
    dealt,
    reduced,
    state_arrays,
    state_digest,
    to_bytes,
)
from engine.train.ranks.update import SharedUpdate
from engine.train.ranks.waits import Waits
from engine.train.roles import Roles
from engine.train.update import MakeUpdate, Sums, Update

T = TypeVar("T")
POLL_SECONDS = 0.1
DISK_BYTES_PER_SECOND = 20e6  # of a slow one
STOPPED = 130  # the exit status of who was asked to stop


class Lead:
    """Rank 0 of several. Each command is given to all before this rank computes its own share."""

    def __init__(self, here: Place, journal: Journal, control: Control) -> None:
        """
        Raises:
            UserError: its address is not this machine's.
        """
        self.size = here.size
        self._group = Group(here)
        self._others = range(1, here.size)
        self._journal, self._control = journal, control
        self._key = os.urandom(32)
        self._woken = threading.Event()  # by a server's answers to another rank
        try:
            self._hub = Hub(
                here.size - 1,
                here.address or "",
                self._key,
                stop=control.stop,
                wake=self._wake,
                on_loss=self._give_up,
            )
        except OSError as error:
            raise UserError(
                f"mlx.launch: rank 0 cannot be reached at {here.address}, the address that it is "
                f"given ({error.strerror or error}); it has to be one of {socket.gethostname()}, "
                f"such as {own_addresses()[0]}"
            ) from error
        self._name = f"rank 0 on {socket.gethostname()} (process {os.getpid()})"
        self._reference: LanguageModel | None = None
        self._began = time.monotonic()
        self._bytes = 0  # of a checkpoint
        self._short = False  # whether gradients are sent in bfloat16
        self._watch = HangWatch(self._hang)
        self._ended = threading.Event()  # the others were told of the end
        self.step_measures = self._waits = Waits(
            here.size, lambda: self._group.bytes_sent + self._hub.bytes_sent
        )

    @property
    def lost(self) -> str | None:
        return self._hub.lost

    # -- the start and the end -------------------------------------------------------------------

    def start(self, settings: Settings) -> None:
        """Find the other ranks, and see that they have what this one has."""
        threading.Thread(target=self._watch_loading, name="loading", daemon=True).start()
        self._short = settings.rank_gradients == "bfloat16"
        self._journal.progress("loading")
        run, hub = self._journal.run, self._hub
        facts = {"key": self._key.hex(), "name": self._name}
        hellos = meeting.find(self._group, hub, facts, self._control)
        check_disk(self._name, run.path, settings)
        meeting.begin(hub, hellos, settings, run, self._control)
        names = ", ".join(hub.names.values())
        self._journal.log("info", f"{self.size} ranks train together: {self._name}, {names}")

    def end(self, status: int, text: str) -> None:
        """Let the others end, with an exit status and the reason. They wait for the end of this
        process, which still may have to write."""
        if not self._ended.is_set():
            self._ended.set()
            self._hub.tell({"do": "end", "status": status, "text": text})
        if not status and (waits := self._waits.in_words()):
            self._journal.log("info", waits)

    def _watch_loading(self) -> None:
        """Nothing breaks off a load, and a process that is to stop ends in the middle of one."""
        while not (self._control.begun or self._ended.wait(POLL_SECONDS)):
            if self._control.stopping:
                self.end(STOPPED, "")

    def _hang(self, what: str) -> None:
        """Let the others end: nobody knows whether this rank ever goes on."""
        text = (
            f"{self._name} hangs: {what}; `lora-studio resume` goes on from the newest checkpoint"
        )
        self._hub.tell({"do": "end", "status": 1, "text": text, "hangs": True})

    def _give_up(self) -> None:
        """Stop computing, which is in vain once another rank is lost. While the run still loads,
        the first command to the others finds that out."""
        if self._control.begun:
            self._control.stop()

    def _wake(self) -> None:
        self._woken.set()
        self._control.wake()

    def serve(self, roles: Roles) -> None:
        self._reference = roles.reference
        self._hub.alive()

    # -- shares ----------------------------------------------------------------------------------

    def sample(
        self,
        lm: LanguageModel,
        prompts: Sequence[Sequence[int]],
        *,
        copies: int,
        max_tokens: int,
        sampler: Sampler,
        seed: int,
        progress: Callable[[int], None] = lambda tokens: None,
        written: Callable[[int, Sequence[Sequence[int]]], None] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> list[list[Completion]]:
        """As `engine.compute.sampling.sample`, each rank a share of the prompts."""
        how = {
            "do": "sample",
            "of": "reference" if lm is self._reference else "policy",
            "copies": copies,
            "max_tokens": max_tokens,
            "sampler": asdict(sampler),
            "seed": seed,
        }

        def own_share(at: list[int]) -> list[list[Completion]]:
            def tell(number: int, ids: Sequence[Sequence[int]]) -> None:
                if written:
                    written(at[number], ids)

            return sample(
                lm,
                [prompts[i] for i in at],
                copies=copies,
                max_tokens=max_tokens,
                sampler=sampler,
                seed=seed,
                indices=at,
                progress=lambda tokens: progress(tokens * len(prompts) // len(at)),
                written=tell if written else None,
                stop=stop,
            )

        return self.share_out(
            "sampling",
            [len(prompt) for prompt in prompts],
            lambda at: {**how, "prompts": [list(prompts[i]) for i in at], "indices": at},
            own_share,
            lambda row: [Completion(tuple(ids), bool(end)) for ids, end in row],
            stop,
        )

    def judge(self, at: int, settings: Settings, judge: PairJudge) -> PairJudge:
        if isinstance(judge, ServerJudge):
            return SharedServer(self, at, judge, self._woken)
        computes = all(judge_kind(name) == "model" for name in settings.judges)
        return SharedJudge(self, at, judge, "judging" if computes else "")

    def share_out(
        self,
        kind: str,
        sizes: Sequence[int],
        message: Callable[[list[int]], dict[str, Any]],
        compute: Callable[[list[int]], Sequence[T]],
        take: Callable[[Any], T],
        stop: Callable[[], bool] | None = None,
    ) -> list[T]:
        """As `engine.train.ranks.judges.JudgingRanks` has it."""
        shares = dealt(sizes, self.size)
        ranks = [rank for rank in self._others if shares[rank]]
        start = time.monotonic()
        number = self._hub.ask({rank: message(shares[rank]) for rank in ranks})
        own: Sequence[T] = ()
        try:
            if shares[0]:
                with self._computes(kind, sum(sizes[i] for i in shares[0])):
                    own = compute(shares[0])
            computed = time.monotonic()
            answers = self._hub.answers(ranks, number, stop or (lambda: self._control.stopping))
            self._look_for_away(answers)
        except (Interrupted, JudgeAway):
            self._drop(number)
            raise
        self._waits.add(start, computed, answers)
        self._tell_notes()
        results = dict(zip(shares[0], own, strict=True))
        for rank, answer in answers.items():
            results |= zip(shares[rank], map(take, answer["result"]), strict=True)
        return [results[i] for i in range(len(sizes))]

    def _drop(self, number: int) -> None:
        """Let the others leave what they were asked by this number.

        Raises:
            RankLost: it is dropped since a rank is lost.
        """
        self._hub.tell({"do": "drop", "before": number})
        self._hub.alive()

    def send(self, messages: Mapping[int, dict[str, Any]]) -> int:
        return self._hub.ask(messages)

    def answers(self, ranks: Sequence[int], number: int) -> dict[int, dict[str, Any]]:
        answers = self._hub.answers(ranks, number)
        self._tell_notes()
        self._look_for_away(answers)
        return answers

    def _look_for_away(self, answers: Mapping[int, Mapping[str, Any]]) -> None:
        for rank, answer in answers.items():
            if away := answer.get("away"):
                raise JudgeAway(f"{self._hub.names[rank]}: {away}")

    def _computes(self, kind: str, size: int) -> contextlib.AbstractContextManager[None]:
        return self._watch.over(kind, size) if kind else contextlib.nullcontext()

    def _tell_notes(self) -> None:
        for level, text in self._hub.notes():
            self._journal.log("warning" if level == "warning" else "info", text)

    # -- gradients -------------------------------------------------------------------------------

    def update(self, make: MakeUpdate, updates: int) -> Update:
        self.tell(do="prepare", updates=updates)
        update = make(partial(SharedUpdate, self))
        self._bytes = sum(each.nbytes for each in state_arrays(update).values())
        self._journal.saving = self._saving
        return update

    def watched(self, kind: str) -> contextlib.AbstractContextManager[None]:
        return self._watch.over(kind, 1)

    def _saving(self) -> contextlib.AbstractContextManager[None]:
        first = FIRST_SECONDS + self._bytes / DISK_BYTES_PER_SECOND
        return self._watch.over("a save", 1, first)

    def sums(
        self,
        compute: Callable[[Sequence[JudgedPair], int], Sums],
        none: Callable[[], Sums],
        decided: Sequence[JudgedPair],
        step: int,
    ) -> Sums:
        """The sums over all ranks' shares of pairs."""
        tokens = [
            len(each.pair.prompt_ids) + len(each.chosen_ids) + len(each.rejected_ids)
            for each in decided
        ]
        shares = by_weight(tokens, self.size)
        start = time.monotonic()
        number = self._hub.ask(
            {
                rank: {
                    "do": "sums",
                    "step": step,
                    "first": shares[rank].start,
                    "pairs": [
                        [each.pair.to_json(), asdict(each.verdict)]
                        for each in decided[shares[rank]]
                    ],
                }
                for rank in self._others
            }
        )
        mine = decided[shares[0]]
        try:
            if mine:
                with self._watch.over("gradients", sum(tokens[shares[0]])):
                    own = compute(mine, shares[0].start)
            else:
                own = none()
            computed = time.monotonic()
            answers = self._hub.answers(self._others, number, lambda: self._control.stopping)
        except Interrupted:
            self._drop(number)
            raise
        self._waits.add(start, computed, answers)
        start = time.monotonic()
        # All are ready, so that nobody waits within a sum for one that still computes.
        number = self._hub.ask({rank: {"do": "reduce"} for rank in self._others})
        try:
            gradients, pairs, check = reduced(
                self._group, own.gradients, len(mine), self._hub.alive, short=self._short
            )
        except SumTimeout:
            raise self._cut("the sum of gradients over ranks does not come to an end") from None
        checks = self._hub.answers(self._others, number)
        self._waits.add_sum(start)
        if pairs != len(decided) or any(each["check"] != check for each in checks.values()):
            raise self._cut("the sum of gradients over ranks differs from rank to rank")
        logps = [np.array(answers[rank]["logps"], np.float32) for rank in self._others]
        self._tell_notes()
        return Sums(
            own.loss + sum(answers[rank]["loss"] for rank in self._others),
            np.concatenate([own.logps, *(each for each in logps if each.size)]),
            gradients,
        )

    def _cut(self, what: str) -> RankLost:
        names = ", ".join(self._hub.names.values())
        lost = f"{what}: the network between rank 0 and {names}"
        self._hub.lose(lost)
        return RankLost(lost)

    def tell(self, **message: Any) -> None:
        """Have the others do what needs no answer."""
        self._hub.tell(message)

    def agree(self, update: Update) -> None:
        """See that all ranks have the weights of this one; where not, give them these."""
        number = self._hub.ask({rank: {"do": "digest"} for rank in self._others})
        with self.watched("digest"):
            own = state_digest(update)
        answers = self._hub.answers(self._others, number)
        for rank in self._others:
            if answers[rank]["digest"] != own:
                self._journal.log(
                    "warning",
                    f"{self._hub.names[rank]} has other weights than rank 0, as unlike machines "
                    "round unlike; it goes on with those of rank 0",
                )
        if any(each["digest"] != own for each in answers.values()):
            self._give_state(update)

    def spread(self, update: Update) -> None:
        number = self._hub.ask({rank: {"do": "ready"} for rank in self._others})
        # Who loads may take as long as this rank did, several times over.
        seconds = max(FIRST_SECONDS, SLOWER * (time.monotonic() - self._began))
        try:  # all have loaded their models
            self._hub.answers(self._others, number, lambda: self._control.stopping, seconds)
        except TimeoutError as late:
            lost = f"{late} within {seconds:.0f} seconds that its models are loaded"
            self._hub.lose(lost)
            raise RankLost(lost) from late
        self._give_state(update)

    def _give_state(self, update: Update) -> None:
        arrays = state_arrays(update)
        data = to_bytes(arrays)
        shapes = [(key, list(a.shape), str(a.dtype)) for key, a in arrays.items()]
        counts = {"pairs": update.gradient_pairs, "steps": update.steps_since_update}
        message = {"do": "state", "arrays": shapes, "size": len(data), **counts}
        self.tell(**message)
        try:
            self._group.spread(data, len(data), self._hub.alive)
        except SumTimeout:
            raise self._cut("the weights of rank 0 do not reach the others") from None
