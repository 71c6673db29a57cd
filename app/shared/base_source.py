"""Where a base comes from, as `RADIATA_MODELS` has it: a string, or an object with what is taken from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

DType = Literal["auto", "float32", "float16", "bfloat16"]
NOT_YET = ("quantize", "offload")


@dataclass(frozen=True)
class BaseSource:
    """A folder, a file or a hub id; the parts that are taken from elsewhere; the dtype in place of the setting's."""

    source: str
    dtype: DType | None = None
    parts: Mapping[str, str | None] = field(default_factory=dict)  # part -> where it is; None where it is left out

    def __str__(self) -> str:
        return self.source


def read_source(said: Any) -> BaseSource:
    """Return what a value of `RADIATA_MODELS` says; raises ValueError with a sentence."""
    if isinstance(said, str):
        said = {"source": said}
    if not (isinstance(said, dict) and isinstance(said.get("source"), str) and said["source"]):
        raise ValueError("a base is a folder, a file or a hub id, or an object that has one as its `source`")
    if early := [name for name in NOT_YET if name in said]:
        raise ValueError(f"`{early[0]}` is not served: leave it out")
    parts = {name: place for name, place in said.items() if name not in ("source", "dtype")}
    for name, place in parts.items():
        if place is not None and not (isinstance(place, str) and place):
            raise ValueError(f"`{name}` is {place!r}; it is a folder, a file or a hub id, or null where it is left out")
    dtype = said.get("dtype")
    if dtype is not None and dtype not in get_args(DType):
        raise ValueError(f"`dtype` is {dtype!r}; it is one of {', '.join(get_args(DType))}")
    return BaseSource(said["source"], dtype, parts)
