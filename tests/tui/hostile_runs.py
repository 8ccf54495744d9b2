"""Runs on disk with hostile text wherever a run has any, their folders' names included."""

import json
import os
from typing import Any

from engine.events import RunStarted
from engine.runs import archive
from engine.runs.folder import LOG, METRICS, PAIRS, UNDECIDED, Run
from engine.settings.files import preset
from engine.settings.schema import Settings
from tests.tui.archive import make_run


def folder_of(number: int, text: str) -> str:
    """A text as the name of a folder that somebody else has made."""
    return f"{number:02}-{text}".replace("/", "|").replace("\0", "^")[:80]


def hostile_runs(texts: list[str]) -> list[Run]:
    """A run for each text, in a folder of that name, with the text wherever a run has any."""
    made = []
    for number, text in enumerate(texts):
        known = text.encode(errors="replace").decode()
        run = make_run(
            f"run-{number}",
            steps=2,
            pairs=2,
            settings=settings(known),
            model=text,
            judge=text,
            error=text,
            tags=[text, text],
            notes=text,
            device=text,
            status="failed" if number % 2 else text[:200],
            examples=[{"prompt": text, "before": text, "after": text}],
        )
        line = next(run.read(PAIRS))
        for side in ("prompt", "chosen", "rejected", "note", "choice", "judge"):
            line[side] = text
        raw = json.dumps({**line, "pair_id": text[:60]})  # as anybody may have written it
        for file in (PAIRS, UNDECIDED):
            with (run.path / file).open("a") as end:
                end.write(raw + "\n")
        with (run.path / METRICS).open("a") as end:
            end.write(json.dumps({"step": 3, text[:60]: 1.0, "loss": 0.4}) + "\n")
        with (run.path / LOG).open("ab") as end:
            end.write(text.encode(errors="surrogatepass") + b"\n\xff\xfe\n")
        name = folder_of(number, text).encode(errors="replace")[:200].decode(errors="ignore")
        made.append(Run(run.path.rename(run.path.with_name(name))))
    (archive.runs_root() / "damaged \x1b[2J\u202e").mkdir()
    bad = os.fsencode(archive.runs_root()) + b"/\xff\xfe\x1b[31m"
    os.mkdir(bad)
    return made


def settings(text: str) -> Settings:
    """Settings with a text wherever one may stand; what is no UTF-8 is refused in them."""
    text = text.encode(errors="replace").decode()
    return preset("starter").model_copy(
        update=dict.fromkeys(
            ("model", "judge", "data", "judge_system", "system_prompt", "prompt_feature"), text
        )
    )


def facts_of(event: RunStarted) -> dict[str, Any]:
    """The fields of an event, to make another of."""
    return {name: getattr(event, name) for name in (*RunStarted.__slots__, "time")}
