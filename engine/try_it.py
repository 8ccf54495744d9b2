"""Try it: the starting and the trained policy answer the same prompt, in a process of their own.

Importing this is light.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from engine.policy_process import PolicyProcess, serve
from engine.runs.folder import Run


@dataclass(frozen=True, slots=True)
class SideBySideReady:
    """Both policies are loaded, the trained one with the weights that `weights` names;
    `note` says why these are not what the run is to keep. The run samples at `temperature`."""

    weights: str
    note: str | None = None
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


class SideBySide(PolicyProcess[SideBySideEvent]):
    """Answers prompts by both policies of a run until closed. Belongs to one thread."""

    def __init__(self, run: Run, seed: int = 0) -> None:
        super().__init__("try_it", f"{str(run.path)!r}, {seed}", SideBySideFailed)

    def ask(self, prompt: str, temperature: float | None = None) -> None:
        """Have a prompt answered, at the temperature of the run or at another; 0 is greedy. Several
        are answered in order."""
        self.send((prompt, temperature))


# -- in the process ------------------------------------------------------------------------------


def main(descriptor: int, run: str, seed: int) -> None:
    """Load, and answer until the other end of a connection is gone."""
    serve(descriptor, lambda to: _answer(Run(Path(run)), seed, to), SideBySideFailed)


def _answer(run: Run, seed: int, connection: Connection) -> None:
    from engine.compute.sampling import Sampler, sample, stream_seed
    from engine.data.prompts import Message, Prompt
    from engine.data.rendering import render_prompt
    from engine.trained import load_trained

    settings, _ = run.known_settings()
    trained = load_trained(run)
    weights = trained.weights
    connection.send(SideBySideReady(weights.name, weights.note, settings.temperature))
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
