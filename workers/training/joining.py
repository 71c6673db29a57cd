"""Arguments of several pictures' calls as those of one call: how, is found from a call for two prompts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SAME, ROWS, ITEMS = "same", "rows", "items"  # one value for all; tensors joined along their first axis; lists in a row


class Unlike(Exception):  # it is no fault: these calls are made one by one
    """Two calls that cannot be made as one."""


def way_of(one: Any, two: Any) -> Any:
    """Return how an argument is joined, from its values in a call for one prompt and in one for the same prompt twice.

    Raises Unlike.
    """
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.shape == two.shape:
            return SAME
        if one.dim() and two.shape == (2 * len(one), *one.shape[1:]):
            return ROWS
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple):
        if len(two) == 2 * len(one):
            return ITEMS
        if len(one) == len(two):
            return [way_of(*pair) for pair in zip(one, two, strict=True)]
    elif isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return {name: way_of(one[name], two[name]) for name in one}
    elif type(one) is type(two) and one == two:
        return SAME
    raise Unlike


def joined(way: Any, values: Sequence[Any]) -> Any:
    """Return the values of several calls as that of one; raises Unlike where one call cannot have them all."""
    first = values[0]
    if isinstance(way, dict):
        return {name: joined(one, [value[name] for value in values]) for name, one in way.items()}
    if isinstance(way, list):
        return [joined(one, [value[at] for value in values]) for at, one in enumerate(way)]
    if way == ITEMS:
        return [item for value in values for item in value]
    if way == ROWS:
        if any(value.shape[1:] != first.shape[1:] for value in values):
            raise Unlike
        return torch.cat(list(values))
    if not all(equal(first, value) for value in values[1:]):
        raise Unlike
    return first


def equal(one: Any, two: Any) -> bool:
    """Tell whether two arguments are the same to the bit."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[name], two[name]) for name in one)
    return type(one) is type(two) and one == two
