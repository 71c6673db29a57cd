"""Where a caller stands with a limit, in headers: the older three fields that clients read, and those of the draft.

`RateLimit-Limit`, `-Remaining` and `-Reset` are of draft-ietf-httpapi-ratelimit-headers-06 and before; `RateLimit` and
`RateLimit-Policy` of the later ones (11, 2026).
"""

from app.shared.errors import Standing

FIELDS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "RateLimit")


def headers_of(standing: Standing) -> dict[str, str]:
    """The fields that tell of a limit."""
    window = f";w={standing.window_s}" if standing.window_s else ""
    values = (
        str(standing.limit),
        str(standing.remaining),
        str(standing.reset_s),
        f'"{standing.name}";q={standing.limit}{window}',
        f'"{standing.name}";r={standing.remaining};t={standing.reset_s}',
    )
    return dict(zip(FIELDS, values, strict=True))


def refusal_headers(standing: Standing) -> dict[str, str]:
    """The same of a request that was refused, and when to come back."""
    return {"Retry-After": str(max(1, standing.reset_s)), **headers_of(standing)}
