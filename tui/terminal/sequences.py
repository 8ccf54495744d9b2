"""What is written to the terminal beside the screen: the clipboard, a bell, a notification."""

import base64
from collections.abc import Mapping

from tui.text.safe_text import safe_line

COPY_LIMIT = 74_000  # bytes that terminals take through OSC 52
CHUNK = 512  # bytes of a sequence that GNU screen passes on at once
ESC, BEL, ST = "\x1b", "\x07", "\x1b\\"


def copy_sequence(text: str, environ: Mapping[str, str]) -> str | None:
    """What puts `text` on the clipboard of the person's own machine (OSC 52); None: too long."""
    data = text.encode("utf-8", errors="replace")
    if len(data) > COPY_LIMIT:
        return None
    sequence = f"{ESC}]52;c;{base64.b64encode(data).decode()}{BEL}"
    # tmux takes the sequence itself where it may set the clipboard, and else passes it on.
    return sequence + _passed_on(sequence, environ) if _inside(environ) else sequence


def notify_sequence(text: str, environ: Mapping[str, str]) -> str:
    """A bell, and a desktop notification where the terminal knows them (OSC 9)."""
    if environ.get("TERM") == "linux":  # the console would print what it does not know
        return BEL
    sequence = f"{ESC}]9;{safe_line(text, 200)}{BEL}"
    return BEL + (_passed_on(sequence, environ) if _inside(environ) else sequence)


def _inside(environ: Mapping[str, str]) -> bool:
    """Whether tmux or screen stands between us and the terminal."""
    return bool(environ.get("TMUX") or environ.get("STY"))


def _passed_on(sequence: str, environ: Mapping[str, str]) -> str:
    """A sequence wrapped so that tmux or screen hands it to the terminal outside."""
    if environ.get("TMUX"):
        return f"{ESC}Ptmux;{sequence.replace(ESC, ESC + ESC)}{ST}"
    parts = (sequence[at : at + CHUNK] for at in range(0, len(sequence), CHUNK))
    return "".join(f"{ESC}P{part}{ST}" for part in parts)
