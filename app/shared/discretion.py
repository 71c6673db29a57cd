"""What no line of a log says: passwords, keys and tokens; prompts and pictures of requests, unless a setting says so.

Secrets are known by their form, or as values of the environment; prompts by whoever handles a request, who names them
here for as long as its context lasts.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog

from app.shared.prompts import PROMPTS

PLAIN = ("level", "timestamp", "generation", "request_id")  # where nothing from outside stands as it was sent
HIDDEN, PROMPT = "[hidden]", "[prompt]"
SHORTEST = 4  # characters of a prompt that is looked for: of a shorter one every other word would be taken for it
OF_PROMPTS = frozenset(name for names in PROMPTS.items() for name in names)  # fields that are prompts, however short
NAMES = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_KEY$", re.IGNORECASE)  # of variables whose values are secret
QUERY = "(?:access|refresh|id)_?token|api_?key|client_secret|X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)"
FORMS = {
    re.compile(r"\brad_([0-9a-f]{12})_[A-Za-z0-9_-]{43}"): rf"rad_\1_{HIDDEN}",  # a key of ours: its id may be told
    re.compile(r"(?<=://)[^/\s@'\"]*@"): f"{HIDDEN}@",
    re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE): rf"\1 {HIDDEN}",
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"): HIDDEN,
    re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,}"): HIDDEN,
    re.compile(r"\bradiata=[^;,\s'\"]{16,}"): f"radiata={HIDDEN}",  # a session's cookie
    re.compile(
        rf"((?:[?&](?:token|key|sig|signature|password)|\b(?:{QUERY}))=)[^&\s'\"]+", re.IGNORECASE
    ): rf"\1{HIDDEN}",
    re.compile(r"data:image/[a-z+.-]+;base64,[A-Za-z0-9+/=]+"): "data:[picture]",
}
_prompts: ContextVar[tuple[str, ...]] = ContextVar("prompts of what is done now", default=())


def hide(texts: Iterable[str | None]) -> None:
    """Keep these prompts out of the log, as they are and as Python and JSON quote them, until others are named."""
    kept = {text for text in texts if text and len(text) >= SHORTEST}
    written = {form for text in kept for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1])}
    _prompts.set(tuple(sorted(written, key=len, reverse=True)))


def prompts_of(request: object) -> Iterator[str | None]:
    """The texts of a request that say what its picture shows."""
    return (getattr(request, name, None) for name in OF_PROMPTS)


def texts_of_training(request: object) -> Iterator[str | None]:
    """The texts of a training that say what its pictures show, but for the captions of its dataset."""
    yield from (getattr(request, name, None) for name in ("default_caption", "trigger"))
    yield from (one.prompt for one in getattr(request, "samples", ()))


class Discretion:
    """The step of structlog's chain, before rendering, that takes out what nobody should read."""

    def __init__(self, environment: Mapping[str, str] = os.environ, prompts: bool = False) -> None:
        """prompts: whether those are logged."""
        self._secrets = sorted(set(_secrets(environment)), key=len, reverse=True)
        self._with_prompts = prompts

    def __call__(self, _logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """An event without them."""
        return {name: value if name in PLAIN else self._field(name, value) for name, value in event.items()}

    def _field(self, name: Any, value: Any) -> Any:
        if name in OF_PROMPTS and value and not self._with_prompts:
            return PROMPT
        return self._told(value)

    def _told(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {self._told(name): self._field(name, one) for name, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._told(one) for one in value]
        return value if value is None or isinstance(value, bool | int | float) else self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for form, instead in FORMS.items():
            text = form.sub(instead, text)
        for prompt in () if self._with_prompts else _prompts.get():
            text = text.replace(prompt, PROMPT)
        return text


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if NAMES.search(name) and len(value) >= 8:
            yield value
        if "://" in value and name.endswith("_URL"):
            password = urlsplit(value).netloc.rpartition("@")[0].partition(":")[2]
            yield from {one for one in (password, unquote(password)) if len(one) >= SHORTEST}
