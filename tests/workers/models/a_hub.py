"""A hub on loopback, as far as a client asks one: repositories of files, tokens, ranges; it can be slow."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
PIECE = 1 << 16


class Hub(ThreadingHTTPServer):
    """Repositories: name -> file -> bytes. `asked`: the path and range of each file that was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: dict[str, str] = {}  # repository -> the token that may read it
        self.asked: list[tuple[str, str | None]] = []
        self.pause_s = 0.0  # after each piece of a file
        self.lies = False  # about the hashes of files

    @property
    def url(self) -> str:
        """Its address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/models/"):
            repository, _, revision = path.removeprefix("api/models/").partition("/revision/")
            if self._may_read(repository, revision):
                files = self.server.repositories[repository]
                siblings = [{"rfilename": name, "size": len(data), "blobId": "0"} for name, data in files.items()]
                self._send(200, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())
            return
        repository, _, rest = path.partition("/resolve/")
        revision, _, name = rest.partition("/")
        if self._may_read(repository, revision):
            if (data := self.server.repositories[repository].get(name)) is None:
                return self._refuse(404, "EntryNotFound")
            self._file(name, data)

    def _may_read(self, repository: str, revision: str) -> bool:
        if repository not in self.server.repositories:
            self._refuse(401, "RepoNotFound")
        elif revision not in ("", "main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif (token := self.server.gated.get(repository)) and "authorization" not in self.headers:
            self._refuse(401, "GatedRepo")
        elif token and self.headers["authorization"] != f"Bearer {token}":
            self._refuse(403, "GatedRepo")
        else:
            return True
        return False

    def _file(self, name: str, data: bytes) -> None:
        wanted, start = self.headers["range"], 0
        if self.command == "GET":
            self.server.asked.append((name, wanted))
        if wanted:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{hashlib.sha256(data + b"!" * self.server.lies).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        with suppress(OSError):
            for at in range(start, len(data) if self.command == "GET" else start, PIECE):
                self.wfile.write(data[at : at + PIECE])
                time.sleep(self.server.pause_s)

    def _refuse(self, code: int, why: str) -> None:
        self._send(code, b"{}", {"X-Error-Code": why})

    def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that answers."""
    with Hub() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield one
        one.shutdown()
        thread.join()
