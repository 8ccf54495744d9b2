"""A little model hub on this machine: as much of its protocol as an upload takes."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz"
OWNER = "me"
LARGE = 1000  # bytes from which on a file is sent apart from the commit


@dataclass
class LittleHub:
    """Repositories by kind and name, and what was asked.

    `breaks` is the number of large files after which a transfer is refused, once.
    """

    port: int = 0
    token: str = TOKEN
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # by digest
    transfers: list[str] = field(default_factory=list)  # digests, in the order they came
    tokens: set[str] = field(default_factory=set)
    breaks: int | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """The files of a repository."""
        return self.repos[f"{kind}s/{name}"]["files"]

    @contextlib.contextmanager
    def running(self) -> Iterator["LittleHub"]:
        hub = self

        class Bound(_Handler):
            owner = hub

        with ThreadingHTTPServer(("127.0.0.1", 0), Bound) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            try:
                yield self
            finally:
                server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: LittleHub

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self._body())

    def do_PUT(self) -> None:
        body = self._body()
        hub, digest = self.owner, self.path.rpartition("/")[2]
        if hub.breaks is not None and len(hub.transfers) >= hub.breaks:
            hub.breaks = None
            self._reply({"error": "the line is down"}, 400)
            return
        assert hashlib.sha256(body).hexdigest() == digest
        hub.large[digest] = body
        hub.transfers.append(digest)
        self._reply({})

    def _serve(self, body: bytes) -> None:
        hub, path = self.owner, self.path.partition("?")[0]
        hub.tokens.add(self.headers.get("Authorization", ""))
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._reply({"error": "Invalid credentials"}, 401)
        elif path == "/api/whoami-v2":
            self._reply({"type": "user", "name": OWNER, "auth": {}})
        elif path == "/api/validate-yaml":
            self._reply({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(
            r"/(?:(datasets)/)?([\w/.-]+)\.git/info/lfs/objects/batch", path
        ):
            self._batch(json.loads(body))
        elif match := re.fullmatch(r"/api/((?:models|datasets)/[\w.-]+/[\w.-]+)(/.*)?", path):
            self._repo(match[1], match[2] or "", body)
        else:
            self._reply({"error": f"nothing at {path}"}, 404)

    def _create(self, body: dict[str, Any]) -> None:
        kind, name = body.get("type", "model"), body["name"]
        owner = body.get("organization") or OWNER
        key = f"{kind}s/{owner}/{name}"
        known = key in self.owner.repos
        private = body.get("private") or body.get("visibility") == "private"
        self.owner.repos.setdefault(key, {"private": bool(private), "files": {}})
        place = "" if kind == "model" else f"{kind}s/"
        answer = {"url": f"{self.owner.address}/{place}{owner}/{name}"}
        self._reply(answer, 409 if known else 200)

    def _repo(self, key: str, rest: str, body: bytes) -> None:
        repo = self.owner.repos.get(key)
        if repo is None:
            self._reply({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif rest in ("", "/revision/main"):
            name = key.partition("/")[2]
            self._reply({"id": name, "private": repo["private"], "sha": "0" * 40, "siblings": []})
        elif rest == "/preupload/main":
            files = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                }
                for each in json.loads(body)["files"]
            ]
            self._reply({"files": files})
        elif rest == "/commit/main":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repo["files"][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repo["files"][value["path"]] = self.owner.large[value["oid"]]
            place = key.removeprefix("models/")
            url = f"{self.owner.address}/{place}/commit/{'1' * 40}"
            self._reply({"commitUrl": url, "commitOid": "1" * 40})
        else:
            self._reply({"error": f"nothing at {rest}"}, 404)

    def _batch(self, body: dict[str, Any]) -> None:
        objects = []
        for each in body["objects"]:
            upload = {"upload": {"href": f"{self.owner.address}/put/{each['oid']}", "header": {}}}
            known = each["oid"] in self.owner.large
            objects.append(each if known else {**each, "actions": upload})
        self._reply({"transfer": "basic", "objects": objects})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _reply(
        self, value: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""
