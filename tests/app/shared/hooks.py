"""A moderation hook as an operator may have one: it says no to what it does not like, and remembers."""

import sys
import time
from collections.abc import Mapping
from typing import Any

ASKED: list[Mapping[str, Any]] = []
AWAY: list[int] = []  # as many calls as it has members are answered by nobody
NO = "no pears, please"


def judge(asked: Mapping[str, Any]) -> str | None:
    """Say no to pears, and to the second picture of two; be away for whoever asks for a storm."""
    ASKED.append(asked)
    if AWAY and AWAY.pop():
        raise ConnectionError("nobody is here")
    said = f"{asked.get('request')} {asked.get('training')} {asked.get('captions')} {asked.get('prompt')}"
    if "storm" in said:
        raise ConnectionError("nobody is here")
    if "end" in said:
        sys.exit(3)
    if "slow" in said:
        time.sleep(2)
    if "pear" in said or ("second" in said and asked["type"] == "picture" and asked["picture"]["index"] == 1):
        return NO
    return None


no_function = 7
