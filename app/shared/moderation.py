"""The moderation hook: outside code of the operator's choice, asked before acceptance and before a picture is stored.

`RADIATA_MODERATION` names it: a URL, which is sent what is asked as JSON, signed as webhooks are, through the guard
that everything passes which this service asks of another host; or `module:function`, which is called with the same
object. It says yes, or no with a sentence. Whatever else comes of it, an answer that is none, an error, silence, is
that it is away; why is logged, and told to no caller.

What is asked: `{"type", "id", "owner", …}`; `type` is `request` (with `request`, every field of it, and pictures by
their refs), `training` (with `training`, likewise, and the `captions` of its dataset), or `picture` (with `picture`:
`index`, `format`, and `data`, base64; and with `request`, or of a training's sample its `prompt`). `id` is the
generation's or training's, and empty before it has one.

A URL answers `{"allow": true}`, or `{"allow": false, "message": "…"}`, with status 200. A function returns nothing, or
that sentence.
"""

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import suppress
from importlib import import_module
from threading import BoundedSemaphore, Thread
from typing import Any, cast

import structlog

from app.shared.environment import variable
from app.shared.errors import Moderated, ModerationAway, SourceAway, SourceRefused
from app.shared.fetching.fetcher import Bounds, Fetcher
from app.shared.owners import FIRST_SAID
from app.shared.settings import BadSettings, Settings
from app.shared.webhooks import signed

log = structlog.get_logger()

ANSWER_BYTES = 64 * 1024
LONGEST = 1000  # characters of the hook's sentence
AT_ONCE = 32  # calls of a function in one process
UNSAID = "what was asked for is not drawn here"
Ask = Callable[[Mapping[str, Any]], str | None]  # None, or why not; raises _Away


class _Away(Exception):
    """It has said neither yes nor no."""


class Moderation:
    """Asks the hook, where there is one. Raises Moderated where it says no, and ModerationAway where it is away.

    secret: gives what is asked is signed with.
    """

    def __init__(self, settings: Settings, secret: Callable[[], str], fetcher: Fetcher | None = None) -> None:
        """Raise BadSettings for a function that is not there."""
        self._refuses, self._seconds = settings.moderation_down == "refuse", settings.moderation_timeout_s
        self._ask: Ask | None = None
        hook = settings.moderation
        if hook and "://" in hook:
            self._ask = _Elsewhere(hook, secret, fetcher or Fetcher(settings.fetch_allow), self._seconds)
        elif hook:
            self._ask = _Here(_function(hook), self._seconds)

    @property
    def there(self) -> bool:
        """Whether there is a hook."""
        return self._ask is not None

    def request(self, request: Mapping[str, Any], owner: str) -> None:
        """Ask about a generation that is to be accepted."""
        self._judge({"type": "request", "id": "", "owner": owner or FIRST_SAID, "request": request})

    def training(self, training: Mapping[str, Any], captions: list[str], owner: str) -> None:
        """Ask about a training that is to be accepted."""
        asked = {"type": "training", "id": "", "owner": owner or FIRST_SAID, "training": training}
        self._judge(asked | {"captions": captions})

    def picture(self, job_id: str, owner: str, index: int, kind: str, data: bytes, **of: Any) -> None:
        """Ask about a picture that is to be stored; of: what it was drawn by."""
        picture = {"index": index, "format": kind, "data": base64.b64encode(data).decode()}
        self._judge({"type": "picture", "id": job_id, "owner": owner or FIRST_SAID, "picture": picture} | of)

    def _judge(self, asked: Mapping[str, Any]) -> None:
        if self._ask is None:
            return
        try:
            refusal = self._ask(asked)
        except _Away as away:
            log.warning("moderation_away", error=str(away), of=asked["type"], allowed=not self._refuses)
            if self._refuses:
                message = "the moderation of this service does not answer, and nothing is drawn without it: try again"
                raise ModerationAway("moderation_unavailable", message) from away
            return
        if refusal is not None:
            said = " ".join(refusal.split())[:LONGEST] or UNSAID
            raise Moderated("moderated", said)


class _Elsewhere:
    """A hook behind a URL."""

    def __init__(self, url: str, secret: Callable[[], str], fetcher: Fetcher, seconds: float) -> None:
        self._url, self._secret, self._fetcher, self._bounds = url, secret, fetcher, Bounds(ANSWER_BYTES, seconds)

    def __call__(self, asked: Mapping[str, Any]) -> str | None:
        body = json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()
        headers = signed(self._secret(), secrets.token_hex(16), int(time.time()), body)
        try:
            status, answer = self._fetcher.ask(self._url, body, headers, self._bounds)
        except (SourceAway, SourceRefused) as error:
            raise _Away(error.message) from error
        said: Any = None
        with suppress(ValueError, RecursionError):
            said = json.loads(answer)
        if status != 200 or not isinstance(said, dict) or type(said.get("allow")) is not bool:
            raise _Away(f'it answered {status}, and not 200 with {{"allow": true}} or {{"allow": false}}')
        found = cast(dict[str, Any], said)
        return None if found["allow"] else str(found.get("message") or "")


class _Here:
    """A hook that is a function, called in threads that keep no process from ending, should it never return."""

    def __init__(self, function: Callable[[Mapping[str, Any]], object], seconds: float) -> None:
        self._function, self._seconds = function, seconds
        self._room = BoundedSemaphore(AT_ONCE)

    def __call__(self, asked: Mapping[str, Any]) -> str | None:
        until = time.monotonic() + self._seconds
        if not self._room.acquire(timeout=self._seconds):
            raise self._slow()
        answer = Future[object]()
        Thread(target=self._call, args=(asked, answer), daemon=True, name="moderation").start()
        try:
            # What ends this job while it waits, as its time being up, is raised, and is no error of the function
            error = answer.exception(max(0.0, until - time.monotonic()))
        except TookTooLong:
            raise self._slow() from None
        if error is not None:  # whatever it raised, it has not said yes
            raise _Away(f"{type(error).__name__}: {error}") from error
        said = answer.result()
        if said is None or isinstance(said, str):
            return said
        raise _Away(f"it returned a {type(said).__name__}, and neither nothing nor a sentence")

    def _call(self, asked: Mapping[str, Any], answer: Future[object]) -> None:
        try:
            answer.set_result(self._function(asked))
        except BaseException as error:  # noqa: BLE001 - it is told to whoever waits
            answer.set_exception(error)
        finally:
            self._room.release()

    def _slow(self) -> _Away:
        return _Away(f"it took longer than {variable('moderation_timeout_s')} ({self._seconds:g} s) allows")


def _function(hook: str) -> Callable[[Mapping[str, Any]], object]:
    module, _, name = hook.partition(":")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # code of others may raise anything
        raise BadSettings(f"{variable('moderation')}: {hook} cannot be imported ({error})") from error
    if not callable(found):
        raise BadSettings(f"{variable('moderation')}: {hook} is no function")
    return found
