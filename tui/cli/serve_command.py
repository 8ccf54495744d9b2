"""The command `serve`: the app in a browser of this machine."""

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import UserError

PORT = 8000


def serve(
    source: Annotated[
        str | None, typer.Argument(metavar="CONFIG.yaml", help="In the form, as without `serve`.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=1, max=65_535, help="On 127.0.0.1.")
    ] = PORT,
) -> None:
    """Show the app in a browser on this machine, at an address that works once."""
    if find_spec("textual_serve") is None:
        raise UserError("serve: it needs `pip install 'lora-studio[serve]'`")
    if source is not None and not Path(source).is_file():
        raise UserError(f"serve: there is no file {source}")
    from tui.cli.serve import HOST, StudioServer

    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: it cannot be used ({error.strerror}); choose another"
            ) from error
    StudioServer(port, [source] if source else []).serve()
