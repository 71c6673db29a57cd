"""What is wrong with a file of an image prompt, for a base: every tensor is read, or named with the reason."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from app.shared.wire.model import ModelProfile
from lycoris import Adapter, Code, Reason
from workers.image_prompts.places import places_of
from workers.image_prompts.projections import Projection, Sizes, of_faces, projection_of, without

PROJECTION, ATTENTION = "image_proj.", "ip_adapter."
MOST_TOKENS = 1024  # of a picture; the largest that are known have 257
FACES = (
    "is of a FaceID file: its tokens are made of what a network that recognises faces says of one, and this service "
    "has none; take an IP-Adapter that reads a picture, or a plus-face one"
)
LORA = "is of a LoRA inside an image prompt, which only FaceID files have; no weight is changed by an image prompt here"
NO_ENCODER = (
    "reads {reads} numbers of an image encoder, and {model!r} names none: name a CLIPVisionModelWithProjection as "
    "`image_encoder` in its radiata.json or in RADIATA_MODELS"
)


def misfits(
    adapter: Adapter, profile: ModelProfile, shapes: Mapping[str, Mapping[str, Sequence[int]]]
) -> Iterator[Reason]:
    """Yield everything for which the image prompt of an adapter cannot be used with a base; none has none."""
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
        yield from _projection(projection, tensors, profile, f"{component} reads {width}", width)
    expected = {name: shape for place in places for name, shape in place.expected.items()}
    yield from _compared(ATTENTION, expected, dict(without(ATTENTION, adapter.image_prompt)))


def _projection(
    projection: Projection, tensors: Mapping[str, Tensor], profile: ModelProfile, told: str, width: int
) -> Iterator[Reason]:
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
    yield from _encoder(projection, sizes, subject, profile)


def _encoder(projection: Projection, sizes: Sizes, subject: str, profile: ModelProfile) -> Iterator[Reason]:
    encoder = profile.image_encoder
    if encoder is None:
        yield Reason(Code.MISFIT, subject, NO_ENCODER.format(reads=sizes.reads, model=profile.name))
    elif (has := getattr(encoder, projection.reads)) != sizes.reads:
        message = f"reads {sizes.reads} numbers of an image encoder's {projection.reads}; that of {profile.name!r} has "
        yield Reason(Code.MISFIT, subject, f"{message}{has}")


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
