"""What is known of a run on its way to the model hub, from the events of its process."""

from typing import Literal

from engine.publish.process import (
    PublishBroken,
    PublishDone,
    PublishEvent,
    PublishFailed,
    PublishListed,
    PublishNote,
    PublishSending,
)

Phase = Literal["choosing", "listing", "listed", "sending", "broken", "done"]


class PublishView:
    """`choosing` until something is put together; `broken` can go on, after `error`."""

    def __init__(self) -> None:
        self.phase: Phase = "choosing"
        self.notes: list[str] = []
        self.listed: PublishListed | None = None
        self.sending: list[PublishSending] = []  # since the last try; the last one is on its way
        self.addresses: tuple[str, ...] = ()
        self.error = ""

    @property
    def busy(self) -> bool:
        """Whether something goes on."""
        return self.phase in ("listing", "sending")

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(len(each.files) for each in self.listed.folders) if self.listed else 0

    @property
    def share(self) -> float:
        """The share of the bytes of files that have arrived, 0 to 1."""
        folders = self.listed.folders if self.listed else ()
        total = sum(size for each in folders for _, size in each.files)
        return sum(each.size for each in self.sending[:-1]) / total if total else 0.0

    def list_files(self) -> None:
        """It is being put together."""
        self.__init__()
        self.phase = "listing"

    def send(self) -> None:
        """It is being sent."""
        self.phase, self.error = "sending", ""
        self.sending.clear()

    def take_in(self, event: PublishEvent) -> None:
        """Fold an event."""
        match event:
            case PublishNote():
                self.notes.append(event.text)
            case PublishListed():
                self.listed, self.phase = event, "listed"
                self.error = event.trouble or ""
            case PublishSending():
                self.sending.append(event)
            case PublishDone():
                self.addresses, self.phase = event.addresses, "done"
            case PublishBroken():
                self.error, self.phase = event.error, "broken"
            case PublishFailed():
                self.error, self.phase = event.error, "choosing"
                self.listed = None
