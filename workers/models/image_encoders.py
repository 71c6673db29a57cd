"""Further image encoders of a base, beside the one that its pipeline has: each in a folder of its own."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionModelWithProjection

from app.shared.wire.model import OWN_ENCODER
from app.shared.wire.values import NAME_PATTERN
from workers.models.components import IMAGE_ENCODER
from workers.models.folder import ModelFolder, Unservable
from workers.models.opening import TRANSFORMERS, refuse, reports_of, shortened

PREFIX = f"{IMAGE_ENCODER}."  # `image_encoder.vit-g` among the parts of a base: one more encoder, called `vit-g`


def is_further(part: str) -> bool:
    """Tell whether a part of a base is a further image encoder."""
    return part.startswith(PREFIX) and bool(re.match(NAME_PATTERN, part.removeprefix(PREFIX)))


def further_of(parts: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the folders of further image encoders among parts, by their names; raises Unservable."""
    found = {part.removeprefix(PREFIX): place for part, place in parts.items() if is_further(part) and place}
    if OWN_ENCODER in found:
        raise Unservable(
            f"{PREFIX}{OWN_ENCODER}: {OWN_ENCODER!r} is what {IMAGE_ENCODER} is called; choose another name"
        )
    return found


def in_its_place(folder: ModelFolder, place: Path) -> ModelFolder:
    """Return the folder of a base with another image encoder in place of its own; raises Unservable."""
    other = ModelFolder(folder.path, folder.checkpoint, {**folder.parts, IMAGE_ENCODER: place})
    other.tensors(IMAGE_ENCODER)
    return other


def opened_encoder(folder: ModelFolder, dtype: torch.dtype) -> Any:
    """Return the image encoder of a folder, on the CPU; raises Unservable where it is none, or not whole."""
    place = folder.place(IMAGE_ENCODER)
    with reports_of(TRANSFORMERS):
        try:
            found: Any = CLIPVisionModelWithProjection.from_pretrained(
                place, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        except Exception as error:  # whatever it meets: a sentence is clearer than its traceback
            why = f"{type(error).__name__}: {shortened(str(error))}"
            raise Unservable(f"{place} cannot be opened as an image encoder: {why}") from error
    model, told = found
    if missing := sorted(told["missing_keys"]):  # transformers goes on with random ones
        refuse(folder, IMAGE_ENCODER, missing, "MISSING")
    return model.requires_grad_(False).eval()
