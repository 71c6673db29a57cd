"""What another API's face makes of what it was sent, judged as a body of our own would be."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.http.faults import fault, pointer, refused

M = TypeVar("M", bound=BaseModel)


def judged(kind: type[M], said: Mapping[str, Any]) -> M:
    """Return an object of a kind; raise BadRequest with every place that is wrong."""
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise refused([fault(pointer(one["loc"]), one["type"], one["msg"]) for one in found]) from error
