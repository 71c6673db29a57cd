"""The service as its command line sees it: plain HTTP through httpx."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

INSPECTION_POLL_S = 0.5
ENDS = ("succeeded", "failed", "canceled")


class Refused(Exception):
    """The service answered with a problem; the text is for people, `reasons` names every offender."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(f"{problem.get('detail') or problem.get('title')} [{problem.get('code')}]")
        self.reasons: list[dict[str, Any]] = problem.get("errors") or []


class Client:
    """Talks to one service. Raises Refused for problems, httpx.TransportError when nobody answers."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(30, read=None))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def generate(self, body: dict[str, Any], progress: Callable[[int, int], None] = lambda *_: None) -> dict[str, Any]:
        """Accept a generation, follow it to its end, and give it as it ended."""
        generation = self._json("POST", "/v1/generations", json=body)
        while generation["status"] not in ENDS:
            with suppress(httpx.RemoteProtocolError), self._events(generation["id"]) as events:
                for kind, data in events:
                    if kind == "progress":
                        progress(data["step"], data["steps"])
            # A stream may be cut short; what counts is what the service says
            generation = self._json("GET", f"/v1/generations/{generation['id']}")
        return generation

    @contextmanager
    def _events(self, generation_id: str) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        with self._http.stream("GET", f"/v1/generations/{generation_id}/events") as response:
            if response.is_error:
                response.read()
            yield _parse(_checked(response).iter_lines())

    def image(self, url: str) -> bytes:
        """The bytes of a picture."""
        return _checked(self._http.get(self._at(url))).content

    def adapters(self) -> list[dict[str, Any]]:
        """Every adapter, newest version each."""
        return self._json("GET", "/v1/adapters")["adapters"]

    def adapter(self, ref: str) -> dict[str, Any]:
        """One adapter with its verdict."""
        return self._json("GET", f"/v1/adapters/{ref}")

    def upload(self, file: Path, name: str, description: str, ignore: list[str]) -> dict[str, Any]:
        """Upload an adapter and wait for its verdict; its record."""
        fields = {"name": name, "description": description, "ignore": ignore}
        with file.open("rb") as stream:
            response = _checked(self._http.post("/v1/adapters", files={"file": (file.name, stream)}, data=fields))
        while response.status_code == httpx.codes.ACCEPTED:
            time.sleep(INSPECTION_POLL_S)
            response = _checked(self._http.get(self._at(response.headers["Location"])))
        return response.json()

    def delete(self, name: str) -> None:
        """Delete an adapter."""
        _checked(self._http.delete(f"/v1/adapters/{name}"))

    def _at(self, url: str) -> httpx.URL:
        return self._http.base_url.join(url)  # what an answer names begins with the service's own prefix

    def _json(self, method: str, path: str, **arguments: Any) -> Any:
        return _checked(self._http.request(method, path, **arguments)).json()


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": response.text or response.reason_phrase, "code": f"http_{response.status_code}"}
    raise Refused(problem)


def _parse(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events as (kind, data); comments and ids are passed over."""
    kind, data = "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        if not line:
            if data:
                yield kind, json.loads(data)
            kind, data = "message", ""
        elif field == "event":
            kind = value.strip()
        elif field == "data":
            data += value.strip()
