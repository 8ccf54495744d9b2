"""Try it: the starting and the trained policy answer the same prompt, on a thread of their own.

Importing this is light. MLX is imported, and lives, on the thread that `start` makes.
"""

import queue
import random
import threading
from collections import deque
from dataclasses import dataclass

from engine.errors import UserError
from engine.runs.folder import Run


@dataclass(frozen=True, slots=True)
class SideBySideReady:
    """Both policies are loaded, the trained one as it was after `step`."""

    step: int


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
    """Answers prompts by both policies of a run until closed. Thread-safe."""

    def __init__(self, run: Run, seed: int = 0) -> None:
        self._run = run
        self._seed = seed
        self._prompts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._events: deque[SideBySideEvent] = deque(maxlen=1_000)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="side-by-side", daemon=True)

    def start(self) -> None:
        """Begin to load."""
        self._thread.start()

    def ask(self, prompt: str) -> None:
        """Have a prompt answered; several are answered in order."""
        self._prompts.put(prompt)

    def drain(self) -> list[SideBySideEvent]:
        """Events since the last call, oldest first."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Stop, between two tokens at the latest. Does not wait."""
        self._closed.set()
        self._prompts.put(None)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread to end; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        from engine.machine.blas import import_mlx
        from engine.train.engine_thread import leave_thread

        import_mlx()
        try:
            self._serve()
        except UserError as error:
            self._events.append(SideBySideFailed(str(error)))
        except Exception as error:  # a defect, ours or a library's
            self._events.append(SideBySideFailed(f"{type(error).__name__}: {error}"))
        finally:
            leave_thread()

    def _serve(self) -> None:
        from engine.compute.sampling import Interrupted, Sampler, sample, stream_seed
        from engine.data.prompts import Message, Prompt
        from engine.data.rendering import render_prompt
        from engine.trained import load_trained

        settings, _ = self._run.known_settings()
        trained = load_trained(self._run)
        self._events.append(SideBySideReady(trained.step))
        coin = random.Random(self._seed)
        count = 0
        while (prompt := self._prompts.get()) is not None:
            count += 1
            system = [Message("system", settings.system_prompt)] if settings.system_prompt else []
            request = Prompt((*system, Message("user", prompt)), prompt)
            answers = []
            tokens = 0

            def progress(more: int, prompt: str = prompt) -> None:
                self._events.append(SideBySideProgress(prompt, tokens + more))  # noqa: B023

            try:
                for name, lm in (("policy", trained.policy), ("reference", trained.reference)):
                    ids = render_prompt(lm.tokenizer, request, settings, settings.prompt_tokens)
                    ((completion,),) = sample(
                        lm,
                        [ids],
                        copies=1,
                        max_tokens=settings.max_completion_length,
                        sampler=Sampler.of(settings),
                        seed=stream_seed(self._seed, "try it", count, name),
                        progress=progress,
                        stop=self._closed.is_set,
                    )
                    tokens += len(completion.ids)
                    answers.append(lm.text(completion.ids))
            except Interrupted:
                return
            trained_is_left = coin.random() < 0.5
            left, right = answers if trained_is_left else reversed(answers)
            self._events.append(SideBySideAnswers(prompt, left, right, trained_is_left))
