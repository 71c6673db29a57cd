"""Answers, judged: what the service says, what it refuses, and what is not Radiata at all."""

from typing import Any, NoReturn

from radiata_client.effects import Answer
from radiata_client.errors import Stranger, refused
from radiata_client.events import json_object


def json_of(answer: Answer, *holds: str) -> dict[str, Any]:
    """The object that was answered, which holds these; raises Stranger."""
    found = json_object(answer.content)
    if found is None or not all(name in found for name in holds):
        _strange(answer)
    return found


def checked(answer: Answer) -> Answer:
    """An answer that is none of a problem; raises Refused and Stranger."""
    if 200 <= answer.status < 300:
        return answer
    problem = json_object(answer.content)
    if problem is None or "code" not in problem:
        if answer.status < 500 and answer.status != 429:
            _strange(answer)
        problem = {"detail": answer.reason, "code": f"http_{answer.status}"}  # of whatever stands before the service
    raise refused(problem, answer.status, _seconds(answer.headers.get("retry-after")))


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() and len(text) < 7 else None


def _strange(answer: Answer) -> NoReturn:
    moved = answer.headers.get("location") if 300 <= answer.status < 400 else None
    elsewhere = f", it points to {moved}" if moved else ""
    raise Stranger(f"{answer.url} answers {answer.status} {answer.reason}{elsewhere}, not as Radiata does")
