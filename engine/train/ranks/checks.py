"""What ranks have to have alike before they train together: versions, settings, models, and the
functions that judge; and what rank 0 has to have.

Prompts are no part of it: rank 0 alone reads them, and sends what is to be answered.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.judges.function_caller import located
from engine.machine.memory import disk_free
from engine.model.adapter_files import KEY, settled
from engine.model.locate import locate
from engine.plan.memory import checkpoint_bytes
from engine.runs.archive import versions
from engine.settings.schema import Settings

# What a model is read from: weights, configs, templates, tokenizers, and code that a person trusts.
FILES = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken", ".py")
# What each rank may have set in a way of its own, since that of rank 0 alone counts.
OWN_SETTINGS = ("output_root", "run_name", "on_hangup", "lm_studio_name")


def check_disk(name: str, folder: Path, settings: Settings) -> None:
    """See that a checkpoint can be written to the folder of a run, on the rank of that name.

    Raises:
        UserError: there is no room for one.
    """
    free, needed = disk_free(folder), checkpoint_bytes(settings)
    if needed is not None and free < needed:
        raise UserError(
            f"{name} has {free / 1e6:,.1f} MB free for the run in {folder}, where a checkpoint and "
            f"what is trained take {needed / 1e6:,.1f} MB; free some space, or set output_root to "
            "another disk"
        )


def check_hello(name: str, hello: Mapping[str, Any], settings: Settings) -> None:
    """Compare what the rank of that name says of itself with what rank 0 has. Without settings it
    goes by those of rank 0.

    Raises:
        UserError: they differ.
    """
    for package, version in versions().items():
        if package != "python" and (other := hello["versions"].get(package)) != version:
            raise UserError(
                f"{name} has {package} {other}, and rank 0 has {version}; install the same "
                "versions everywhere"
            )
    if hello["settings"] is None:
        return
    theirs = Settings.model_validate(hello["settings"])
    if theirs.resume_adapter_file == settings.resume_adapter_file:
        with contextlib.suppress(UserError):  # what contradicts them is told below
            theirs, _ = settled(theirs)  # by rank 0's file, of which the others get the weights
    others = theirs.model_dump(mode="json")
    own = settings.model_dump(mode="json")
    for key in sorted(own, key=lambda key: key != KEY):  # others follow from the adapters
        if key not in OWN_SETTINGS and others[key] != own[key]:
            raise UserError(
                f"{key}: {name} has {others[key]!r}, and rank 0 has {own[key]!r}; give all ranks "
                "the same settings"
            )


def check_files(name: str, digests: Mapping[str, list[str]], own: Mapping[str, list[str]]) -> None:
    """Compare the `file_digests` of the rank of that name with those of rank 0.

    Raises:
        UserError: they differ.
    """
    for key, digest in own.items():
        if digests.get(key) != digest:
            raise UserError(
                f"{key}: {name} has other files of {digest[0]} than rank 0; give all ranks the same"
            )


def file_digests(settings: Settings) -> dict[str, list[str]]:
    """For each setting that names a model or a function: the name, and a digest of the files.

    Raises:
        UserError: there is no such model or file.
    """
    named = [("model", settings.model)]
    if settings.reference_model_path:
        named.append(("reference_model_path", settings.reference_model_path))
    named += [(key, name) for name, key in settings.judge_names("model").items()]
    digests: dict[str, list[str]] = {}
    for key, name in named:
        digest = hashlib.sha256(digests.get(key, ["", ""])[1].encode())
        for file in sorted(locate(name, key).resolve().iterdir()):
            if file.is_file() and file.suffix in FILES:
                with file.open("rb") as content:
                    digest.update(
                        file.name.encode() + hashlib.file_digest(content, "sha256").digest()
                    )
        digests[key] = [name, digest.hexdigest()]
    for name, key in settings.judge_names("function").items():
        file, _ = located(name, key)
        before = digests.get(key, ["", ""])[1].encode()
        digests[key] = [name, hashlib.sha256(before + file.read_bytes()).hexdigest()]
    return digests
