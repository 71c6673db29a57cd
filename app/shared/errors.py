"""What can go wrong between a request and its picture, as one tree.

RadiataError                      has a stable `code`, an HTTP `status`, and says what to do
├── BadRequest (422)              the request cannot be honoured as it stands
│   ├── AdapterRefused            an uploaded file is not an adapter for any model here
│   ├── PictureRefused            an uploaded file is not a picture that is taken here
│   ├── SourceRefused             what lies on another host may not be fetched, or is not what was asked for
│   ├── Moderated                 the operator's moderation hook says no
│   └── AdapterMisfit             a known adapter does not fit the chosen model
├── Unauthorized (401)            a key is needed, and there is none, or none that is good
├── Forbidden (403)               the key may not do that
├── NotFound (404)                no such generation, adapter, image or model
├── Gone (410)                    it was there and was deleted
│   └── Deleted                   a generation was, and its record says so
├── Conflict (409)                an idempotency key used for another body; an end already reached
├── TooLarge (413)                an upload over the cap
├── TooMany (429)                 more than the caller may, at once or in a minute
├── Unreadable (502)              one stored record is not what was written; all others are
│   └── Newer (503)               newer code wrote it, and can read it
├── WrongType (415)               a body of another content type than the one it should be
└── Unavailable (503)             queue, storage or model not there right now: try again
    ├── SourceAway                another host does not answer, or not to the end
    ├── ModerationAway            the operator's moderation hook says nothing
    └── NoRoom (507)              storage, or the folder for temporary files, is full
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar


class RadiataError(Exception):
    """Something a caller can be told about: `code` for programs, the message for people.

    members: further members of the problem that is answered (RFC 9457, 3.2). retry_after_s: when the same request is
    worth another try, where that is known.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        reasons: Sequence[dict[str, Any]] = (),
        members: Mapping[str, Any] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.code = code
        self.message = message
        self.reasons = tuple(reasons)
        self.members = members or {}


class BadRequest(RadiataError):
    """The request is understood and cannot be honoured as it stands."""

    status = 422
    title = "The request cannot be honoured"


class AdapterRefused(BadRequest):
    """An uploaded file was inspected and refused; `reasons` names every offender."""

    title = "The adapter file was refused"


class PictureRefused(BadRequest):
    """An uploaded file is no picture, or none that is taken here."""

    title = "The picture was refused"


class DatasetRefused(BadRequest):
    """What was sent is no dataset; `reasons` names every file that is wrong."""

    title = "The dataset was refused"


class SourceRefused(BadRequest):
    """What lies on another host may not be fetched, or is not what was asked for; another try changes nothing."""

    title = "The source was refused"


class AdapterMisfit(BadRequest):
    """An adapter is known, but has no place on the chosen model."""

    title = "The adapter does not fit this model"


class Moderated(BadRequest):
    """The operator's moderation hook says no, with a sentence of its own."""

    title = "Refused by the moderation of this service"


class Unauthorized(RadiataError):
    """Nobody who may use this service is known to have sent it."""

    status = 401
    title = "A key is needed"


class Forbidden(RadiataError):
    """The caller is known, and may not do that."""

    status = 403
    title = "Forbidden"


class NotFound(RadiataError):
    """No such thing."""

    status = 404
    title = "Not found"


class Gone(RadiataError):
    """It existed and was deleted."""

    status = 410
    title = "Deleted"


class Deleted(Gone):
    """Where the record of the end of a generation or training was, one says that it was deleted.

    text: that record; owner, at: of it.
    """

    def __init__(self, code: str, message: str, *, owner: str, at: datetime, text: bytes) -> None:
        super().__init__(code, message)
        self.owner = owner
        self.at = at
        self.text = text


class Conflict(RadiataError):
    """The request contradicts what was accepted before."""

    status = 409
    title = "Conflict"


class TooLarge(RadiataError):
    """A body over the size cap."""

    status = 413
    title = "Too large"


@dataclass(frozen=True)
class Standing:
    """Where a caller stands with a limit.

    window_s: seconds in which as many are allowed; 0 where it is no rate. reset_s: seconds until one more is, or until
    it is worth asking again.
    """

    name: str
    limit: int
    remaining: int
    reset_s: int
    window_s: int = 0


class TooMany(RadiataError):
    """The caller has reached a limit of its own, and the same request works later, or once it has made room."""

    status = 429
    title = "A limit is reached"

    def __init__(self, code: str, message: str, standing: Standing) -> None:
        super().__init__(code, message, members={"limit": {"name": standing.name, "limit": standing.limit}})
        self.standing = standing


class Unreadable(RadiataError):
    """A record in storage is empty, cut off or spoilt; it alone is.

    Not a 500, which is a bug of ours: storage gave back something else than it was given.
    """

    status = 502
    title = "A stored record cannot be read"

    def __init__(self, code: str, message: str, *, key: str = "", why: str = "") -> None:
        super().__init__(code, message)
        self.key = key
        self.why = why


class Newer(Unreadable):
    """A record that newer code has written: it is left as it is: a machine with that code can read it."""

    status = 503
    title = "A newer version wrote this record"


class WrongType(RadiataError):
    """A body of a content type that is not read here."""

    status = 415
    title = "Another content type is needed"


class WrongVersion(RadiataError):
    """It speaks a version of a protocol that is not spoken here."""

    status = 412
    title = "Another version is spoken here"


class Unavailable(RadiataError):
    """A part of the service is not there right now; the same request may work in a moment."""

    status = 503
    title = "Try again in a moment"


class SourceAway(Unavailable):
    """Another host does not answer, or not to the end."""


class ModerationAway(Unavailable):
    """The operator's moderation hook says neither yes nor no."""


class NoRoom(Unavailable):
    """Storage or a folder is full: the same request works once somebody has made room."""

    status = 507
    title = "No room"
