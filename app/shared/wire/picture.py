"""Pictures that a request draws from, on the wire: how it names one, and what is known of one that is stored."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, StringConstraints

from app.shared.wire.values import Whole, Wire

MOST_EDGE = 16384
MOST_PIXELS = 2**26  # 67 million: decoded, some copies of it fit into what an inspection may take
REF_PREFIX = "image:"
DATA_PREFIX = "data:"
REF_PATTERN = r"^image:[0-9a-f]{64}$"
IN_PATTERN = r"^(image:[0-9a-f]{64}|data:image/[a-z0-9.+-]{1,32};base64,[A-Za-z0-9+/]+={0,2})$"
IS_PICTURE = object()  # among the metadata of a field: what stands there names a picture

Fit = Literal["refuse", "stretch", "crop", "pad"]
Pixels = Annotated[Whole, Field(ge=1, le=MOST_EDGE)]
PictureRef = Annotated[str, StringConstraints(pattern=REF_PATTERN)]
# In a request: a ref, or a data URL, which acceptance turns into a ref. A field of this type needs nothing else
PictureIn = Annotated[
    str,
    StringConstraints(pattern=IN_PATTERN),
    IS_PICTURE,
    Field(description="`image:<64 hex>` of `POST /v1/images`, or a `data:image/…;base64,…` URL"),
]
M = TypeVar("M", bound=BaseModel)
Place = tuple[str | int, ...]


class StoredPicture(Wire):
    """A picture in storage: 8-bit RGB, or RGBA where some pixel of it is not opaque."""

    ref: PictureRef = Field(description="the hash of its pixels; the same pixels in another file are the same ref")
    width: int
    height: int
    alpha: bool = Field(False, description="whether it has transparent pixels")
    lightest: int | None = Field(
        None,
        description="how light its lightest pixel is, as grey from 0 (black) to 255 (white): of a mask, whether any "
        "of it is drawn anew; null: it was not noted",
    )
    colours: bool | None = Field(None, description="whether it has any, which a mask must not; null: it was not noted")


def pictures_of(asked: BaseModel) -> Iterator[tuple[Place, str]]:
    """Yield every picture that a request names, and where: the steps of a pointer to it."""
    for name in sorted(picture_fields(type(asked))):
        yield from _within((name,), getattr(asked, name))
    for name in sorted(asked.model_fields_set - picture_fields(type(asked))):
        value = getattr(asked, name)
        for at, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, BaseModel):
                inner = (name,) if at is None else (name, at)
                yield from ((inner + place, picture) for place, picture in pictures_of(one))


def with_pictures(asked: M, refs: dict[str, str]) -> M:
    """Return a request in which every picture is named by its ref; refs: by how it was named before."""
    changed: dict[str, Any] = {}
    for name in asked.model_fields_set:
        value = getattr(asked, name)
        if name in picture_fields(type(asked)):
            new = [refs.get(one, one) for one in value] if isinstance(value, list) else refs.get(value, value)
        elif isinstance(value, list) and any(isinstance(one, BaseModel) for one in value):
            new = [with_pictures(one, refs) if isinstance(one, BaseModel) else one for one in value]
        else:
            new = with_pictures(value, refs) if isinstance(value, BaseModel) else value
        if new != value:
            changed[name] = new
    return asked.model_copy(update=changed) if changed else asked


@lru_cache
def picture_fields(kind: type[BaseModel]) -> frozenset[str]:
    """Names of the fields of a type that name a picture, or a list of them."""
    fields = kind.model_fields.items()
    return frozenset(name for name, one in fields if IS_PICTURE in one.metadata or _marked(one.annotation))


def _marked(annotation: Any) -> bool:
    return annotation is IS_PICTURE or any(
        map(_marked, (*get_args(annotation), *getattr(annotation, "__metadata__", ())))
    )


def _within(place: Place, value: Any) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from _within((*place, at), one)
