"""Publishing in a process of its own, for a screen that shows how it goes: everything is put
together and listed first, and sent only when that is asked for. Importing this is light.
"""

import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from engine.errors import RunError, UserError
from engine.policy_process import PolicyProcess, serve
from engine.publish import CARD, Folder, Parts, RepoType, prepared, remove_leftovers
from engine.runs.folder import Run
from engine.settings.sections.output import Keep

SEND = "send"


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """What of the run in the folder `run` is published, as which repository."""

    run: Path
    repo: str
    parts: Parts
    public: bool
    keep: Keep | None


@dataclass(frozen=True, slots=True)
class PublishNote:
    """A sentence on what is put together."""

    text: str


@dataclass(frozen=True, slots=True)
class RepoFiles:
    """What a repository would get: (name, bytes) of each file, and its card."""

    kind: RepoType
    files: tuple[tuple[str, int], ...]
    card: str

    @classmethod
    def of(cls, folder: Folder) -> "RepoFiles":
        """Of a folder that is ready to be sent."""
        card = (folder.path / CARD).read_text(encoding="utf-8")
        return cls(folder.kind, tuple(folder.files()), card)


@dataclass(frozen=True, slots=True)
class PublishListed:
    """Everything is put together, and waits. `repo` has its owner where the hub told it; of the
    kinds `existing` there is a repository of that name already. `trouble` is a sentence on why
    nothing could be sent now."""

    repo: str
    folders: tuple[RepoFiles, ...]
    existing: tuple[RepoType, ...] = ()
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class PublishSending:
    """A file is on its way: its number, of how many of its repository, and its bytes."""

    name: str
    number: int
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class PublishDone:
    """All is there, at these addresses."""

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishBroken:
    """The sending broke off; it can be asked for again. `error` is one sentence."""

    error: str


@dataclass(frozen=True, slots=True)
class PublishFailed:
    """It cannot go on; `error` is one sentence."""

    error: str


PublishEvent = (
    PublishNote | PublishListed | PublishSending | PublishDone | PublishBroken | PublishFailed
)


class Publishing(PolicyProcess[PublishEvent]):
    """Puts together what is to be published, and waits for `send_all`. Closing it stops it at once:
    nothing half is then in a repository. Belongs to one thread."""

    def __init__(self, request: PublishRequest) -> None:
        super().__init__("publish.process", "", PublishFailed)
        self._request = request

    def start(self) -> None:
        """Begin to put it together."""
        super().start()
        self.send(self._request)

    def send_all(self) -> None:
        """Send it, or go on after a break."""
        self.send(SEND)

    def close(self) -> None:
        """Stop at once, and remove what was put together."""
        super().close()
        threading.Thread(target=self._clean, daemon=True).start()

    def _clean(self) -> None:
        self.join()
        remove_leftovers(self._request.run.parent)


# -- in the process ------------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Publish what is asked for over a connection."""
    serve(descriptor, _publish, PublishFailed)


def _publish(connection: Connection) -> None:
    from engine.publish.upload import check_repo

    request: PublishRequest = connection.recv()
    run = Run(request.run)
    check_repo(request.repo)
    repo, existing, trouble = _look(request)

    def say(text: str) -> None:
        connection.send(PublishNote(text))

    try:
        with prepared(run, request.parts, repo, keep=request.keep, say=say) as folders:
            listed = tuple(map(RepoFiles.of, folders))
            connection.send(PublishListed(repo, listed, existing, trouble))
            while trouble is None:
                connection.recv()
                addresses = _send(connection, repo, folders, public=request.public)
                if addresses:
                    connection.send(PublishDone(addresses))
                    return
    except RunError as error:
        raise UserError(str(error)) from error


def _look(request: PublishRequest) -> tuple[str, tuple[RepoType, ...], str | None]:
    """The repository with its owner, the kinds of it that are there, and why nothing can be sent
    now."""
    from engine.publish.upload import connect, existing, owned

    repo = request.repo
    try:
        api = connect(bars=False)
        repo = owned(api, repo)
        there = existing(api, repo, request.parts.kinds, public=request.public)
    except (UserError, RunError) as error:
        return repo, (), str(error)
    return repo, tuple(there), None


def _send(
    connection: Connection, repo: str, folders: list[Folder], *, public: bool
) -> tuple[str, ...]:
    """The addresses of all that was sent; empty where it broke off, which is told."""
    from engine.publish.upload import connect, upload

    def tell(name: str, number: int, count: int, size: int) -> None:
        connection.send(PublishSending(name, number, count, size))

    try:
        api = connect(bars=False)
        return tuple(upload(api, repo, folders, public=public, progress=tell))
    except (UserError, RunError) as error:
        connection.send(PublishBroken(str(error)))
        return ()
