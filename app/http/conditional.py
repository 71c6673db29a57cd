"""Conditional and partial GET (RFC 9110, 13 and 14) of bytes that never change under their tag."""

import re

from fastapi import Request

TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.IGNORECASE)


class OutOfRange(Exception):
    """A range that has nothing of what is there."""


def not_modified(request: Request, tag: str) -> bool:
    """Tell whether the client has it already: one of its tags, or `*`, is this one."""
    tags = ",".join(request.headers.getlist("if-none-match")).strip()
    return tags == "*" or tag.strip('"') in TAG.findall(tags)


def part_of(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    """The part that is asked for, as start and end (exclusive); None is all of it.

    Several ranges at once, ranges of something else than bytes and such as make no sense are passed over, as the RFC
    allows: then all of it is sent. Raises OutOfRange.
    """
    ranges = request.headers.getlist("range")
    match = RANGE.fullmatch(ranges[0].strip()) if len(ranges) == 1 else None
    if match is None or not (match[1] or match[2]):
        return None
    if request.headers.get("if-range", tag) != tag:
        return None  # it changed since, or is named by a date: nothing here is known by its date
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
        if match[2].strip("0") == "":
            raise OutOfRange
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= size:
        raise OutOfRange
    return start, end
