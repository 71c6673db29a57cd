"""The masks of a request's adapters, as regions of the latents."""

import torch.nn.functional as F
from PIL.Image import Image as Picture
from PIL.Image import Resampling
from torch import Tensor

from app.shared.errors import BadRequest
from app.shared.pictures import Pictures
from app.shared.wire.generation import ResolvedRequest
from lycoris import Region
from workers.drawing.pictures_in import multiples
from workers.drawing.placement import Size
from workers.models.loading import LoadedModel
from workers.models.obeys import takes_masks
from workers.models.pixels import planes_of


def regions_of(drawing: ResolvedRequest, size: Size, pictures: Pictures, base: LoadedModel) -> dict[str, Region]:
    """Return the region of each adapter that has a mask, at the size of one pass, by its sha256.

    size: of the masks, and of the first pass. Raises BadRequest for a base, a size or an area that masks are not for,
    and what `Pictures` raises.
    """
    found: dict[str, Region] = {}
    for use in drawing.adapters:
        if use.mask is None:
            continue
        picture = pictures.load(use.mask)
        if not takes_masks(base.pipeline) or drawing.inpaint_area == "masked":
            raise BadRequest("mask_not_obeyed", f"{use.ref!r} cannot be kept to a region in what is drawn here")
        if picture.mode != "RGB" or picture.size != size:
            message = f"the mask of {use.ref!r} is {picture.mode} of {'×'.join(map(str, picture.size))}"
            raise BadRequest("mask_misfit", f"{message}; it must be RGB of {'×'.join(map(str, size))}")
        drawn = (drawing.width, drawing.height)
        grey = picture.convert("L").resize(drawn, Resampling.BOX)  # a second pass is larger
        key = f"{use.mask} {drawing.width}×{drawing.height}"
        found[use.sha256] = Region(key, _latents(grey, base), use.unmasked == "apply")
    return found


def _latents(mask: Picture, base: LoadedModel) -> Tensor:
    """Return a mask at the size of the latents, (rows, columns); what is drawn beside the picture is as its edge."""
    pixels = planes_of(mask) / 255
    width, height = multiples(mask.size, base.profile.size_multiple)
    pixels = F.pad(pixels, (0, width - mask.width, 0, height - mask.height), mode="replicate")
    edge = base.pipeline.vae_scale_factor
    return F.avg_pool2d(pixels, edge, stride=edge, ceil_mode=True, count_include_pad=False)[0, 0]
