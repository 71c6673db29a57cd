"""What a check of `radiata doctor` has found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check; `wrong` says what to do, `note` is of what is only not running, or does not say."""

    check: str
    status: Literal["ok", "note", "wrong"]
    result: str
