"""How the service is talked to: tries, patience, following a job to its end, files in. No line here waits or sends.

What is accepted goes on whoever dies, so a service that is away meanwhile is waited for; and what is begun carries an
`Idempotency-Key`, so that asking twice is asking once.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

from radiata_client import resuming
from radiata_client.answers import checked, json_of
from radiata_client.effects import Answer, Ask, Hear, Listen, Operation, Pause, T, Tell
from radiata_client.errors import Refused, Stranger
from radiata_client.events import Event, EventReader

GENERATIONS, TRAININGS = "/v1/generations", "/v1/trainings"
ENDS = ("succeeded", "failed", "canceled")
AWAY = (502, 503, 504)
LATER = (429, *AWAY)  # asked again, it may be answered
INSPECTION_POLL_S = 0.5
PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0  # between two tries, where the service does not say when
RESUMED = ("adapters", "datasets")  # what is sent in parts where it is large
# Of what begins something: with these it may have come through, and nothing says so
LOST = (httpx.ReadError, httpx.WriteError, httpx.ReadTimeout, httpx.WriteTimeout, httpx.DecodingError)


class Core:
    """Operations on one service.

    patience_s: how long a service that has taken work on and is away is waited for. begin_s: how long work that it
    does not take yet (503, 429) is offered again, with the same key; `Retry-After` is obeyed in both.
    """

    def __init__(self, url: str, patience_s: float, begin_s: float) -> None:
        self._url, self._prefix = url, urlsplit(url).path.rstrip("/")
        self.patience_s, self.begin_s = patience_s, begin_s
        self.clock: Callable[[], float] = time.monotonic

    def ask(self, method: str, path: str, *holds: str, **arguments: Any) -> Operation[dict[str, Any]]:
        """The object that is answered, which holds these; asked once. Raises Refused and Stranger."""
        return json_of(checked((yield Ask(method, path, **arguments))), *holds)

    def look(self, path: str, *holds: str, **arguments: Any) -> Operation[dict[str, Any]]:
        """The same of what may be asked again without harm."""
        return json_of((yield from self.again(Ask("GET", path, **arguments))), *holds)

    def sent(self, method: str, path: str, **arguments: Any) -> Operation[Answer]:
        """An answer that may be empty; asked once."""
        return checked((yield Ask(method, path, **arguments)))

    def again(self, ask: Ask, known: tuple[int, ...] = ()) -> Operation[Answer]:
        """The answer, after as many tries as patience has. known: statuses that are answers too."""
        until, pause_s = self.clock() + self.patience_s, PAUSE_S
        while True:
            told = None
            try:
                answer: Answer = yield ask
                return answer if answer.status in known else checked(answer)
            except (httpx.TransportError, httpx.DecodingError):
                if self.clock() > until:
                    raise
            except Refused as problem:
                told = problem.retry_after
                if problem.status not in LATER or self.clock() + (told or 0) > until:
                    raise
            yield Pause(max(pause_s, told or 0))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def begin(self, path: str, body: Any, *holds: str, key: str | None = None) -> Operation[dict[str, Any]]:
        """Begin something, once, however often it has to be asked for. key: its Idempotency-Key, else a new one."""
        ask = Ask("POST", path, json=body, headers={"Idempotency-Key": key or uuid4().hex})
        until, pause_s = self.clock() + self.begin_s, PAUSE_S
        while True:
            try:
                return json_of(checked((yield ask)), *holds)
            except LOST:
                return json_of((yield from self.again(ask)), *holds)
            except httpx.RemoteProtocolError as error:
                if not any(word in str(error) for word in ("disconnected", "closed", "incomplete")):
                    raise  # not HTTP at all
                return json_of((yield from self.again(ask)), *holds)
            except Refused as problem:
                wait_s = max(pause_s, problem.retry_after or 0)
                if problem.status not in LATER or self.clock() + wait_s > until:
                    raise
            yield Pause(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def follow(
        self,
        below: str,
        job: Mapping[str, Any],
        shown: Callable[[Event], Any] = lambda event: event,
        previews: bool = False,
    ) -> Operation[dict[str, Any]]:
        """Follow a job to its end and give it as it ended, however often streams break.

        shown: what is told of an event, each once; None is not told.
        """
        path, pause_s = f"{below}/{quote(job['id'], safe='')}", PAUSE_S
        seen: dict[str, None] = {}  # ids of events, in their order
        found = dict(job)
        while found["status"] not in ENDS:
            before = len(seen)
            with suppress(httpx.TransportError, httpx.DecodingError):
                yield from self._hear(path, seen, shown, previews)
            # A stream may be cut short; what counts is what the service says
            found = yield from self.look(path, "id", "status")
            if len(seen) > before:
                pause_s = PAUSE_S
            elif found["status"] not in ENDS:  # something before the service lets no events through
                yield Pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return found

    def _hear(self, path: str, seen: dict[str, None], shown: Callable[[Event], Any], previews: bool) -> Operation[None]:
        last = next(reversed(seen), None)
        headers = {"Last-Event-ID": last} if last else {}
        answer: Answer = yield Listen(f"{path}/events", headers, {"previews": "1"} if previews else None)
        if answer.status in LATER:
            return
        checked(answer)
        reader = EventReader()
        while (data := (yield Hear())) is not None:
            for event in reader.feed(data):
                if event.id in seen:
                    continue
                if event.id:  # a preview has none
                    seen[event.id] = None
                if (told := shown(event)) is not None:
                    yield Tell(told)

    def settle(
        self, path: str, file: Path | bytes, name: str, form: Mapping[str, Any], *holds: str
    ) -> Operation[dict[str, Any]]:
        """Send a file, wait for what is made of it; its record. A large one goes in parts, whose bytes are told."""
        kind = path.removeprefix("/v1/")
        if kind in RESUMED and isinstance(file, Path) and file.stat().st_size > resuming.FROM:
            where = self.below((yield from resuming.send(self.tried, kind, file, form)))
            return (yield from self.settled_answer((yield from self.tried(Ask("GET", where))), *holds))
        return (
            yield from self.settled_answer_of(Ask("POST", path, file=(name, file), form=form, patient=True), *holds)
        )

    def settled_answer_of(self, ask: Ask, *holds: str) -> Operation[dict[str, Any]]:
        """The record that is answered at last to what is asked once."""
        return (yield from self.settled_answer((yield ask), *holds))

    def settled_answer(self, answer: Answer, *holds: str) -> Operation[dict[str, Any]]:
        """The record that is answered at last; while a file is fetched or inspected, bytes so far are told."""
        while checked(answer).status == httpx.codes.ACCEPTED:
            seen = json_of(answer)
            yield Tell((int(seen.get("fetched_bytes", 0)), int(seen.get("size_bytes", 0))))
            yield Pause(INSPECTION_POLL_S)
            answer = yield from self.again(Ask("GET", self.below(answer.headers["location"])))
        return json_of(answer, *holds)

    def tried(self, ask: Ask) -> Operation[Answer]:
        """The answer, after as many tries as it takes; one of them may have come through: then 409 is an answer."""
        return (yield from self.again(ask, known=(httpx.codes.CONFLICT,)))

    def below(self, url: str) -> str:
        """A path in an answer as one below the service's own address, which it may begin with.

        Raises Stranger for an address elsewhere, to which the key would go.
        """
        if urlsplit(url).netloc:
            if not url.startswith(f"{self._url}/"):
                raise Stranger(f"{url} is not below {self._url}, and the key is for that alone")
            return url.removeprefix(self._url)
        return url.removeprefix(self._prefix) if url.startswith(f"{self._prefix}/") else url


def if_known(operation: Operation[T]) -> Operation[T | None]:
    """What an operation gives, or None where there is no such thing."""
    try:
        return (yield from operation)
    except Refused as problem:
        if problem.status in (404, 410):
            return None
        raise
