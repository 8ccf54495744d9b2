"""Renders chat templates in a process of its own: what `engine.data.chat_template` starts.

A model's template is a program from somewhere else. It may never end, or make gigabytes, in ways
that nothing inside a process can stop: one multiplication of large numbers holds all threads.
Here a timer ends the process, a limit bounds its memory, and the caller sees that it is gone.

Requests and replies are lines of JSON, in ASCII, so that every text goes through, a lone
surrogate too. The first line is an empty reply: ready.
"""

import contextlib
import json
import os
import resource
import signal
import sys
from typing import Any

MEMORY = 1 << 30  # bytes of addresses; a fifth of it is taken before the first template


def main() -> None:
    """Serve until the caller is gone."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints does not answer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    from transformers.utils.chat_template_utils import render_jinja_template

    with contextlib.suppress(OSError, ValueError):  # a system without such a limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def rendered(values: dict[str, Any], limit: int) -> dict[str, Any]:
        try:
            texts: Any = render_jinja_template(**values)[0]
            text = texts[0]
            return {"text": text} if len(text) <= limit else {"too_long": True}
        except MemoryError:
            return {"too_long": True}
        except Exception:  # templates raise whatever they like for what they do not know
            return {}

    def reply(answer: dict[str, Any]) -> None:
        replies.write(json.dumps(answer).encode() + b"\n")
        replies.flush()

    reply({})
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        answer = rendered(request["values"], request["limit"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply(answer)
