"""A message to an address that somebody gave in an environment variable.

The form of the address says what is there: ntfy (a host whose name begins with ntfy, or the scheme
ntfy+https), a webhook of Slack or Discord, or any other that takes JSON. The address is a secret:
it is neither kept nor told.
"""

import asyncio
import json
import os
import threading
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx2
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential,
)
from tenacity.nap import sleep_using_event

from engine.errors import UserError
from engine.secrets import keep_secret

Service = Literal["ntfy", "slack", "discord", "json"]

TRY_SECONDS = 10.0  # of a try, all of it
TRIES, FIRST_PAUSE, LONGEST_PAUSE = 6, 1.0, 60.0
BUSY = {408, 425, 429}  # and what begins with 5: the same message may be taken later
NTFY = "ntfy+"  # before the scheme of a server of ntfy with another name
URGENT = 4  # as ntfy counts; 3 is its default
LONGEST = 1500  # characters of a message


class Undelivered(Exception):
    """Why a message was not taken, in words that do not name the address."""


class Refused(Undelivered):
    """No message will be taken there."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell: `event` is a word for programs, `title` and `text` are for people."""

    event: str
    title: str
    text: str
    facts: dict[str, Any]
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """Where notices go."""

    service: Service
    url: str
    topic: str = ""  # of ntfy


def webhook_of(variable: str) -> Address:
    """The address in an environment variable, which `hide` takes out of every text from now on.

    Raises:
        UserError: there is none, or it is no address.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        raise UserError(
            f"notify_env: the environment variable {variable} is not set; put the address into it"
        )
    keep_secret(text)
    try:
        address = address_of(text)
    except ValueError:
        raise UserError(
            f"notify_env: what the environment variable {variable} holds is no address; write it "
            "as https://HOST/PATH, for ntfy with the topic as its path"
        ) from None
    keep_secret(address.topic or urlsplit(address.url).path.rpartition("/")[2])
    return address


def address_of(text: str) -> Address:
    """What an address is, by its form.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text.removeprefix(NTFY))
    _ = parts.port  # raises for one that is no number
    host, path = parts.hostname, parts.path.rstrip("/")
    if parts.scheme not in ("http", "https") or not host or any(map(str.isspace, text)):
        raise ValueError("it is no address")
    if text.startswith(NTFY) or host.split(".")[0] == "ntfy":
        root, _, topic = path.rpartition("/")
        if not topic:
            raise ValueError("it is no address")
        return Address("ntfy", _with_path(parts, root + "/"), topic)
    if path.startswith("/services/") or host == "hooks.slack.com":
        return Address("slack", text)
    if path.startswith("/api/webhooks/"):
        return Address("discord", text)
    return Address("json", text)


def body_of(notice: Notice, address: Address) -> dict[str, Any]:
    """A notice in the JSON that its address takes."""
    title, text = notice.title, notice.text[:LONGEST]
    both = f"{title}\n{text}" if text else title
    match address.service:
        case "ntfy":
            priority = {"priority": URGENT} if notice.urgent else {}
            return {"topic": address.topic, "title": title, "message": text or title} | priority
        case "slack":
            for char, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                both = both.replace(char, escape)
            return {"text": both}
        case "discord":
            return {"content": both, "allowed_mentions": {"parse": []}}
        case _:
            return {"event": notice.event, "title": title, "text": text, **notice.facts}


class Webhook:
    """Sends notices to an address, on the thread that asks it to."""

    def __init__(self, address: Address, ending: threading.Event) -> None:
        """`ending`: set once the run has ended, when nothing is tried for long any more."""
        self._address = address
        self._ending = ending

    def send(self, notice: Notice) -> None:
        """Send a notice, again and again for a while; twice once the run has ended.

        Raises:
            Undelivered: it was not taken.
            Refused: no notice is.
        """
        last = self._ending.is_set()
        tries = Retrying(
            retry=retry_if_exception_type(_TryAgain),
            wait=wait_exponential(FIRST_PAUSE, LONGEST_PAUSE),
            stop=stop_after_attempt(2)
            if last
            else stop_after_attempt(TRIES) | stop_when_event_set(self._ending),
            sleep=sleep_using_event(threading.Event() if last else self._ending),
            reraise=True,
        )
        try:
            for each in tries:
                with each:
                    asyncio.run(_post(self._address.url, body_of(notice, self._address)))
        except _TryAgain as error:
            raise Undelivered(str(error)) from None


class _TryAgain(Exception):
    """A try that failed, in words; a later one may not."""


async def _post(url: str, body: dict[str, Any]) -> None:
    """One try. What the reply says beside its status is not read."""
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    try:
        async with (
            asyncio.timeout(TRY_SECONDS),
            httpx2.AsyncClient(timeout=TRY_SECONDS) as client,
            client.stream("POST", url, content=content, headers=headers) as response,
        ):
            status = response.status_code
    except (TimeoutError, httpx2.TimeoutException):
        raise _TryAgain(f"it did not answer within {TRY_SECONDS:g} seconds") from None
    except httpx2.ConnectError:
        raise _TryAgain("it cannot be reached") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise _TryAgain(f"it could not be sent ({type(error).__name__})") from None
    if status in BUSY or status >= 500:
        raise _TryAgain(f"it answers with status {status}")
    if not 200 <= status < 300:
        raise Refused(f"it answers with status {status}")


def _with_path(parts: SplitResult, path: str) -> str:
    return urlunsplit(parts._replace(path=path))
