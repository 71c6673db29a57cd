"""What is wrong with a file of an image prompt, for a base: every tensor is read, or named with the reason."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from app.shared.image_encoders import encoder_for
from app.shared.wire.model import ModelProfile, Reads
from lycoris import Adapter, Code, Reason
from workers.image_prompts.places import places_of
from workers.image_prompts.projections import Projection, of_faces, projection_of, without

PROJECTION, ATTENTION = "image_proj.", "ip_adapter."
MOST_TOKENS = 1024  # of a picture; the largest that are known have 257
FACES = (
    "is of a FaceID file: its tokens are made of what a network that recognises faces says of one, and this service "
    "has none; take an IP-Adapter that reads a picture, or a plus-face one"
)
LORA = "is of a LoRA inside an image prompt, which only FaceID files have; no weight is changed by an image prompt here"


def misfits(
    adapter: Adapter,
    profile: ModelProfile,
    shapes: Mapping[str, Mapping[str, Sequence[int]]],
    image_encoder: str = "",
) -> Iterator[Reason]:
    """Yield everything for which the image prompt of an adapter cannot be used with a base; none has none.

    image_encoder: by which of the base's it reads its pictures; empty: by the one whose width fits.
    """
    if not adapter.image_prompt:
        return
    if "image_prompt" not in profile.adapter_kinds:
        message = f"is an image prompt, and {profile.name!r} ({profile.pipeline}) takes none"
        yield Reason(Code.NO_COMPONENT, "", message)
        return
    if adapter.layers or adapter.embeddings:
        yield Reason(
            Code.UNKNOWN_TENSOR, "", "the file holds an image prompt and another adapter: send them one by one"
        )
    tensors = dict(without(PROJECTION, adapter.image_prompt))
    component, places = places_of(shapes)
    width = places[0].width
    if of_faces(tensors):
        yield from (Reason(Code.NO_FORM, f"{PROJECTION}{name}", FACES) for name in sorted(tensors))
    elif (projection := projection_of(tensors)) is None:
        message = "the file has no projection of a picture that is known here (plain, plus or full)"
        yield Reason(Code.INCOMPLETE, PROJECTION.removesuffix("."), message)
        yield from _compared(PROJECTION, {}, tensors)
    else:
        yield from _projection(projection, tensors, f"{component} reads {width}", width)
        yield from _encoder(adapter, PROJECTION + projection.told_by, profile, image_encoder)
    expected = {name: shape for place in places for name, shape in place.expected.items()}
    yield from _compared(ATTENTION, expected, dict(without(ATTENTION, adapter.image_prompt)))


def _projection(projection: Projection, tensors: Mapping[str, Tensor], told: str, width: int) -> Iterator[Reason]:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    subject = PROJECTION + projection.told_by
    try:
        sizes, expected = projection.sizes(shapes), projection.expected(shapes)
    except (KeyError, ValueError) as error:  # a tensor that the sizes are read off: the names can be compared
        names = projection.names(tensors)
        if isinstance(error, ValueError):
            yield Reason(Code.BAD_SHAPE, subject, f"is of no {projection.name} projection: {error}")
        yield from _compared(PROJECTION, {name: shapes.get(name, ()) for name in sorted(names)}, tensors)
        return
    yield from _compared(PROJECTION, expected, tensors)
    if sizes.width != width:
        yield Reason(Code.MISFIT, subject, f"makes tokens of {sizes.width} numbers; this model's {told}")
    if sizes.tokens > MOST_TOKENS:
        yield Reason(Code.BAD_SHAPE, subject, f"makes {sizes.tokens} tokens of a picture; at most {MOST_TOKENS} may be")


def _encoder(adapter: Adapter, subject: str, profile: ModelProfile, image_encoder: str) -> Iterator[Reason]:
    if found := reads(adapter):
        try:
            encoder_for(profile.image_encoders, profile.name, *found, image_encoder)
        except ValueError as error:
            yield Reason(Code.MISFIT, subject, str(error))


def reads(adapter: Adapter) -> tuple[Reads, int] | None:
    """Return what of an image encoder an image prompt reads, and how many numbers; None where that cannot be told."""
    tensors = dict(without(PROJECTION, adapter.image_prompt))
    if (projection := projection_of(tensors)) is None:
        return None
    try:
        return projection.reads, projection.sizes({name: tuple(one.shape) for name, one in tensors.items()}).reads
    except (KeyError, ValueError):
        return None


def _compared(prefix: str, expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> Iterator[Reason]:
    for name, shape in expected.items():
        if name not in tensors:
            yield Reason(Code.INCOMPLETE, prefix + name, "is missing")
        elif (found := tuple(tensors[name].shape)) != shape:
            yield Reason(Code.MISFIT, prefix + name, f"has the shape {_shown(found)}; it must have {_shown(shape)}")
    for name in sorted(tensors.keys() - expected.keys()):
        message = LORA if "_lora." in name else "is read by nothing here"
        yield Reason(Code.NO_FORM if "_lora." in name else Code.UNKNOWN_TENSOR, prefix + name, message)


def _shown(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "()"
