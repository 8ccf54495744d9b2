"""Folders -> repositories of the model hub, by the hub's own library.

A file at a time, and one commit at the end. What the hub has of it already, from before a break, is
not sent again. The token is that of the environment or of the hub's login, and is never written.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from engine.errors import RunError, UserError
from engine.machine.hub import offline
from engine.publish import Folder, RepoType
from engine.secrets import hide, keep_secret

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

Progress = Callable[[str, int, int, int], None]  # a file, its number, of how many, its bytes
Answer = TypeVar("Answer")
MESSAGE = "Publish with LoRA Studio"


class HubError(RunError):
    """The hub could not be reached, or did not take something: a sentence. What it has taken is not
    sent again by the next try."""


def check_repo(repo: str) -> None:
    """Look at the name of a repository.

    Raises:
        UserError: no repository can have it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not repo:
        raise UserError("--repo: give the repository a name, as NAME or OWNER/NAME")
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UserError(
            f"--repo {repo}: write it as NAME or OWNER/NAME, of letters, digits, - _ and ."
        ) from None


def connect(*, bars: bool) -> "HfApi":
    """The hub, with a token; with `bars` its library draws how far each file is.

    Raises:
        UserError: there is no token, or the hub is not to be used.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils import disable_progress_bars

    if variable := offline():
        raise UserError(f"publish: {variable} is set, so nothing can be sent; unset it")
    token = get_token()
    if not token:
        raise UserError(
            "publish: there is no token for the hub; run `hf auth login`, or put one that may "
            "write into HF_TOKEN"
        )
    keep_secret(token)
    if not bars:
        disable_progress_bars()
    return HfApi(token=token)


def owned(api: "HfApi", repo: str) -> str:
    """`repo` with its owner, by default the one whose token it is."""
    if "/" in repo:
        return repo
    return f"{_asked(api.whoami)['name']}/{repo}"


def existing(api: "HfApi", repo: str, kinds: Sequence[RepoType], *, public: bool) -> list[RepoType]:
    """The kinds of which there is a repository of that name already.

    Raises:
        UserError: one of them is public and `public` was not said, or the token may not look.
        HubError: the hub could not be reached.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    there: list[RepoType] = []
    for kind in kinds:
        try:
            facts = _asked(lambda one=kind: api.repo_info(repo, repo_type=one), missing=True)
        except RepositoryNotFoundError:
            continue
        _check_private(repo, kind, private=bool(facts.private), public=public)
        there.append(kind)
    return there


def _check_private(repo: str, kind: RepoType, *, private: bool, public: bool) -> None:
    if not (private or public):
        raise UserError(
            f"--repo {repo}: the {kind} of that name is public; publish for all to see (--public), "
            "or choose another name"
        )


def upload(
    api: "HfApi", repo: str, folders: Sequence[Folder], *, public: bool, progress: Progress
) -> list[str]:
    """Send folders to the repositories of that name; their addresses.

    Raises:
        UserError: the token may not, or a repository is public and `public` was not said.
        HubError: the hub could not be reached, or broke off.
    """
    return [_upload(api, repo, folder, public=public, progress=progress) for folder in folders]


def _upload(api: "HfApi", repo: str, folder: Folder, *, public: bool, progress: Progress) -> str:
    from huggingface_hub import CommitOperationAdd

    address = _asked(
        lambda: api.create_repo(repo, repo_type=folder.kind, private=not public, exist_ok=True)
    )
    if not public:  # one that was there before stays as it was
        facts = _asked(lambda: api.repo_info(repo, repo_type=folder.kind))
        _check_private(repo, folder.kind, private=bool(facts.private), public=public)
    files = folder.files()
    additions = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder.path / name)
        for name, _ in files
    ]
    for number, ((name, size), addition) in enumerate(zip(files, additions, strict=True), 1):
        progress(name, number, len(files), size)
        _asked(
            lambda one=addition: api.preupload_lfs_files(
                repo, [one], repo_type=folder.kind, free_memory=False
            )
        )
    _asked(
        lambda: api.create_commit(repo, additions, repo_type=folder.kind, commit_message=MESSAGE)
    )
    return str(address)


def _asked(ask: Callable[[], Answer], *, missing: bool = False) -> Answer:
    """What the hub answers.

    Raises:
        UserError: it does not let this token do it.
        RepositoryNotFoundError: there is no such repository, where `missing` says that this may be.
        HubError: anything else that is wrong, in a sentence.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        return ask()
    except RepositoryNotFoundError as error:
        # The hub says the same where a token is wrong.
        if missing and error.response is not None and error.response.status_code == 404:
            raise
        raise _refusal(error) from None
    except HfHubHTTPError as error:
        raise _refusal(error) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        words = hide(" ".join(str(error).split()))[:200] or type(error).__name__
        raise HubError(f"publish: the hub cannot be reached ({words})") from None
    # Of a library below, when a transfer breaks, or for a proxy that it lacks a library for.
    except (ImportError, RuntimeError, ValueError) as error:
        words = hide(" ".join(str(error).split()))[:200] or type(error).__name__
        raise HubError(f"publish: the hub's library failed ({words})") from None


def _refusal(error: "HfHubHTTPError") -> RunError | UserError:
    """An answer of the hub that is an error, as a sentence."""
    status = error.response.status_code if error.response is not None else 0
    words = hide(" ".join((error.server_message or "").split()))[:300]
    answer = f"status {status}{f': {words}' if words else ''}"
    if status in (401, 403):
        return UserError(
            f"publish: the hub refuses the token ({answer}); it needs one that may write there"
        )
    return HubError(f"publish: the hub answers with {answer}")
