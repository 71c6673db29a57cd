"""What can go wrong, as types: refused by the service, not reached, not Radiata, or ended without a picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx


class RadiataError(Exception):
    """Everything that this package raises of its own."""


class Refused(RadiataError):
    """The service answered with a problem (RFC 9457): `code` is for programs, the text for people.

    errors: every place that is wrong, each with its `pointer`, `code` and `message`; retry_after: seconds, where the
    service says when to ask again.
    """

    def __init__(self, problem: Mapping[str, Any], status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.get('detail') or problem.get('title')} [{problem.get('code')}]")
        self.problem = dict(problem)
        self.code: str = str(problem.get("code"))
        self.errors: list[dict[str, Any]] = problem.get("errors") or []
        self.status = status
        self.retry_after = retry_after

    @property
    def pointers(self) -> Sequence[str]:
        """The places in what was sent, as JSON pointers (RFC 6901); empty: all of it."""
        return [str(one["pointer"]) for one in self.errors if "pointer" in one]


class Invalid(Refused):
    """What was sent cannot be obeyed: 400, 413, 415, 422."""


class KeyNeeded(Refused):
    """No key, or one that does not count: 401."""


class Forbidden(Refused):
    """The key may not do that: 403."""


class NotFound(Refused):
    """There is no such thing, or no longer: 404, 410."""


class Conflict(Refused):
    """What is there stands against it: 409."""


class TooMany(Refused):
    """A limit of the caller is reached: 429."""


class Unavailable(Refused):
    """The service cannot take it now, or something before it cannot reach it: 500 and above."""


class Unreachable(RadiataError, httpx.TransportError):
    """Nobody answers, or the connection broke and stayed broken."""


class Stranger(RadiataError):
    """The server at this address does not answer as Radiata does."""


class Ended(RadiataError):
    """A job ended without what it was for; job: as it ended."""

    def __init__(self, message: str, code: str, job: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.job = dict(job)


class Failed(Ended):
    """It failed; `code` says of what."""


class Canceled(Ended):
    """Somebody canceled it."""


OF_STATUS: Mapping[int, type[Refused]] = {
    **dict.fromkeys((400, 413, 415, 422), Invalid),
    401: KeyNeeded,
    403: Forbidden,
    **dict.fromkeys((404, 410), NotFound),
    409: Conflict,
    429: TooMany,
}


def refused(problem: Mapping[str, Any], status: int, retry_after: float | None = None) -> Refused:
    """The error of a problem."""
    return OF_STATUS.get(status, Unavailable if status >= 500 else Refused)(problem, status, retry_after)
