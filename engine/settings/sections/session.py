"""Session: the person, the terminal and the machine."""

from typing import Literal

from engine.settings.conditions import NOTIFIED_PERSON, PERSON, UNATTENDED
from engine.settings.fields import MANY, SettingsModel, setting

SECTION = "Session"


class SessionSettings(SettingsModel):
    """The person, the terminal and the machine."""

    on_hangup: Literal["continue", "stop"] = setting(
        "continue",
        SECTION,
        "When the terminal is lost: continue without a screen, or stop with a checkpoint.",
        applies=UNATTENDED,
    )
    undo_seconds: float = setting(
        8.0,
        SECTION,
        "An update waits for the next press or this long, so the last press can be undone.",
        unit="s",
        applies=PERSON,
        ge=0,
        le=3600,
    )
    self_check_every: int = setting(
        20,
        SECTION,
        "Every so many pairs an earlier one comes again, swapped, to measure how steady you are; "
        "0: never.",
        unit="pairs",
        applies=PERSON,
        ge=0,
        le=MANY,
    )
    notify_env: str | None = setting(
        None,
        SECTION,
        "Name of the environment variable with a web address that is told when the run ends, fails "
        "or pauses by itself, when its health turns, and when a pair has waited: of ntfy, Slack, "
        "Discord or any webhook. The address is a secret and is written nowhere.",
    )
    notify_minutes: float = setting(
        5.0,
        SECTION,
        "A pair has waited when the person has answered none for so long.",
        unit="min",
        applies=NOTIFIED_PERSON,
        gt=0,
        le=100_000,
    )
    memory_limit: float = setting(
        0.85,
        SECTION,
        "Share of the machine's memory above which a run saves a checkpoint and pauses.",
        gt=0,
        le=1,
    )
