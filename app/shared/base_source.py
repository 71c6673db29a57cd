"""Where a base comes from, as `RADIATA_MODELS` has it: a string, or an object with what is taken from elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

DType = Literal["auto", "float32", "float16", "bfloat16"]
Quantize = Literal["int8", "fp8", "nf4"]
CHOICES = {"dtype": get_args(DType), "quantize": get_args(Quantize)}
NOT_YET = ("offload",)


@dataclass(frozen=True)
class BaseSource:
    """A folder, a file or a hub id; the parts that are taken from elsewhere; a dtype in place of the setting's."""

    source: str
    dtype: DType | None = None
    parts: Mapping[str, str | None] = field(default_factory=dict)  # part -> where it is; None where it is left out
    quantize: Quantize | None = None  # what its weights are made into when it is loaded

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
    parts = {name: place for name, place in said.items() if name != "source" and name not in CHOICES}
    for name, place in parts.items():
        if place is not None and not (isinstance(place, str) and place):
            raise ValueError(f"`{name}` is {place!r}; it is a folder, a file or a hub id, or null where it is left out")
    for name, choices in CHOICES.items():
        if said.get(name) is not None and said[name] not in choices:
            raise ValueError(f"`{name}` is {said[name]!r}; it is one of {', '.join(choices)}")
    return BaseSource(said["source"], said.get("dtype"), parts, said.get("quantize"))
