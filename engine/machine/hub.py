"""Whether the model hub can be reached."""

import http.client
import os
import threading
import urllib.error
import urllib.request

TRUE = ("1", "ON", "YES", "TRUE")  # as the hub's library reads them


def offline(*more: str) -> str | None:
    """The variable that keeps the hub from being asked; None where none does.

    Args:
        more: variables of a library that is above the hub's, and asks it.
    """
    # The second one counts where the first is not set, or empty.
    name = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    names = (name, *more)
    return next((each for each in names if os.environ.get(each, "").upper() in TRUE), None)


def hub_reachable(timeout: float = 3.0) -> bool:
    """Whether the model hub answers within `timeout` seconds; False at once in offline mode."""
    if offline():
        return False
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    answered = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=timeout):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()  # it refused, so it is there
        except (OSError, ValueError, http.client.HTTPException):
            pass

    # On a thread of its own, since looking up a name may hang for longer than any timeout.
    asking = threading.Thread(target=ask, name="hub-reachable", daemon=True)
    asking.start()
    asking.join(timeout)
    return answered.is_set()
