"""Times as people type them: so long from now, or before now, or a day."""

import re
from datetime import UTC, datetime, timedelta

from app.shared.settings import BadSettings

UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def read_time(option: str, text: str, sign: int) -> datetime:
    """Return a moment: `30d`, `12h` or `90m` from now (sign 1) or before it (-1), or a date of UTC, or with a zone.

    option: what it was typed for; raises BadSettings for what is none of these.
    """
    try:
        if match := re.fullmatch(r"([1-9][0-9]{0,5})([dhm])", text):
            return datetime.now(UTC) + sign * timedelta(**{UNITS[match[2]]: int(match[1])})
        when = datetime.fromisoformat(text)
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        message = f"{option}: {text!r} is neither a time (30d, 12h, 90m) nor a date (2027-01-31)"
        raise BadSettings(message) from error
