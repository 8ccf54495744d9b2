"""How many files this process may have open, and the import of mlx-lm, which changes that."""

import resource


def limits() -> tuple[int | None, int | None]:
    """Files that this process may have open now, and at most when it asks; None: any number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _number(soft), _number(hard)


def import_mlx_lm() -> None:
    """Import mlx-lm, which wants to have many files open, and grant it what the system allows.

    It sets the limits to 2048 and 4096 as it is imported: an error where the system allows fewer,
    and for good fewer files than before where it allows more. Of that only the rise is granted,
    and no further than to what this process may have anyway.
    """
    set_limits = resource.setrlimit

    def raise_limit(kind: int, wanted: tuple[int, int]) -> None:
        soft, hard = resource.getrlimit(kind)
        most = wanted[0] if hard == resource.RLIM_INFINITY else min(wanted[0], hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            set_limits(kind, (most, hard))

    resource.setrlimit = raise_limit
    try:
        import mlx_lm.utils  # noqa: F401
    finally:
        resource.setrlimit = set_limits


def _number(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit
