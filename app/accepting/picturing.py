"""The pictures of a request: their sizes fill in what it leaves open, and what cannot be drawn from them is refused."""

from collections.abc import Iterator, Mapping
from math import ceil, log, sqrt

from app.http.faults import Allowed, refusal
from app.shared.errors import RadiataError
from app.shared.passes import DENOISE, drawn_by, upscaled
from app.shared.pictured import same_shape
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.model import ModelProfile
from app.shared.wire.picture import Place, StoredPicture

Size = tuple[int, int]
WHITE, LIGHT = 255, 128
MASK_COLOURED = "the mask has colours, and a mask is black, white and grey: send what is to be white in white"


def filled(asked: GenerationRequest, found: Mapping[Place, StoredPicture], profile: ModelProfile) -> GenerationRequest:
    """Return a request with what its picture says where it leaves something open."""
    init = found.get(("init_image",))
    if init is None or not profile.obeys.get("init_image"):
        return asked
    own: dict[str, object] = {} if asked.denoise is not None else {"denoise": DENOISE}
    sides = zip(("width", "height"), _drawable(init, asked, profile), strict=True)
    return asked.model_copy(update=own | {side: size for side, size in sides if getattr(asked, side) is None})


def unfit(
    asked: GenerationRequest, found: Mapping[Place, StoredPicture], profile: ModelProfile
) -> Iterator[RadiataError]:
    """Yield what cannot be drawn from the pictures of a request, filled in."""
    init, mask = found.get(("init_image",)), found.get(("mask_image",))
    size = (asked.width or profile.width, asked.height or profile.height)
    if init is not None and profile.obeys.get("init_image"):
        yield from _alpha("init_image", init, "put it on a colour first")
        own = (init.width, init.height)
        near = _near(own, profile)
        if asked.fit == "refuse" and own not in near:
            shown = " or ".join(map(_sized, near))
            message = f"the picture is {_sized(own)}; of about its shape {profile.name!r} draws {shown}; or set fit"
            yield _wrong("init_image", "picture_size", message, [list(one) for one in near])
        elif asked.fit == "refuse" and own != size:
            message = f"the picture is {_sized(own)} and the drawing {_sized(size)}; make them the same, or set fit"
            yield _wrong("init_image", "picture_size", message, [list(size)])
    if mask is not None and profile.obeys.get("mask_image"):
        if init is not None and not same_shape((mask.width, mask.height), (init.width, init.height)):
            sizes = f"the mask is {mask.width}×{mask.height} and the picture {init.width}×{init.height}"
            message = f"{sizes}; give the mask the shape of the picture, in any size"
            yield _wrong("mask_image", "mask_size", message, [[init.width, init.height]])
        steps = drawn(asked, profile)
        native = profile.inpaint == "native"
        if mask.lightest is not None and native and mask.lightest < LIGHT:
            message = f"the mask is nowhere white, nor nearer to it than to black, and {profile.name!r} reads no grey"
            yield _wrong("mask_image", "mask_empty", message)
        elif mask.lightest is not None and steps and not native and mask.lightest * steps[0] < WHITE:
            message = f"the mask is nowhere light enough for one of {steps[0]} steps: nothing would be drawn anew"
            yield _wrong("mask_image", "mask_empty", message)
        why = "a mask is black and white, and white is drawn anew: which of it a transparent place is, it does not say"
        yield from _alpha("mask_image", mask, why)
        if mask.colours:
            yield _wrong("mask_image", "mask_coloured", MASK_COLOURED)
    for (field, *at), one in found.items():
        if field == "reference_images" and profile.obeys.get("reference_images"):
            yield from _alpha(f"{field}/{at[0]}", one, "put it on a colour first")
            yield from _unreadable(f"{field}/{at[0]}", one, profile)
    if asked.upscale is not None:
        yield from _upscaled(asked, size, profile)


def drawn(asked: GenerationRequest, profile: ModelProfile) -> list[int]:
    """Return the steps that each pass of a request, filled in, draws; none where that is all steps in one."""
    found = drawn_by(asked, asked.steps or profile.steps, profile.denoise_rounding)
    return [] if asked.init_image is None and asked.upscale is None else found


def _upscaled(asked: GenerationRequest, size: Size, profile: ModelProfile) -> Iterator[RadiataError]:
    assert asked.upscale is not None
    larger = upscaled(size, asked.upscale.scale, profile.size_multiple)
    most = min(profile.max_edge / max(size), (profile.max_pixels or float("inf")) ** 0.5 / (size[0] * size[1]) ** 0.5)
    if max(larger) > profile.max_edge or (profile.max_pixels and larger[0] * larger[1] > profile.max_pixels):
        message = f"the second pass would draw {_sized(larger)}, and {profile.name!r} draws up to {profile.max_edge}"
        yield _wrong("upscale/scale", "size_over_limit", message, {"maximum": round(most, 3)})
    elif profile.sizes and larger not in profile.sizes:
        message = f"the second pass would draw {_sized(larger)}, which is none of the sizes of {profile.name!r}"
        yield _wrong("upscale/scale", "size_not_offered", message)


def _drawable(picture: StoredPicture, asked: GenerationRequest, profile: ModelProfile) -> Size:
    """Return the size at which a request that names none is drawn: its picture's, as far as the model draws that."""
    own = (picture.width, picture.height)
    return own if asked.fit == "pad" and _within(own, profile) else _near(own, profile)[0]


def _within(size: Size, profile: ModelProfile) -> bool:
    """Tell whether a size is within the limits of a model, of which a picture's memory is one."""
    width, height = (-(-edge // profile.size_multiple) * profile.size_multiple for edge in size)
    return max(width, height) <= profile.max_edge and width * height <= (profile.max_pixels or width * height)


def _near(size: Size, profile: ModelProfile) -> list[Size]:
    """Return the sizes that a model draws next to this one, or to its shape where that is too large; nearest first.

    It alone where that is one.
    """
    width, height = size
    multiple, most = profile.size_multiple, profile.max_pixels or float("inf")
    if profile.sizes:  # by shape first: a photo is often many times as large
        ordered = sorted(profile.sizes, key=lambda one: (abs(log(one[0] / one[1] / width * height)), -one[0] * one[1]))
        return [size] if size in profile.sizes else ordered[:3]
    scale = min(1.0, profile.max_edge / max(size), sqrt(most / (width * height)))
    scaled = (width * scale, height * scale)
    edges = [sorted({max(int(edge // multiple), 1) * multiple, ceil(edge / multiple) * multiple}) for edge in scaled]
    found = [one for one in ((wide, high) for wide in edges[0] for high in edges[1]) if _within(one, profile)]
    return sorted(
        found or [(edges[0][0], edges[1][0])], key=lambda one: abs(one[0] - scaled[0]) + abs(one[1] - scaled[1])
    )


def _alpha(field: str, picture: StoredPicture, why: str) -> Iterator[RadiataError]:
    if picture.alpha:
        yield _wrong(field, "picture_transparent", f"the picture has transparent pixels; {why}")


def _unreadable(field: str, picture: StoredPicture, profile: ModelProfile) -> Iterator[RadiataError]:
    shorter, longer = sorted((picture.width, picture.height))
    if shorter < profile.reference_edge:
        message = f"an edge of it is {shorter} pixels; {profile.name!r} reads pictures from {profile.reference_edge} on"
        yield _wrong(field, "picture_too_small", message, {"minimum": profile.reference_edge})
    if profile.reference_aspect and longer > profile.reference_aspect * shorter:
        most = f"{profile.name!r} reads up to {profile.reference_aspect:g}"
        message = f"its longer edge is {longer / shorter:.1f} times the shorter; {most}"
        yield _wrong(field, "picture_too_long", message, {"maximum": profile.reference_aspect})


def _sized(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _wrong(field: str, code: str, message: str, allowed: Allowed = None) -> RadiataError:
    return refusal(field.split("/"), code, message, allowed)
