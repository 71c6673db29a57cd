"""The service as its command line sees it: plain HTTP through httpx."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

from app.commands import resuming
from app.commands.event_stream import Event, json_object, parse
from app.http.address import is_here

Answer = TypeVar("Answer")

INSPECTION_POLL_S = 0.5
PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0  # between two tries
PATIENCE_S = 120.0  # for a service that has taken work on and is away: it is started again, or a proxy says so
TIMES = httpx.Timeout(60, connect=10)  # a stream of events says something every 15 s
PATIENT = httpx.Timeout(TIMES.connect, read=None)  # how long an upload's verdict is waited for, the service decides
UNKNOWN = (404, 410)
TRAININGS = "/v1/trainings"
ENDS = ("succeeded", "failed", "canceled")
PAGE = 200  # of a list, at most
AWAY = (502, 503, 504)
RESUMED = ("adapters", "datasets")  # what is sent in parts where it is large


class Refused(Exception):
    """The service answered with a problem; the text is for people, `reasons` names every offender."""

    def __init__(self, problem: dict[str, Any], status: int = 0) -> None:
        super().__init__(f"{problem.get('detail') or problem.get('title')} [{problem.get('code')}]")
        self.reasons: list[dict[str, Any]] = problem.get("errors") or []
        self.status = status


class Stranger(Exception):
    """The server at this address does not answer as Radiata does."""


class Client:
    """Talks to one service. Raises Refused for problems, Stranger, and httpx.TransportError when nobody answers."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """key: of the service, where it needs one."""
        self._path = urlsplit(url).path.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            # A proxy that the environment names does not lead back to this machine
            self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMES, trust_env=not is_here(url))
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise httpx.ProxyError(f"the proxy in the environment cannot be used: {error}") from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def generate(
        self,
        body: dict[str, Any],
        progress: Callable[[int, int], None] = lambda *_: None,
        accepted: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Accept a generation, follow it to its end, and give it as it ended.

        accepted: called with its id as soon as there is one. What is accepted goes on whoever dies, so a service that
        is away in between is waited for.
        """
        generation = self._accept("/v1/generations", body)
        accepted(generation["id"])
        return self._follow("/v1/generations", generation, lambda data: progress(data["step"], data["steps"]))

    def train(
        self,
        body: dict[str, Any],
        progress: Callable[[dict[str, Any]], None] = lambda _: None,
        accepted: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Accept a training, follow it to its end, and give it as it ended, as `generate` does."""
        training = self._accept(TRAININGS, body)
        accepted(training["id"])
        return self._follow(TRAININGS, training, progress)

    def foretell(self, body: dict[str, Any]) -> dict[str, Any]:
        """What a training would be and cost; nothing is accepted."""
        return self._json("POST", TRAININGS, "request", "layers", json=body, params={"dry_run": "true"})

    def go_on(
        self,
        training_id: str,
        steps: int | None,
        progress: Callable[[dict[str, Any]], None],
        accepted: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Resume a training, or train it so many steps longer, and follow what goes on, which has an id of its own."""
        path = f"{TRAININGS}/{quote(training_id, safe='')}"
        if steps is None:
            training = self._json("POST", f"{path}/resume", "id", "status")
        else:
            training = self._json("POST", f"{path}/extend", "id", "status", json={"steps": steps})
        accepted(training["id"])
        return self._follow(TRAININGS, training, progress)

    def trainings(self) -> list[dict[str, Any]]:
        """The newest trainings."""
        return self._json("GET", TRAININGS, "trainings")["trainings"]

    def training(self, training_id: str) -> dict[str, Any]:
        """A training as it stands."""
        return self._json("GET", f"{TRAININGS}/{quote(training_id, safe='')}", "id", "status")

    def algorithms(self) -> list[dict[str, Any]]:
        """Every algorithm that a training may name."""
        return self._json("GET", f"{TRAININGS}/algorithms", "algorithms")["algorithms"]

    def stop(self, training_id: str, keep: bool) -> dict[str, Any]:
        """Cancel a training; keep: have what it learned so far get its version."""
        path = f"{TRAININGS}/{quote(training_id, safe='')}/cancel"
        return self._json("POST", path, "id", "status", params={"keep": str(keep).lower()})

    def publish(self, training_id: str, step: int) -> dict[str, Any]:
        """Have the checkpoint of a step get a version in the catalog; the adapter's record."""
        path = f"{TRAININGS}/{quote(training_id, safe='')}/publish"
        headers = {"Idempotency-Key": uuid4().hex}
        return _json(self._judged(self._http.post(path, json={"step": step}, headers=headers, timeout=PATIENT)), "name")

    def dataset(self, archive: Path, told: Callable[[int, int], None] = lambda *_: None) -> dict[str, Any]:
        """Send a zip of pictures and captions, and wait until it is read; its ref, and the report on it."""
        return _json(self._settled("/v1/datasets", archive, {}, told), "ref")

    def _follow(self, below: str, job: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        path, last, pause_s = f"{below}/{job['id']}", "", PAUSE_S
        while job["status"] not in ENDS:
            before = last
            with suppress(httpx.TransportError), self._events(path, last) as events:
                for event in events:
                    last = event.id or last
                    if event.kind == "progress":
                        progress(event.data)
            # A stream may be cut short; what counts is what the service says
            job = self._again(lambda: self._json("GET", path, "id", "status"))
            if last != before:
                pause_s = PAUSE_S
            elif job["status"] not in ENDS:  # something before the service lets no events through
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return job

    def _accept(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        key = {"Idempotency-Key": uuid4().hex}  # asked twice, it is the same job

        def ask() -> dict[str, Any]:
            return self._json("POST", path, "id", "status", json=body, headers=key)

        try:
            return ask()
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError) as error:
            if isinstance(error, httpx.RemoteProtocolError) and "disconnected" not in str(error):
                raise  # not HTTP at all
            return self._again(ask)

    @contextmanager
    def _events(self, path: str, last: str) -> Iterator[Iterator[Event]]:
        headers = {"Last-Event-ID": last} if last else {}
        with self._http.stream("GET", f"{path}/events", headers=headers) as response:
            if response.status_code in AWAY:
                raise httpx.RemoteProtocolError(response.reason_phrase)
            if response.is_error:
                response.read()
            yield parse(_checked(response).iter_lines())

    def _again(self, ask: Callable[[], Answer]) -> Answer:
        until, pause_s = time.monotonic() + PATIENCE_S, PAUSE_S
        while True:
            try:
                return ask()
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
            except Refused as refused:
                if refused.status not in AWAY or time.monotonic() > until:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def cancel(self, generation_id: str) -> dict[str, Any]:
        """Cancel a generation; as it was canceled. Raises Refused where it has ended in another way."""
        return self._json("POST", f"/v1/generations/{quote(generation_id, safe='')}/cancel", "id", "status")

    def forget(self, generation_id: str) -> bool:
        """Delete a generation that has ended; True where it had not, and was canceled in place of that."""
        answer = _checked(self._http.delete(f"/v1/generations/{quote(generation_id, safe='')}"))
        return answer.status_code != httpx.codes.NO_CONTENT

    def star(self, generation_id: str, starred: bool) -> None:
        """Have a generation kept whatever its age, or no longer."""
        path = f"/v1/generations/{quote(generation_id, safe='')}"
        self._json("PATCH", path, "starred", json={"starred": starred})

    def generations(self, limit: int, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """The newest generations that meet what is asked for, so many at most; asked: as the list's query has it."""
        found: list[dict[str, Any]] = []
        while True:
            params = {**asked, "limit": min(limit - len(found), PAGE)}
            answer = self._json("GET", "/v1/generations", "generations", "next", params=params)
            found += answer["generations"]
            if answer["next"] is None or len(found) >= limit:
                return found
            asked = {**asked, "before": answer["next"]}

    def image(self, url: str) -> bytes:
        """The bytes of a picture."""
        return self._again(lambda: _checked(self._http.get(self._below(url)))).content

    def models(self) -> dict[str, Any]:
        """Every base model with what it takes, and those that nobody draws with now, and why."""
        return self._json("GET", "/v1/models", "models", "not_ready_why")

    def adapters(self) -> list[dict[str, Any]]:
        """Every adapter, newest version each."""
        return self._json("GET", "/v1/adapters", "adapters")["adapters"]

    def adapter(self, ref: str) -> dict[str, Any]:
        """One adapter with its verdict."""
        return self._json("GET", f"/v1/adapters/{quote(ref, safe=':')}", "name")

    def known(self, ref: str) -> dict[str, Any] | None:
        """The same, or None where there is none."""
        return _if_known(lambda: self.adapter(ref))

    def upload(
        self,
        file: Path,
        name: str,
        description: str,
        ignore: list[str],
        cover: str | None = None,
        visibility: str | None = None,
        image_encoder: str = "",
        told: Callable[[int, int], None] = lambda *_: None,
    ) -> dict[str, Any]:
        """Upload an adapter, wait for its verdict; its record. cover: ref of a picture; told: bytes of a large file."""
        fields: dict[str, Any] = {"name": name, "description": description, "ignore": ignore}
        further = (("cover", cover), ("visibility", visibility), ("image_encoder", image_encoder))
        fields |= {what: said for what, said in further if said}
        return _json(self._settled("/v1/adapters", file, fields, told), "name")

    def fetch(
        self, body: dict[str, Any], told: Callable[[int, int], None] = lambda *_: None, path: str = "/v1/adapters"
    ) -> dict[str, Any]:
        """Have a file fetched from another host, and wait for its verdict; its record. told: bytes, of how many."""
        return _json(self._judged(self._http.post(path, json=body), told))

    def picture(self, file: Path) -> dict[str, Any]:
        """Send a picture that requests draw from, and wait until it is decoded; its ref and size, and notes on it."""
        return _json(self._settled("/v1/images", file, {}), "ref")

    def recipe(self, file: Path) -> dict[str, Any]:
        """How a picture was made: the request that it means, and what of it cannot be said; or of a text file."""
        if file.suffix.lower() == ".txt":
            text = {"parameters": file.read_text("utf-8")}
            return self._json("POST", "/v1/images/recipe", "request", "unmatched", json=text)
        return _json(self._settled("/v1/images/recipe", file, {}), "request", "unmatched")

    def map_of(self, ref: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Have a map of a picture made, and wait for it; its ref and size."""
        path = f"/v1/images/{quote(ref, safe=':')}/preprocess"
        return _json(self._judged(self._http.post(path, json=asked, timeout=PATIENT)), "ref")

    def _settled(
        self, path: str, file: Path, fields: dict[str, Any], told: Callable[[int, int], None] = lambda *_: None
    ) -> httpx.Response:
        kind = path.removeprefix("/v1/")
        if kind in RESUMED and file.stat().st_size > resuming.FROM:
            where = self._below(resuming.send(self._asked, kind, file, fields, told))
            return self._judged(self._asked("GET", where))
        with file.open("rb") as stream:
            files = {"file": (file.name, stream)}
            response = self._http.post(path, files=files, data=fields, timeout=PATIENT)
        return self._judged(response)

    def _judged(self, response: httpx.Response, told: Callable[[int, int], None] = lambda *_: None) -> httpx.Response:
        while _checked(response).status_code == httpx.codes.ACCEPTED:
            seen = _json(response)
            told(int(seen.get("fetched_bytes", 0)), int(seen.get("size_bytes", 0)))
            time.sleep(INSPECTION_POLL_S)
            where = self._below(response.headers["Location"])
            response = self._again(lambda: _checked(self._http.get(where)))  # noqa: B023
        return response

    def _asked(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """The answer, after as many tries as it takes; one of them may have come through: then 409 is an answer."""

        def ask() -> httpx.Response:
            response = self._http.request(method, path, **arguments)
            return response if response.status_code == httpx.codes.CONFLICT else _checked(response)

        return self._again(ask)

    def bytes_known(self, sha256: str) -> dict[str, Any] | None:
        """The first adapter with these bytes, or None."""
        return self.known(f"sha256:{sha256}")

    def judge_placed(
        self,
        upload_id: str,
        name: str,
        description: str,
        cover: str | None = None,
        visibility: str | None = None,
        image_encoder: str = "",
    ) -> dict[str, Any] | None:
        """The record of a file that was put into the service's own store; None where it is not in that."""
        path = f"/v1/adapters/uploads/{upload_id}"
        said = {"name": name, "description": description, "cover": cover, "visibility": visibility}
        said["image_encoder"] = image_encoder
        return _if_known(lambda: _json(self._judged(self._http.post(path, json=said, timeout=PATIENT)), "name"))

    def usage(self, **asked: str | None) -> dict[str, Any]:
        """What jobs that have ended used, by owner and day; asked: `since`, `until`, `owner`."""
        params = {name: said for name, said in asked.items() if said is not None}
        return self._json("GET", "/v1/usage", "days", "total", params=params)

    def deliveries(self) -> list[dict[str, Any]]:
        """Webhooks, those first of which something was written last."""
        return self._json("GET", "/v1/webhooks", "deliveries")["deliveries"]

    def redeliver(self, generation_id: str) -> None:
        """Have the end of a generation told once more."""
        self._json("POST", f"/v1/webhooks/{quote(generation_id, safe='')}/redeliver", "id")

    def webhook_secret(self) -> str:
        """What webhooks of the key's owner are signed with."""
        return self._json("GET", "/v1/webhooks/secret", "secret")["secret"]

    def datasets(self) -> list[dict[str, Any]]:
        """Every dataset, newest first, without its pictures."""
        return self._json("GET", "/v1/datasets", "datasets")["datasets"]

    def delete_dataset(self, ref: str) -> None:
        """Delete a dataset."""
        _checked(self._http.delete(f"/v1/datasets/{quote(ref, safe=':')}"))

    def show_to(self, name: str, visibility: str) -> dict[str, Any]:
        """Say who may use an adapter; its record."""
        return self._json("PATCH", f"/v1/adapters/{quote(name)}", "name", json={"visibility": visibility})

    def delete(self, name: str) -> None:
        """Delete an adapter."""
        _checked(self._http.delete(f"/v1/adapters/{quote(name)}"))

    def _json(self, method: str, path: str, *holds: str, **arguments: Any) -> dict[str, Any]:
        return _json(_checked(self._http.request(method, path, **arguments)), *holds)

    def _below(self, url: str) -> str:
        """A path in an answer as one below the service's own address, which it may begin with."""
        return url.removeprefix(self._path) if url.startswith(f"{self._path}/") else url


def _if_known(ask: Callable[[], Answer]) -> Answer | None:
    """What is answered, or None where there is no such thing."""
    try:
        return ask()
    except Refused as refused:
        if refused.status in UNKNOWN:
            return None
        raise


def _json(response: httpx.Response, *holds: str) -> dict[str, Any]:
    """The object that was answered, which holds these."""
    found = json_object(response.content)
    if found is None or not all(name in found for name in holds):
        raise _stranger(response)
    return found


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    problem = json_object(response.content)
    if problem is not None and "code" in problem:
        raise Refused(problem, response.status_code)
    if response.is_server_error:  # of whatever stands before the service
        problem = {"detail": response.reason_phrase, "code": f"http_{response.status_code}"}
        raise Refused(problem, response.status_code)
    raise _stranger(response)


def _stranger(response: httpx.Response) -> Stranger:
    elsewhere = f", it points to {response.headers['Location']}" if response.is_redirect else ""
    return Stranger(
        f"{response.url} answers {response.status_code} {response.reason_phrase}{elsewhere}, not as Radiata does"
    )
