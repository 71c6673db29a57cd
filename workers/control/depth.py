"""Depth maps by a model that estimates depth: what is near is light, as the nets for them were trained."""

from typing import Any

import torch
from PIL import Image
from PIL.Image import Image as Picture

from app.shared.errors import BadRequest
from workers.control.preprocessors import Preprocessor, Preprocessors, alike_everywhere

RELATIVE = ("dpt", "depth_anything")  # kinds of models that say how near a place is; others say how far, in metres
WHITE = 255


def preprocessor(models: Preprocessors) -> Preprocessor:
    """Return the model that estimates depth."""
    return models.get("depth", _made, _judge)


def depth(picture: Picture, models: Preprocessors) -> Picture:
    """Return how near every place of a picture (RGB) is, from black to white, as transformers' own pipeline does."""
    found = preprocessor(models)
    with alike_everywhere():
        read = found.model(**found.processor(images=picture, return_tensors="pt"))
        (estimated,) = found.processor.post_process_depth_estimation(read, [picture.size[::-1]])
        near = estimated["predicted_depth"]
        least, most = near.min(), near.max()
        if not (least.isfinite() and most.isfinite()):
            raise BadRequest("map_not_finite", "the depth that was estimated is not finite; name another depth model")
        scaled = (near - least) / (most - least) if most > least else torch.zeros_like(near)
        light = (scaled * WHITE).to(torch.uint8)
    return Image.fromarray(light.numpy()).convert("RGB")


def _made() -> type[Any]:
    from transformers import AutoModelForDepthEstimation

    return AutoModelForDepthEstimation


def _judge(config: Any) -> str | None:
    if config.model_type not in RELATIVE:
        return f"it is a {config.model_type}; served are DPT and Depth Anything"
    if getattr(config, "depth_estimation_type", "relative") != "relative":
        return "it says how far a place is in metres, and a control net reads how near; take the relative one"
    return None
