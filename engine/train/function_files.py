"""The files of a person's functions, which may change while a run is at rest."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from engine.train.journal import Journal


def tell_of_changes(journal: Journal, setting: str, files: Mapping[str, Path], then: str) -> None:
    """Keep the digests of files in run.json, under `<setting>_sha256` by name, and say of each that
    is not as it was when the run began what holds now."""
    key = f"{setting}_sha256"
    before = journal.run.state().get(key)
    before = before if isinstance(before, dict) else {}
    now = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    for name, digest in now.items():
        if before.get(name, digest) != digest:
            changed = f"{setting}: {files[name]} has changed since the run began"
            journal.log("warning", f"{changed}; from here on {then} now")
    if now != before:
        journal.update(**{key: now})
