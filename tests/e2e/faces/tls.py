"""A proxy with TLS before a service, as it stands in the world: for clients that speak https alone."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import trustme

OF_THE_WAY = ("connection", "transfer-encoding", "content-length", "server", "date")


@contextmanager
def behind_tls(url: str, folder: Path) -> Iterator[str]:
    """Host and port of a proxy before the service at `url`; whom it is to be trusted by: `authority.pem` in folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_THE_WAY}
            headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-Host": self.headers["Host"]}
            answer = behind.request(self.command, f"{url}{self.path}", content=body, headers=headers)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in (*OF_THE_WAY, "content-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = _forward

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with httpx.Client(timeout=120) as behind, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
