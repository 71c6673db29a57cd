"""Refusals of masks of adapters, made before a request is accepted: `workers/drawing/regions.py` makes the same."""

from collections.abc import Iterator

from app.accepting.picturing import MASK_COLOURED
from app.http.faults import refusal
from app.shared.errors import BadRequest
from app.shared.pictures import Pictures
from app.shared.wire.adapter import AdapterKind, AdapterUse
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.model import ModelProfile


def misfitting_mask(
    index: int, use: AdapterUse, kind: AdapterKind, pictures: Pictures, asked: GenerationRequest, profile: ModelProfile
) -> Iterator[BadRequest]:
    """Yield everything for which the mask of an adapter, at this place in the list, cannot be obeyed."""
    if use.mask is None:
        if use.unmasked != "refuse":
            message = "unmasked says what a mask leaves open, and there is none; leave it out"
            yield refusal(["adapters", index, "unmasked"], "unmasked_without_mask", message)
        return
    place = ["adapters", index, "mask"]
    if not profile.masks:
        message = f"{profile.name!r} ({profile.pipeline}) takes no masks of adapters: Stable Diffusion and FLUX.1 do"
        yield refusal(place, "mask_not_obeyed", message)
        return
    if asked.inpaint_area == "masked":
        message = "an adapter's mask is of the whole picture, and of that a part is drawn alone; leave one of both out"
        yield refusal(["inpaint_area"], "mask_not_obeyed", message, ["whole"])
    known, wanted = pictures.info(use.mask), (asked.width or profile.width, asked.height or profile.height)
    if known.alpha:
        message = "the mask has transparent pixels, which may mean either; send white where the adapter is applied"
        yield refusal(place, "mask_misfit", message)
    if known.colours:
        yield refusal(place, "mask_coloured", MASK_COLOURED)
    if (known.width, known.height) != wanted:
        message = f"the mask is {known.width}×{known.height} and the picture {wanted[0]}×{wanted[1]}"
        yield refusal(place, "mask_misfit", f"{message}; both must have one size")
    if kind == "image_prompt":  # which needs no bypass
        return
    if asked.apply in ("merge", "recompute"):
        message = f"an adapter with a mask is applied by bypass, not by {asked.apply}"
        yield refusal(["apply"], "mask_needs_bypass", message, ["auto", "bypass"])
