"""Items of the guard that a person's function scores, in place of a rule.

It is called as f(prompt, answer), and an answer is right where it gives True, or a number of 0.5 or
more. It lives in a process of its own, as a function that judges does.
"""

import contextlib
from collections.abc import Iterator

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.errors import UserError
from engine.judges.function_caller import CallFailed, FunctionCaller, located
from engine.judges.function_process import SCORE
from engine.judges.once import once
from engine.settings.schema import Settings
from engine.suites.items import Item, passes
from engine.train.function_files import tell_of_changes
from engine.train.journal import Journal
from engine.train.watch.guard import Rate

RIGHT = 0.5  # the least that a right answer is given


@contextlib.contextmanager
def answers_rated(settings: Settings, journal: Journal, control: Control) -> Iterator[Rate]:
    """What says whether an answer to an item is right, for as long as the context lasts. An answer
    on which the function fails is not right, and that is told once of each kind of failure.

    Raises:
        UserError: the file of `guard_function` cannot be run, or has no such function.
        LoadingStopped: asked to stop.
    """
    name = settings.guard_function
    if name is None or settings.guard == "off":
        yield passes
        return
    file, function = located(name, "guard_function")
    caller = FunctionCaller(
        file, function, seconds=settings.judge_timeout, stop=lambda: control.stopping
    )
    with contextlib.closing(caller):
        _open(caller, control)
        tell_of_changes(
            journal, "guard_function", {name: file}, "answers are rated by what it says"
        )
        warn = once(lambda text: journal.log("warning", text))

        def rate(item: Item, answer: str) -> bool:
            if item.check:
                return passes(item, answer)
            arguments = [[item.prompt], [answer]] if caller.lists else [item.prompt, answer]
            try:
                value = caller.values(arguments, 1)[0]
            except CallFailed as failure:
                warn(failure.kind, f"guard_function: {failure}; such an answer counts as wrong")
                return False
            return value is not None and value >= RIGHT

        yield rate


def _open(caller: FunctionCaller, control: Control) -> None:
    try:
        caller.open()
    except CallFailed as failure:
        raise UserError(f"guard_function: {caller.file}: {failure}") from None
    except Interrupted:
        control.raise_if_stopping()
        raise
    if caller.takes != SCORE:
        raise UserError(f"guard_function: {caller.file}: it has to take (prompt, answer)")
