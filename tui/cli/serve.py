"""The app served to a browser by textual-serve: on this machine alone, to whoever has the address.

The address holds a token, which is good for one visit: it is exchanged for a cookie, so that
neither the history of the browser nor a page elsewhere can open the app. Requests for another host
or from a page of another origin are refused, whatever they bring.

Each tab is a process with the app of its own. A tab that is closed is a terminal that is lost: the
run in it goes on or stops as `on_hangup` says.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from typing import Any

from aiohttp import web  # pyright: ignore[reportMissingImports]
from textual_serve.app_service import AppService  # pyright: ignore[reportMissingImports]
from textual_serve.server import Server, to_int  # pyright: ignore[reportMissingImports]

from tui.textual_private.served import process_messages

HOST = "127.0.0.1"
TITLE = "LoRA Studio"
END_SECONDS = 0.5  # that open tabs get to leave by themselves once the server ends
CLOSE_SECONDS = 5.0  # that the app of a closed tab gets to let go of it
SPENT = "This address was used before, or is none: end `lora-studio serve`, and start it anew.\n"


class StudioServer(Server):
    """Serves the app on 127.0.0.1."""

    def __init__(self, port: int, arguments: Sequence[str]) -> None:
        """`arguments` are of the app that each tab opens."""
        super().__init__(TITLE, host=HOST, port=port, title=TITLE)
        self._arguments = arguments
        self._own = f"{HOST}:{port}"
        self._token: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"lora-studio-{port}"

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl+C or SIGTERM."""
        web.run_app(
            self._make_app(),
            host=HOST,
            port=self.port,
            access_log=None,  # a line of it would hold the token
            print=lambda *_: self._say_where(),
            shutdown_timeout=END_SECONDS,
        )

    async def on_startup(self, app: Any) -> None:
        """Say nothing: it does not listen yet."""

    def _say_where(self) -> None:
        print(f"http://{self._own}/?token={self._token}", flush=True)
        print("It works once. Ctrl+C ends; runs go on as on_hangup says.", file=sys.stderr)

    async def _make_app(self) -> Any:
        app = await super()._make_app()
        app.middlewares.append(self._guard())
        return app

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: Any, handler: Any) -> Any:
            origin = request.headers.get("Origin")
            if request.host != self._own or origin not in (None, f"http://{self._own}"):
                raise web.HTTPForbidden(text="This is for its own address alone.\n")
            if self._is(request.cookies.get(self._cookie), self._session):
                response = await handler(request)
            elif request.path == "/" and self._is(request.query.get("token"), self._token):
                self._token = None
                response = web.Response(status=303, headers={"Location": "/"})
                response.set_cookie(self._cookie, self._session, httponly=True, samesite="Strict")
            else:
                raise web.HTTPForbidden(text=SPENT)
            if not response.prepared:
                response.headers["Referrer-Policy"] = "no-referrer"
                response.headers["X-Frame-Options"] = "DENY"
                response.headers["Cache-Control"] = "no-store"
            return response

        return guard

    @staticmethod
    def _is(given: str | None, wanted: str | None) -> bool:
        return bool(given and wanted) and secrets.compare_digest(
            str(given).encode(), str(wanted).encode()
        )

    async def handle_websocket(self, request: Any) -> Any:
        """Run the app for a tab, until either ends."""
        socket = web.WebSocketResponse(heartbeat=15)
        await socket.prepare(request)

        async def close() -> None:
            await socket.close()

        app = _Tab(
            TITLE,
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        app.arguments = self._arguments
        try:
            size = (to_int(request.query.get(name, ""), 80) for name in ("width", "height"))
            await app.start(*size)
            await process_messages(self, socket, app)
        except (ConnectionResetError, asyncio.CancelledError):
            pass
        finally:
            await app.stop()
            await socket.close()
        return socket


class _Tab(AppService):
    """The process with the app of one tab."""

    arguments: Sequence[str] = ()

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Any:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tui.main",
            *self.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._build_environment(width, height),
            start_new_session=True,  # Ctrl+C ends the server, and what it means to a run is asked
        )
        self._stdin = self._process.stdin
        return self._process

    async def stop(self) -> None:
        """Hang up: the app ends, and its run goes on or stops as the run's settings say."""
        task, self._task = self._task, None
        if task is None:
            return
        await self._download_manager.cancel_app_downloads(app_service_id=self.app_service_id)
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGHUP)
        await asyncio.wait([task], timeout=CLOSE_SECONDS)
        task.cancel()
