"""How a run on its way to the model hub is put into words."""

import re
from dataclasses import dataclass

from textual.content import Content

from engine.publish import Parts
from engine.publish.process import RepoFiles
from tui.archive.exporting import WHAT
from tui.state.publish_view import PublishView
from tui.text.format import duration, size
from tui.text.safe_text import safe, safe_line
from tui.widgets.bar import bar

CARD_LIMIT = 100_000  # characters of a card that are shown
NAME_LIMIT = 90  # characters of a repository's name
GGUF = "q8_0"
FIRST = "P lists every file with its size first: nothing is sent before you have seen them."
PUBLIC = "public"


@dataclass(slots=True)
class Choice:
    """Something that is published or not."""

    name: str
    about: str
    chosen: bool = False


def choices() -> list[Choice]:
    """What there is to choose from."""
    return [
        *(Choice(name, about, name == "adapters") for name, about in WHAT),
        Choice("pairs", "the labels, as a dataset of that name"),
        Choice(PUBLIC, "for all to see, and not for you alone"),
    ]


def parts(chosen: set[str]) -> Parts:
    """What is published, by the names of the choices."""
    return Parts(
        adapters="adapters" in chosen,
        peft="peft" in chosen,
        fused="model" in chosen,
        gguf=GGUF if "gguf" in chosen else None,
        pairs="pairs" in chosen,
    )


def choice_line(choice: Choice, width: int) -> Content:
    """`[x] adapters   what that is`"""
    mark = ("[x] ", "$accent bold") if choice.chosen else ("[ ] ", "$muted")
    return Content.assemble(mark, f"{choice.name:<10}", (choice.about, "$muted"))


def suggested(name: str) -> str:
    """A name that a repository may have, for a run of that name."""
    allowed = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return re.sub(r"([.-])[.-]+", r"\1", allowed).strip("-.")[:NAME_LIMIT] or "lora"


def sentence(error: str) -> str:
    """An error of the command line in the words of a screen."""
    words = (
        error.removeprefix("publish: ")
        .removeprefix("--repo: ")
        .removeprefix("--repo ")
        .replace(" (--public)", "")
    )
    return safe_line(words, 500)


def state(view: PublishView) -> str:
    """How far it is, in a few words."""
    match view.phase:
        case "choosing":
            return ""
        case "listing":
            return "putting it together"
        case "listed":
            return "cannot be sent yet" if view.error else "nothing is sent yet"
        case "sending":
            return f"sending {len(view.sending):,} of {view.files:,}"
        case "broken":
            return "broken off"
    return "published"


def body(view: PublishView, seconds: float, width: int, *, public: bool) -> Content:
    """What goes on, every file, and the cards."""
    parts = [_head(view, seconds, width, public=public)]
    if view.phase in ("listed", "sending", "broken", "done") and view.listed:
        notes = "\n".join(safe_line(f"note: {each}") for each in view.notes)
        parts.append(Content.styled(notes, "$muted"))
        at = 0
        for folder in view.listed.folders:
            there = folder.kind in view.listed.existing
            parts.append(_files(folder, view, at, there=there))
            at += len(folder.files)
        parts += [_card(folder) for folder in view.listed.folders]
    return Content("\n\n").join(part for part in parts if part.cell_length)


def _head(view: PublishView, seconds: float, width: int, *, public: bool) -> Content:
    wrong = Content.styled(sentence(view.error), "$bad") if view.error else Content("")
    match view.phase:
        case "choosing":
            first = Content.styled(FIRST, "$muted")
            return Content("\n\n").join([wrong, first]) if view.error else first
        case "listing":
            last = f" · {safe_line(view.notes[-1])}" if view.notes else ""
            return Content.styled(f"putting it together · {duration(seconds)}{last}", "$muted")
        case "listed" if view.error:
            return Content.assemble(wrong, ("\nP tries again.", "$muted"))
        case "listed":
            return Content.styled("P sends this.", "$muted")
        case "sending":
            now = view.sending[-1] if view.sending else None
            name = f"{safe_line(now.name)} · {size(now.size)}" if now else "asking the hub"
            line = f"{name} · {duration(seconds)}"
            return Content.assemble(bar(view.share, min(width, 60)), ("\n" + line, "$muted"))
        case "broken":
            again = "P goes on where it broke off: what the hub has is not sent again."
            return Content.assemble(wrong, (f"\n{again}", "$muted"))
    words = f"published, for {'all to see' if public else 'you alone'}"
    lines = [Content.styled(words, "$good bold")]
    lines += [Content(safe_line(address)) for address in view.addresses]
    return Content("\n").join([*lines, Content.styled("y copies the address.", "$muted")])


def _files(folder: RepoFiles, view: PublishView, at: int, *, there: bool) -> Content:
    """Every file of a repository; `at` is the number of files in those before it."""
    repo = safe_line(view.listed.repo) if view.listed else ""
    total = size(sum(each for _, each in folder.files))
    new = "is there: this replaces files of the same name" if there else "new"
    if view.phase == "done":
        new = ""
    words = " · ".join(each for each in (repo, new, f"{len(folder.files):,} files", total) if each)
    lines = [Content.assemble((folder.kind, "bold"), (f"  {words}", "$muted"))]
    arrived = view.files if view.phase == "done" else len(view.sending) - 1
    for number, (name, each) in enumerate(folder.files, at):
        mark = "✓" if number < arrived else " "
        lines.append(Content.assemble((f"{mark} {size(each):>8}  ", "$muted"), safe_line(name)))
    return Content("\n").join(lines)


def _card(folder: RepoFiles) -> Content:
    title = Content.styled(f"the card of the {folder.kind}", "bold")
    return Content.assemble(title, "\n", (safe(folder.card, CARD_LIMIT).strip(), "$muted"))
