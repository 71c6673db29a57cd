"""What a form's names say of objects and lists: `lora[name]`, `adapters[]`, `adapters[][ref]`.

So OpenAI's client flattens what stands in `extra_body` beside a file. Of a list of objects it writes all values of one
key after the other: which belongs to which is clear only where each object has each key.
"""

import re
from collections.abc import Iterable
from typing import Any

from app.faces.adapter_shapes import NAMES
from app.http.faults import refusal

NAME = re.compile(r"([a-z_]+)((?:\[[^][]{0,64}\]){1,3})")
NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,17})?(e-?[0-9]{1,2})?")


def is_flattened(name: str, heads: Iterable[str]) -> bool:
    """Whether a field's name is that of a part of one of these fields."""
    found = NAME.fullmatch(name)
    return bool(found and found[1] in heads)


def nested(sent: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the fields that flattened ones (name, text) mean; raise BadRequest where that is not clear."""
    said: dict[str, dict[tuple[str, ...], list[Any]]] = {}
    for name, text in sent:
        head, steps = _parts(name)
        said.setdefault(head, {}).setdefault(steps, []).append(_value(steps, text))
    return {head: _together(head, parts) for head, parts in said.items()}


def _together(head: str, parts: dict[tuple[str, ...], list[Any]]) -> Any:
    if {steps[0] for steps in parts} != {""}:
        if any("" in steps or len(values) > 1 for steps, values in parts.items()):
            raise _unclear(head)
        return _object(parts, 0)
    if ("",) in parts:  # a list of plain values
        if len(parts) > 1:
            raise _unclear(head)
        return parts["",]
    counts = {len(values) for values in parts.values()}
    if len(counts) > 1 or any("" in steps[1:] for steps in parts):
        raise _unclear(head)
    inner = {steps[1:]: values for steps, values in parts.items()}
    return [_object(inner, at) for at in range(counts.pop())]


def _object(parts: dict[tuple[str, ...], list[Any]], at: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for (*way, last), values in parts.items():
        place = made
        for step in way:
            place = place.setdefault(step, {})
        place[last] = values[at]
    return made


def _parts(name: str) -> tuple[str, tuple[str, ...]]:
    head, _, rest = name.partition("[")
    return head, tuple(rest.removesuffix("]").split("]["))


def _value(steps: tuple[str, ...], text: str) -> Any:
    if steps[-1] in NAMES or steps == ("",) or not NUMBER.fullmatch(text):
        return text
    return float(text) if set(text) & set(".e") else int(text)


def _unclear(head: str) -> Exception:
    message = (
        f"a form does not say which part of {head} belongs to which: give each entry the same keys, or send {head} as "
        "a JSON string, or name the adapters in model, as base:a@0.8+b@0.5"
    )
    return refusal([head], "adapter_unreadable", message)
