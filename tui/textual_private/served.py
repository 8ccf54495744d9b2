"""What textual-serve keeps to itself of a tab."""

from typing import Any


async def process_messages(server: Any, socket: Any, app: Any) -> None:
    """Pass on what a tab sends to its app, until the tab is closed."""
    await server._process_messages(socket, app)
