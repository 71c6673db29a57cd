"""What the call of a pipeline takes, and what its arguments are by default."""

import inspect
from collections.abc import Mapping
from typing import Any

NEEDED = ("prompt", "generator")  # a seed is obeyed with the second


def arguments_of(pipeline: type) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of the call of a pipeline's class, by name."""
    return inspect.signature(pipeline.__call__).parameters


def default_of(pipeline: Any, argument: str, kind: Any) -> Any:
    """Return the default of an argument of a pipeline's call; None where it has none of that kind."""
    takes = arguments_of(type(pipeline))
    default = takes[argument].default if argument in takes else None
    return default if isinstance(default, kind) else None
