"""Prompts written by a model, about something: for a run that has no data yet.

A writer, a model on this machine or one on a server of OpenAI's protocol, is asked for a few at a
time, a line each, until there are enough. What says the same as another, but for spaces and case,
counts once. Importing this is light.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from engine.data.chat_messages import Message, printable
from engine.data.prompts import Prompt, prompt_digest
from engine.errors import RunError, UserError
from engine.settings.judge_names import address_problem, judge_kind
from engine.settings.schema import Settings

Writer = Callable[[str, int], str]  # the answer to a request, in the so many-th round
Say = Callable[[str], None]

AT_ONCE = 20  # prompts that are asked for at a time
SHOWN = 12  # of the newest ones, which are not to come again
IN_VAIN = 4  # rounds that bring nothing new, after which the writer has no more to say
LEAST, LONGEST = 8, 2000  # characters of a prompt
TOKENS = 60 * AT_ONCE  # of an answer
SECONDS, TRIES = 120.0, 4  # of a request to a server
TEMPERATURE = 1.0

# What stands before an item of a list: 1. 2) (3) - * •
_MARK = re.compile(r"\s*(?:[-*•–]|\(?\d{1,4}[.):])\s+")
# Of no width, and part of how Persian, Hindi and others spell, and of emojis.
_JOINERS = "\u200c\u200d"
_QUOTES = {'"': '"', "“": "”", "'": "'", "`": "`", "«": "»"}


def request_for(about: str, count: int, like: Sequence[str], newest: Sequence[str]) -> str:
    """What a writer is asked."""
    parts = [
        f"Write {count} different requests that people could send to an assistant. They are about: "
        f"{about}",
        "Each is one line, makes sense by itself, and is written as the person would. Vary the "
        "subject, the wording, the length and the difficulty. No numbers, no headings, no answers.",
    ]
    if like:
        parts.append("In the manner of these:\n" + "\n".join(like))
    if newest:
        parts.append("Not these, which are there already:\n" + "\n".join(newest))
    return "\n\n".join(parts)


def prompts_in(answer: str) -> Iterator[str]:
    """The prompts in an answer: its lines, without marks of a list and quotes."""
    for line in answer.splitlines():
        # Tabs and no-break spaces count as not printable, and part words all the same.
        spaced = (" " if char.isspace() else char for char in line)
        plain = "".join(char for char in spaced if char.isprintable() or char in _JOINERS)
        text = _MARK.sub("", plain, count=1).strip().strip("*_").strip()
        if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
            text = text[1:-1].strip()
        heading = text.startswith("#") or text.endswith(":")
        if LEAST <= len(text) <= LONGEST and not heading:
            yield text


def make_prompts(
    write: Writer,
    about: str,
    count: int,
    *,
    like: Sequence[str] = (),
    known: Iterable[str] = (),
    say: Say = lambda text: None,
) -> Iterator[str]:
    """So many prompts that differ from each other, from `known` and from `like`, as they come;
    fewer where the writer has no more, which is said."""
    digests = {_digest(text) for text in (*known, *like)}
    newest: list[str] = []
    so_far = again = vain = rounds = 0
    while so_far < count and vain < IN_VAIN:
        rounds += 1
        before = so_far
        answer = write(request_for(about, AT_ONCE, like, newest[-SHOWN:]), rounds)
        for text in prompts_in(answer):
            if so_far == count:
                break
            if (digest := _digest(text)) in digests:
                again += 1
                continue
            digests.add(digest)
            newest.append(text)
            so_far += 1
            yield text
        vain = vain + 1 if so_far == before else 0
    if again:
        say(f"{again:,} that said the same as another were dropped")
    if so_far < count:
        say(f"the model had no more after {so_far:,}: say more in --about, or take a larger model")


def writer_of(
    model: str,
    settings: Settings,
    *,
    server_model: str | None = None,
    key: str | None = None,
    say: Say = lambda text: None,
) -> Writer:
    """What writes: a model by its hub id or folder, or the address of a server.

    Raises:
        UserError: there is no such model or server.
    """
    if judge_kind(model) != "server":
        return _local(model, settings, say)
    if problem := address_problem(model):
        raise UserError(f"--model: {problem}")
    return _on_server(model.rstrip("/"), server_model, key)


def _digest(text: str) -> bytes:
    return prompt_digest([Message("user", text)], ())


def _local(name: str, settings: Settings, say: Say) -> Writer:
    from engine.compute.choose import alone
    from engine.compute.sampling import Sampler, sample, stream_seed
    from engine.data.rendering import render_prompt
    from engine.machine.device import configure_mlx
    from engine.model.load import load
    from engine.model.locate import locate

    configure_mlx()
    folder = locate(name, "model", lambda each: say(f"downloading {each}"))
    model, tokenizer, _ = load(
        folder,
        "model",
        quantization=settings.quantization,
        trust_remote_code=settings.trust_remote_code,
    )
    lm = alone(model, tokenizer)
    sampler = Sampler(temperature=TEMPERATURE, top_p=0.95)

    def write(text: str, number: int) -> str:
        prompt = Prompt((Message("user", text),), text)
        ids = render_prompt(lm.tokenizer, prompt, settings, settings.max_seq_length)
        [[completion]] = sample(
            lm,
            [ids],
            copies=1,
            max_tokens=TOKENS,
            sampler=sampler,
            seed=stream_seed(settings.seed, "prompts", number),
        )
        answer = lm.text(completion.ids)
        # The last line of an answer that was cut off is half a prompt.
        return answer if completion.finished else answer.rpartition("\n")[0] or answer

    return write


def _on_server(address: str, model: str | None, key: str | None) -> Writer:
    import httpx2
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    from engine.judges.chat_server import Fault, answer_of, client_of

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    client = client_of(lambda: httpx2.Client(headers=headers, timeout=SECONDS), "--model")

    def ask(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            reply = client.request(method, f"{address}/{path}", json=body)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            words = " ".join(str(error).split())[:160] or type(error).__name__
            raise Fault(f"cannot be reached ({words})") from None
        if reply.status_code in (408, 425, 429) or reply.status_code >= 500:
            raise Fault(f"answers with status {reply.status_code}")
        if reply.status_code != 200:
            words = "".join(c if c.isprintable() else " " for c in reply.text[:200])
            raise UserError(
                f"--model: the server at {address} answers with status {reply.status_code} "
                f"({' '.join(words.split())})"
            )
        try:
            return reply.json()
        except ValueError:
            raise Fault("sent a reply that is no JSON") from None

    def only_model() -> str:
        listed = ask("GET", "models")
        data = listed.get("data") if isinstance(listed, dict) else None
        names = [str(each.get("id")) for each in data or [] if isinstance(each, dict)]
        if len(names) != 1:
            have = f"has {', '.join(map(printable, names[:5]))}" if names else "lists no models"
            raise UserError(f"--server-model: say which one writes; the server at {address} {have}")
        return names[0]

    def patiently(work: Callable[[], Any]) -> Any:
        tries = Retrying(
            retry=retry_if_exception_type(Fault),
            wait=wait_exponential(0.5, 15),
            stop=stop_after_attempt(TRIES),
            reraise=True,
        )
        try:
            return tries(work)
        except Fault as fault:
            raise RunError(
                f"the server at {address} {fault}; the same with --add goes on"
            ) from None

    name = model or patiently(only_model)

    def write(text: str, number: int) -> str:
        body = {
            "model": name,
            "messages": [{"role": "user", "content": text}],
            "temperature": TEMPERATURE,
            "max_tokens": TOKENS,
            "seed": number,
        }
        return patiently(lambda: answer_of(ask("POST", "chat/completions", body)).text)

    return write
