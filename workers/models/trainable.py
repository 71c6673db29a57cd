"""What of a base can be trained, and by which loss: what its pipeline says of itself, before anything is recorded."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from app.shared.facts import BaseLayer, BaseLayers
from app.shared.wire.adapter import denoises
from lycoris import trainable_layers
from workers.models.inpainting import inpaint_of
from workers.models.latents import why_from_none
from workers.models.samplers import flows

STUDENTS = frozenset({"LCMScheduler", "SCMScheduler", "FlowMatchLCMScheduler"})  # trained against a teacher
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def why_untrainable(pipeline: Any, components: Mapping[str, nn.Module]) -> str:
    """Return why a base cannot be trained, or ""; recording its pipeline may find more."""
    found = [part for part in components if denoises(part)]
    if len(found) != 1:
        return f"it has {len(found)} parts that denoise, and one is trained"
    own = getattr(pipeline, "scheduler", None)
    if own is None or type(own).__name__ in STUDENTS:
        return "it was distilled for few steps, which noise and mean squared error would undo"
    if why := why_from_none(pipeline):
        return why
    if inpaint_of(pipeline) == "native":
        return "it is made for inpainting, and would be trained without a mask"
    if not flows(own) and (predicts(own) not in PREDICTIONS or not hasattr(own, "alphas_cumprod")):
        return f"a scheduler that predicts {predicts(own)!r} is none to train by"
    return ""


def predicts(scheduler: Any) -> str:
    """Return what a scheduler that matches no flow says that the denoiser predicts."""
    return str(scheduler.config.get("prediction_type", "epsilon"))


def base_layers(fingerprint: str, pipeline: Any, components: Mapping[str, nn.Module]) -> BaseLayers:
    """Return what acceptance judges a training by."""
    untrainable = why_untrainable(pipeline, components)
    layers = [
        BaseLayer(
            component=one.component,
            path=one.path,
            kind=one.kind,
            shape=one.shape,
            bias=one.bias,
            obstacle=one.obstacle,
            weight=one.weight_name if one.weight_name != f"{one.name}.weight" else None,
        )
        for one in trainable_layers(components)
    ]
    return BaseLayers(
        fingerprint=fingerprint,
        untrainable=untrainable,
        flow=not untrainable and flows(pipeline.scheduler),
        size_bytes=weight_bytes(components),
        layers=[] if untrainable else layers,
    )


def weight_bytes(components: Mapping[str, nn.Module]) -> int:
    """Return the bytes of all weights of a base."""
    return sum(weight.nbytes for part in components.values() for weight in part.parameters())
