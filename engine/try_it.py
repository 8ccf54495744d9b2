"""Try it: the starting and the trained policy answer the same prompt, in a process of their own.

A run may be training meanwhile, and with CUDA two threads of one process that compute with MLX
0.32 end it: each records its kernels in a way that the other's break off. Importing this is light.
"""

import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from engine.errors import UserError
from engine.runs.folder import Run


@dataclass(frozen=True, slots=True)
class SideBySideReady:
    """Both policies are loaded, the trained one as it was after `step`; the run samples at
    `temperature`."""

    step: int
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class SideBySideProgress:
    """Tokens sampled so far for the prompt at hand."""

    prompt: str
    tokens: int


@dataclass(frozen=True, slots=True)
class SideBySideAnswers:
    """Two answers in a random order; whose is whose is for the screen to hide."""

    prompt: str
    left: str
    right: str
    trained_is_left: bool


@dataclass(frozen=True, slots=True)
class SideBySideFailed:
    """It cannot go on; `error` is one sentence."""

    error: str


SideBySideEvent = SideBySideReady | SideBySideProgress | SideBySideAnswers | SideBySideFailed


class SideBySide:
    """Answers prompts by both policies of a run until closed. Belongs to one thread."""

    def __init__(self, run: Run, seed: int = 0) -> None:
        self._run = run
        self._seed = seed
        self._connection, self._far_end = Pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to load."""
        far = self._far_end.fileno()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from engine import try_it; "
            f"try_it.main({far}, {str(self._run.path)!r}, {self._seed})"
        )
        # Not by multiprocessing, which passes on a screen's stand-in for standard error.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(far,),
        )
        self._far_end.close()  # it is the process's now: its end shows here

    def ask(self, prompt: str, temperature: float | None = None) -> None:
        """Have a prompt answered, at the temperature of the run or at another; 0 is greedy. Several
        are answered in order."""
        with contextlib.suppress(OSError):  # it ended, which `drain` tells
            self._connection.send((prompt, temperature))

    def drain(self) -> list[SideBySideEvent]:
        """Events since the last call, oldest first."""
        events: list[SideBySideEvent] = []
        with contextlib.suppress(EOFError, OSError):
            while not self._closed and self._connection.poll():
                events.append(self._connection.recv())
            return events
        self._closed = True
        status = self._process.wait() if self._process else 0
        if status and not any(isinstance(event, SideBySideFailed) for event in events):
            what = f"The program that answers ended by itself (status {status})."
            events.append(SideBySideFailed(what))
        return events

    def close(self) -> None:
        """Stop at once. Does not wait."""
        self._closed = True
        if self._process:
            self._process.kill()  # it keeps nothing
            threading.Thread(target=self._process.wait, daemon=True).start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the process to end; whether it has."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process:
                self._process.wait(timeout)
            return True
        return False


# -- in the process ------------------------------------------------------------------------------


def main(descriptor: int, run: str, seed: int) -> None:
    """Load, and answer until the other end of a connection is gone."""
    from engine.machine.blas import import_mlx
    from engine.train.engine_thread import leave_thread, step_back

    connection = Connection(descriptor)
    step_back()
    import_mlx()
    try:
        _answer(Run(Path(run)), seed, connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    except UserError as error:
        connection.send(SideBySideFailed(str(error)))
    except Exception as error:  # a defect, ours or a library's
        connection.send(SideBySideFailed(f"{type(error).__name__}: {error}"))
    finally:
        leave_thread()


def _answer(run: Run, seed: int, connection: Connection) -> None:
    from engine.compute.sampling import Sampler, sample, stream_seed
    from engine.data.prompts import Message, Prompt
    from engine.data.rendering import render_prompt
    from engine.trained import load_trained

    settings, _ = run.known_settings()
    trained = load_trained(run)
    connection.send(SideBySideReady(trained.step, settings.temperature))
    coin = random.Random(seed)
    count = 0
    while True:
        prompt, temperature = connection.recv()
        count += 1
        sampled = settings
        if temperature is not None:
            sampled = settings.model_copy(update={"temperature": temperature})
        system = [Message("system", settings.system_prompt)] if settings.system_prompt else []
        request = Prompt((*system, Message("user", prompt)), prompt)
        answers = []
        tokens = 0
        for lm in (trained.policy, trained.reference):
            ids = render_prompt(lm.tokenizer, request, settings, settings.prompt_tokens)
            ((completion,),) = sample(
                lm,
                [ids],
                copies=1,
                max_tokens=settings.max_completion_length,
                sampler=Sampler.of(sampled),
                seed=stream_seed(seed, "try it", count),  # the same chance for both
                progress=_progress(connection, prompt, tokens),
            )
            tokens += len(completion.ids)
            answers.append(lm.text(completion.ids))
        trained_is_left = coin.random() < 0.5
        left, right = answers if trained_is_left else reversed(answers)
        connection.send(SideBySideAnswers(prompt, left, right, trained_is_left))


def _progress(connection: Connection, prompt: str, before: int) -> Callable[[int], None]:
    return lambda tokens: connection.send(SideBySideProgress(prompt, before + tokens))
