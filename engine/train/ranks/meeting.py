"""How rank 0 finds the other ranks, and sees that they have what it has."""

import base64
from collections.abc import Mapping

from engine.control import Control
from engine.distributed.group import Group, SumTimeout
from engine.distributed.links import Hub, own_addresses
from engine.distributed.wire import Message
from engine.errors import UserError
from engine.model.adapter_files import start_of
from engine.runs.folder import Run
from engine.settings.schema import Settings
from engine.train.ranks.checks import check_files, check_hello, file_digests
from engine.train.ranks.shares import HEADER, header

HELLO_SECONDS = 60.0


def find(
    group: Group, hub: Hub, facts: Mapping[str, object], control: Control
) -> dict[int, Message]:
    """What each of the other ranks says of itself; `facts` are what they need to find this one.

    Raises:
        UserError: they are not all there.
        LoadingStopped: asked to stop.
    """
    place = group.place
    addresses = [place.address] if place.address else own_addresses()
    data = header({"addresses": addresses, "port": hub.port, **facts})
    try:
        group.start(control.raise_if_stopping)
        group.spread(data, HEADER, control.raise_if_stopping)
        return hub.hellos(HELLO_SECONDS)
    except (TimeoutError, SumTimeout, RuntimeError) as error:
        raise UserError(
            f"mlx.launch: the {place.size} ranks did not find each other"
            f"{f': {error}' if str(error) else ''}; look whether all were started, and "
            "whether their machines reach each other at the addresses given"
        ) from error


def begin(
    hub: Hub, hellos: Mapping[int, Message], settings: Settings, run: Run, control: Control
) -> None:
    """Give the others the settings, and the adapters that the run starts from, once it is seen that
    they have the same versions and models.

    Raises:
        UserError: they have not.
        Interrupted: asked to stop, or a rank is lost.
    """
    for rank, hello in hellos.items():
        check_hello(hub.names[rank], hello, settings)
    start = start_of(run, settings)
    message = {
        "do": "begin",
        "settings": settings.model_dump(mode="json", exclude_defaults=True),
        "start": base64.b64encode(start.read_bytes()).decode() if start else None,
    }
    number = hub.ask(dict.fromkeys(hellos, message))
    own = file_digests(settings)
    answers = hub.answers(list(hellos), number, lambda: control.stopping)
    for rank, answer in answers.items():
        check_files(hub.names[rank], answer["files"], own)
