"""A function as judge: one in a person's file, or one of `engine.judges.rules`.

It runs in a process of its own, so that it can be ended when it takes too long.
"""

import contextlib
import hashlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from engine.compute.sampling import Interrupted
from engine.data.pairs import Ties, Verdict, verdict_of
from engine.errors import UserError
from engine.judges import Score, function_process
from engine.judges.once import once
from engine.judges.presentation import Request
from engine.settings.judge_names import RULE, file_and_function, judge_kind
from engine.settings.schema import Settings

PROGRAM = function_process.__file__
RULES_FILE = Path(__file__).with_name("rules.py")
POLL_SECONDS = 0.1
SHORT = 200  # characters of an error that are told

Value = float | list[float | None]


class FunctionJudge:
    """Judges pairs by the values of a function. A call that raises, takes too long or gives no
    number makes its pairs invalid."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """
        Args:
            name: `FILE.py:FUNCTION`, or a rule.
            warn: told, once of each kind, why pairs are invalid.

        Raises:
            UserError: there is no such file.
        """
        self.name = name
        self._margin = settings.judge_margin
        self._ties: Ties = settings.judge_ties
        self._seconds = settings.judge_timeout
        self._progress, self._stop, self._warn_once = progress, stop, once(warn)
        self._process: subprocess.Popen[bytes] | None = None
        self._takes, self._lists = function_process.PAIR, False
        if judge_kind(name) == "rule":
            self.file, self._function = RULES_FILE, name.removeprefix(RULE)
            self._options = rule_options(settings).get(self._function, {})
        else:
            path, self._function = file_and_function(name)
            self.file, self._options = Path(path).expanduser().absolute(), {}
        if not self.file.is_file():
            raise UserError(f"judge: there is no file {self.file}")

    @property
    def digest(self) -> str:
        """SHA-256 of the file, as hexadecimal digits."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def open(self) -> None:
        """Run the file, and find out what its function takes.

        Raises:
            UserError: the file cannot be run, or has no function that can judge.
            Interrupted: asked to stop.
        """
        try:
            self._start()
        except _Failure as failure:
            raise UserError(f"judge: {self.file}: {failure}") from None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                _pipe(pipe).close()

    def judge(
        self, texts: Sequence[tuple[Request, str, str]], names: Sequence[str] = ()
    ) -> list[Verdict]:
        """Verdicts on (prompt, first completion, second completion).

        Raises:
            Interrupted: asked to stop.
        """
        if not texts:
            return []
        rows = [(_text(prompt), first, second) for prompt, first, second in texts]
        if self._lists:
            return self._verdicts(*zip(*rows, strict=True))
        verdicts = []
        for done, row in enumerate(rows):
            self._progress(done, len(rows))
            verdicts += self._verdicts(*([text] for text in row))
        self._progress(len(rows), len(rows))
        return verdicts

    def _verdicts(
        self, prompts: Sequence[str], firsts: Sequence[str], seconds: Sequence[str]
    ) -> list[Verdict]:
        """Verdicts on some pairs: on all, or on one alone where the function takes no lists."""
        columns: list[Any] = [prompts, firsts, seconds]
        if not self._lists:
            columns = [column[0] for column in columns]
        try:
            if self._takes == function_process.PAIR:
                log_odds = [_logit(q) for q in self._values(columns, len(prompts))]
            else:
                of_first, of_second = (
                    self._values([columns[0], answers], len(prompts)) for answers in columns[1:]
                )
                log_odds = [_difference(*both) for both in zip(of_first, of_second, strict=True)]
        except _Failure as failure:
            self._warn_once(failure.kind, f"{self.name}: {failure}; such pairs are invalid")
            return [Verdict("invalid", note=str(failure))] * len(prompts)
        if any(math.isnan(each) for each in log_odds):
            wanted = "from 0 to 1" if self._takes == function_process.PAIR else "that is finite"
            self._warn_once(
                "value", f"{self.name} gave no number {wanted} for some pairs, which are invalid"
            )
        return [
            # There is one reading, not one of each order.
            replace(verdict_of(each, -each, margin=self._margin, ties=self._ties), q_orders=None)
            for each in log_odds
        ]

    def _values(self, arguments: Sequence[Any], count: int) -> Sequence[float | None]:
        """What the function gives for `count` pairs.

        Raises:
            _Failure: it gives nothing, or not so many.
        """
        if self._process is None:
            self._start()
        value = self._request(arguments)["value"]
        values = value if isinstance(value, list) else [value]
        if len(values) != count:
            raise _Failure("count", f"it gave {len(values)} values for {count} pairs")
        return values

    @property
    def gives_scores(self) -> bool:
        """Whether the function takes one answer; known once it is open."""
        return self._takes == function_process.SCORE

    def score(
        self, answers: Sequence[tuple[Request, str]], names: Sequence[str] = ()
    ) -> list[Score]:
        """Scores of (prompt, completion), each given to the function once.

        Raises:
            Interrupted: asked to stop.
        """
        columns: list[Any] = [[_text(prompt) for prompt, _ in answers], [one for _, one in answers]]
        if self._lists:
            return self._scores(columns, len(answers))
        scores = []
        for done, row in enumerate(zip(*columns, strict=True)):
            self._progress(done // 2, len(answers) // 2)
            scores += self._scores(row, 1)
        return scores

    def _scores(self, arguments: Sequence[Any], count: int) -> list[Score]:
        try:
            values = self._values(arguments, count)
        except _Failure as failure:
            self._warn_once(failure.kind, f"{self.name}: {failure}; such answers have no score")
            return [Score(math.nan, note=str(failure))] * count
        scores = [Score(math.nan if value is None else value) for value in values]
        if not all(math.isfinite(each.value) for each in scores):
            self._warn_once("value", f"{self.name} gave no finite number for some answers")
        return scores

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        """The verdict on two answers with these scores."""
        lead = _difference(first.value, second.value)
        verdict = verdict_of(lead, -lead, margin=self._margin, ties=self._ties)
        return replace(verdict, q_orders=None, note=first.note or second.note)

    # -- the process -----------------------------------------------------------------------------

    def _start(self) -> None:
        # By its path, since its package would bring libraries that it has no use for.
        code = f"import runpy, sys; sys.path[:] = {sys.path!r}; own = runpy.run_path({PROGRAM!r})"
        call = f"own['main']({str(self.file)!r}, {self._function!r}, {self._options!r})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; {call}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a key that ends this program leaves it to us
        )
        shape = self._reply()
        self._takes, self._lists = shape["takes"], shape["lists"]

    def _request(self, arguments: Sequence[Any]) -> Mapping[str, Any]:
        assert self._process
        try:
            _pipe(self._process.stdin).write(json.dumps(arguments).encode() + b"\n")
            _pipe(self._process.stdin).flush()
        except BrokenPipeError:
            self.close()
            raise _Failure("ended", "its process has ended") from None
        return self._reply()

    def _reply(self) -> Mapping[str, Any]:
        """The next reply.

        Raises:
            _Failure: it is an error, or does not come; then the process is ended.
            Interrupted: asked to stop; the process is ended too.
        """
        assert self._process
        source = _pipe(self._process.stdout).fileno()
        content, end = b"", time.monotonic() + self._seconds
        while not content.endswith(b"\n"):
            if self._stop():
                self.close()
                raise Interrupted
            if time.monotonic() > end:
                self.close()
                raise _Failure("time", f"it did not end within {self._seconds:g} seconds")
            if select.select([source], [], [], POLL_SECONDS)[0]:
                part = os.read(source, 1 << 20)
                if not part:
                    self.close()
                    raise _Failure("ended", "its process has ended")
                content += part
        reply = json.loads(content)
        if error := reply.get("error"):
            raise _Failure("error", _short(error))
        return reply


class _Failure(Exception):
    """Why a function gave no value, in words."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def rule_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the rules are told by the settings, by name."""
    return {
        "length": {"words": settings.judge_length},
        "matches": {"pattern": settings.judge_pattern or ""},
        "avoid": {"words": settings.judge_words},
    }


def _text(prompt: Request) -> str:
    return prompt if isinstance(prompt, str) else prompt.text


def _logit(q: float | None) -> float:
    """Log-odds of a probability; NaN for what is none."""
    if q is None or not 0 <= q <= 1:  # NaN too
        return math.nan
    if q in (0, 1):
        return math.inf if q else -math.inf
    return math.log(q) - math.log1p(-q)


def _difference(first: float | None, second: float | None) -> float:
    """Log-odds by two scores, as Bradley and Terry have it; NaN where one is no finite number."""
    if first is None or second is None or not math.isfinite(first) or not math.isfinite(second):
        return math.nan
    return first - second


def _short(text: str) -> str:
    line = " ".join(str(text).split())
    return "".join(char if char.isprintable() else "?" for char in line)[:SHORT]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe
    return pipe
