"""Calls a judge's function in a process of its own: what `engine.judges.function` starts.

A function is somebody's program: it may never return, print, or end its process. Here it can be
ended, and what it prints goes nowhere.

Requests and replies are lines of JSON. A first reply says that the process is there; to the first
request it says what the function takes, or why it cannot be called; then each request is a list of
arguments, and its reply the value or an error.
"""

import importlib.util
import inspect
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULE = "judge_file"  # a name that no library has
PAIR, SCORE = 3, 2  # arguments of (prompt, first, second) and of (prompt, completion)
TAKES = "it has to take (prompt, first, second), or (prompt, completion)"
# Seconds beyond those of a call after which its process ends by itself.
LATE = 2.0
_LISTS = re.compile(r"(?:\w+\.)*(?:list|sequence|iterable|tuple)\b", re.IGNORECASE)


class Unfit(Exception):
    """Why a file has no function that can judge, in a sentence."""


def main(file: str, name: str, options: dict[str, Any], seconds: float) -> None:
    """Serve until the caller is gone; `options` are given to the function by name. A call may take
    so many seconds, after which the caller ends this process."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # A function that reads takes no request, and one that prints does not answer.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    path = Path(file).absolute()

    def reply(answer: dict[str, Any]) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        replies.write(json.dumps(answer).encode() + b"\n")
        replies.flush()

    reply({})
    requests.readline()
    try:
        _end_after(seconds)
        function = load(path, name)
        reply(shape_of(function, options))
    except BaseException as error:  # a file may raise anything, SystemExit too
        reply({"error": str(error) if isinstance(error, Unfit) else _words(error, path)})
        return
    for line in requests:
        arguments = json.loads(line)
        try:
            _end_after(seconds)
            value = function(*arguments, **options)
            reply({"value": _numbers(value, several=isinstance(arguments[0], list))})
        except BaseException as error:
            reply({"error": _words(error, path)})


def load(file: Path, name: str) -> Callable[..., Any]:
    """The function of that name in a file, which is run.

    Raises:
        Unfit: the file has no such function, in a sentence.
        Exception: whatever the file raises.
    """
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(MODULE, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        own = [
            key
            for key, each in vars(module).items()
            if inspect.isfunction(each) and each.__module__ == module.__name__
        ]
        have = f"its functions are {', '.join(sorted(own)[:8])}" if own else "it has none"
        raise Unfit(f"there is no function {name}; {have}")
    return function


def shape_of(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """How many arguments a function takes, and whether as lists: where the first is annotated as
    one, or is called `prompts`.

    Raises:
        Unfit: it is none that can judge, in a sentence.
    """
    kinds = inspect.Parameter
    required = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.default is kinds.empty
        and each.name not in options
        and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    if inspect.iscoroutinefunction(function):
        raise Unfit("the function is async, and has to be a plain one")
    if len(required) not in (SCORE, PAIR) or any(p.kind is kinds.KEYWORD_ONLY for p in required):
        names = ", ".join(each.name for each in required)
        raise Unfit(f"the function takes ({names}); {TAKES}")
    first = required[0]
    annotation = first.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return {"takes": len(required), "lists": first.name == "prompts" or bool(_LISTS.match(text))}


def _numbers(value: Any, *, several: bool) -> Any:
    """A number, or a list of numbers and None for what is none."""
    if not several:
        return float(value)

    def number(each: Any) -> float | None:
        try:
            return float(each)
        except (TypeError, ValueError, OverflowError):
            return None

    return [number(each) for each in value]


def _words(error: BaseException, file: Path) -> str:
    """An error in one line, with the line of the file that raised it, or called what did."""
    words = str(error)
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).absolute() == file
    ]
    if isinstance(error, SyntaxError) and error.filename == str(file):
        words, lines = error.msg, [error.lineno or 1]  # its own text names file and line too
    return f"{type(error).__name__}: {words}" + (f" (line {lines[-1]})" if lines else "")


def _end_after(seconds: float) -> None:
    """End then, where nothing was replied and the caller, which would have ended this process, is
    gone. The system sees to it: an endless regular expression gives no other thread its turn."""
    signal.setitimer(signal.ITIMER_REAL, seconds + LATE)


def _end_with(parent: int) -> None:
    """End when the caller has, which a function that never returns would not see."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
