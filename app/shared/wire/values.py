"""Kinds of values on the wire, and the base of all its objects: frozen JSON without unknown fields."""

import re
from contextlib import suppress
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
REF_PATTERN = r"^(sha256:[0-9a-f]{64}|[a-z0-9][a-z0-9._-]{0,63}(:[1-9][0-9]{0,8})?)$"
OWNED_REF_PATTERN = REF_PATTERN.replace("|[", "|([a-z0-9][a-z0-9-]{0,31}/)?[", 1)
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)"
PAIR_PATTERN = r"^[^=]{1,64}=[\s\S]{0,512}$"  # of metadata, in a query
OWNER_PATTERN = r"^([a-z0-9][a-z0-9-]{0,31})?$"


def _digits(value: Any) -> Any:
    # Of an address, where everything is text: 10, and not " 1_0 "
    return int(value) if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,17}", value) else value


def _said(value: Any) -> Any:
    # The same: true, and not "yes" or 1
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _moment(value: Any) -> Any:
    # A time and its zone, and not a number of seconds, or a day
    if isinstance(value, str) and re.fullmatch(MOMENT, value):
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    return value


def _day(value: Any) -> Any:
    # A day, and not a number of seconds
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    return value


Moment = Annotated[datetime, Strict(), BeforeValidator(_moment)]  # in a query
Day = Annotated[date, Strict(), BeforeValidator(_day)]  # in a query
Truth = Annotated[bool, Strict(), BeforeValidator(_said)]  # in a query
# Numbers of the wire are strict: never true, never "1"
Seed = Annotated[int, Strict(), Field(ge=0, le=2**53 - 1), BeforeValidator(_digits)]  # the same
Limit = Annotated[int, Strict(), Field(ge=1, le=200), BeforeValidator(_digits)]  # of a list, in a query
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Ref = Annotated[str, StringConstraints(pattern=REF_PATTERN)]
OwnedRef = Annotated[str, StringConstraints(pattern=OWNED_REF_PATTERN)]  # in a body; in a path, the owner is a query
Owner = Annotated[str, StringConstraints(pattern=OWNER_PATTERN)]  # empty: the first, before there were keys


class Wire(BaseModel):
    """Frozen, and strict about fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
