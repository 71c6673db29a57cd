"""What a request says of pictures, as far as it can be judged without them: by the request and the model's profile."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from app.shared.passes import drawn_steps, least_denoise, most_denoise
from app.shared.wire.generation import Picture
from app.shared.wire.model import ModelProfile

LEAST_LATENT = 0.5  # latents that were scaled are blurred, and less does not mend it


class Wrong(NamedTuple):
    """A field that is not obeyed as it stands: code and sentence of its refusal, and what is right."""

    field: str
    code: str
    message: str
    allowed: Any


# Field -> what it says nothing without: a field, and the value that this must not have
NEEDS: dict[str, tuple[str, Any]] = {
    "denoise": ("init_image", None),
    "mask_image": ("init_image", None),
    "mask_blur": ("mask_image", None),
    "inpaint_area": ("mask_image", None),
    "inpaint_padding": ("inpaint_area", "whole"),
}


def misplaced(profile: ModelProfile, asked: Picture) -> Iterator[Wrong]:
    """Yield the fields about pictures that have no effect as they stand, or cannot have the one that they say."""
    fields = Picture.model_fields
    for field, (beside, without) in NEEDS.items():
        default = fields[field].default
        if getattr(asked, field) != default and getattr(asked, beside) == without:
            needed = beside if without is None else f"{beside} other than {without!r}"
            message = f"{field} says nothing without {needed}; add it, or leave it out"
            yield Wrong(field, "picture_missing", message, [default])
    if asked.fit != "refuse" and not has_pictures(asked):
        yield Wrong("fit", "picture_missing", "fit says nothing without a picture; leave it out", ["refuse"])
    if len(asked.reference_images) > profile.max_references and profile.obeys.get("reference_images"):
        message = f"{profile.name!r} is shown {profile.max_references} pictures at most"
        yield Wrong("reference_images", "too_many_references", message, {"maxItems": profile.max_references})
    if len(asked.reference_images) < profile.min_references:
        message = (
            f"{profile.name!r} ({profile.pipeline}) changes a picture that it is shown; name it in reference_images"
        )
        yield Wrong("reference_images", "reference_missing", message, {"minItems": profile.min_references})
    if profile.inpaint == "native" and asked.mask_image is None:
        message = (
            f"{profile.name!r} is made for inpainting: it draws what mask_image leaves open of init_image; name both"
        )
        yield Wrong("mask_image", "mask_missing", message, None)
    if asked.upscale and asked.mask_image:
        message = "a second pass would change what the mask keeps; leave out upscale or mask_image"
        yield Wrong("upscale", "upscale_with_mask", message, [None])
    yield from _steps(profile, asked)


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Tell whether two sizes are of one shape, as far as whole pixels can say."""
    apart = abs(one[0] * other[1] - one[1] * other[0])  # pixels of one edge, times the other edge
    return 2 * apart <= max(one[0], other[0]) or 2 * apart <= max(one[1], other[1])


def has_pictures(asked: Picture) -> bool:
    """Tell whether a request has a picture that is brought to the drawing's size."""
    adapters = getattr(asked, "adapters", ())
    return asked.init_image is not None or any(getattr(one, "image", None) for one in adapters)


def _steps(profile: ModelProfile, asked: Picture) -> Iterator[Wrong]:
    steps, rounding = getattr(asked, "steps", None), profile.denoise_rounding
    passes = [("denoise", asked.denoise if asked.init_image else None)]
    if asked.upscale:
        passes.append(("upscale/denoise", asked.upscale.denoise))
    for field, denoise in passes:
        if steps is not None and denoise is not None and not drawn_steps(steps, denoise, rounding):
            least = least_denoise(steps, rounding)
            message = f"a denoise of {denoise:g} draws none of {steps} steps; the smallest that draws one is {least:g}"
            yield Wrong(field, "denoise_draws_nothing", message, {"minimum": least})
    denoise = asked.denoise if asked.init_image and not asked.mask_image else None
    if steps is not None and denoise not in (None, 1) and drawn_steps(steps, denoise, rounding) == steps:
        most = most_denoise(steps)
        message = f"a denoise of {denoise:g} draws all of {steps} steps, and leaves nothing of the picture"
        yield Wrong("denoise", "denoise_keeps_nothing", f"{message}; at most {most:g}", {"maximum": most})
    if asked.upscale and asked.upscale.method == "latent" and asked.upscale.denoise < LEAST_LATENT:
        message = f"latents that were scaled are blurred; they need a denoise of at least {LEAST_LATENT}, or lanczos"
        yield Wrong("upscale/denoise", "denoise_too_small", message, {"minimum": LEAST_LATENT})
