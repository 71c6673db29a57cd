"""`radiata.json` in a model folder: what is meant in place of what is read off the pipeline, and of which parts."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from app.shared.wire.values import Wire
from workers.models.weight_files import Unservable

OWN = "radiata.json"  # in a model folder: an `Own`, and parts by name

Edge = Annotated[int, Field(ge=8, le=16384)]
Place = str | None


class Own(Wire):
    """What a model folder says in place of what is read off its pipeline."""

    model_config = ConfigDict(strict=True)

    steps: int | None = Field(None, ge=1)
    guidance_scale: float | None = Field(None, ge=0, le=100)
    width: Edge | None = None
    height: Edge | None = None
    suggestions: tuple[str, ...] = ()


NOTHING = Own.model_validate({})


@dataclass(frozen=True)
class Said:
    """Everything that the file says."""

    own: Own
    parts: Mapping[str, Place]  # part of the pipeline -> where it is; None where it is left out


def own_of(folder: Path, parts: Collection[str], further: Callable[[str], bool] = lambda _: False) -> Said:
    """Return what the file in a folder says of a pipeline with these parts; raises Unservable.

    further: whether a name is that of one more part.
    """
    path = folder / OWN
    if not path.is_file():
        return Said(NOTHING, {})
    try:
        whole = TypeAdapter(dict[str, Any]).validate_json(path.read_bytes())
        named = {*parts, *filter(further, whole)}
        known = [*Own.model_fields, *parts, *filter(further, whole)]
        for name, value in whole.items():
            if name not in known:
                near = get_close_matches(name, known, n=1, cutoff=0)[0]
                raise Unservable(f"{path} cannot be used: there is no {name!r}; did you mean {near!r}?")
            if name in named and not isinstance(value, str | None):
                raise Unservable(
                    f"{path} cannot be used: {name} is {value!r}; it is a folder, a file, a hub id or null"
                )
        places = {name: place for name, place in whole.items() if name in named}
        rest = {name: value for name, value in whole.items() if name not in named}
        # As JSON, where a list is a tuple
        return Said(Own.model_validate_json(TypeAdapter(dict[str, Any]).dump_json(rest)), places)
    except ValidationError as error:
        wrong = "; ".join(_sentence(one) for one in error.errors(include_url=False))
        raise Unservable(f"{path} cannot be used: {wrong}") from error


def _sentence(wrong: Any) -> str:
    place = ".".join(map(str, wrong["loc"]))
    told = f"{wrong['msg'][:1].lower()}{wrong['msg'][1:]}"
    return f"{place} is {wrong['input']!r}: {told}" if place else f"it is no object in JSON: {told}"
