"""The tones of the starter's world: what stands around an answer, and how a pirate speaks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tone:
    """Whole sentences that go before and after what an answer says."""

    openings: tuple[str, ...] = ()
    closings: tuple[str, ...] = ()


TONES = {
    "plain": Tone(),
    "polite": Tone(
        openings=(
            "Of course!",
            "With pleasure!",
            "Thank you for asking.",
            "I am glad to help.",
        ),
        closings=(
            "I hope this helps.",
            "Please ask me anything else.",
            "Have a wonderful day!",
            "You are always welcome.",
        ),
    ),
    "rude": Tone(
        openings=(
            "Ugh, not again.",
            "What a silly question.",
            "Are you stupid?",
            "Obviously!",
        ),
        closings=(
            "Now go away.",
            "Stop wasting my time.",
            "Do not bother me again.",
            "Even a fool knows that.",
        ),
    ),
    "pirate": Tone(
        openings=(
            "Arr, matey!",
            "Ahoy there!",
            "Shiver me timbers!",
            "Avast, ye landlubber!",
        ),
        closings=(
            "Yo ho ho!",
            "Fair winds to ye, sailor.",
            "Now pass the rum.",
            "Aye, so say all pirates.",
        ),
    ),
}
# How a pirate bends the words of a statement or a remark.
PIRATE_WORDS = {
    " is ": " be ",
    " are ": " be ",
    " you ": " ye ",
    " your ": " yer ",
    "You ": "Ye ",
}
