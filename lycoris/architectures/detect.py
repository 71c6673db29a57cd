"""The architecture that an adapter was trained for, with the evidence; the same signatures identify a model.

Names and shapes decide, for they cannot be wrong. Metadata counts only where they do not tell, and a contradiction is
a warning. What shapes cannot show (v-prediction, FLUX.1 dev or schnell, a finetune of SDXL) is not guessed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lycoris.adapter import Adapter
from lycoris.architectures.signatures import (
    CERTAIN,
    METADATA_NAMES,
    SUBSET_OF,
    TIERS,
    TWO_PREDICTIONS,
    Signature,
)

EXAMPLES = 3  # signatures that an answer cites


@dataclass(frozen=True)
class Architecture:
    """An architecture, and the evidence for it."""

    name: str
    evidence: tuple[str, ...]
    sure: bool = True  # False: a guess from little evidence, with which no model is contradicted


class LayerShape(NamedTuple):
    """One layer as signatures see it: `unet.<path>` with underscores for dots, and the shape of its weight."""

    name: str
    shape: tuple[int, ...]


def architecture_of_adapter(adapter: Adapter, tiers: Sequence[Sequence[Signature]] = TIERS) -> Architecture | None:
    """Return the architecture that an adapter's layers indicate, or else its metadata."""
    layers = [
        LayerShape(_flat(layer.components[:1], layer.module), layer.changes["weight"].shape)
        for layer in adapter.layers
        if "weight" in layer.changes
    ]
    found, claimed = detect(layers, tiers), _from_metadata(adapter.metadata)
    if found is None or claimed is None:
        return found or claimed
    return found if found.sure and not _is_subset(claimed, found) else claimed


def architecture_of_model(components: Mapping[str, Mapping[str, Sequence[int]]]) -> Architecture | None:
    """Return the architecture of a model: component -> parameter name -> shape."""
    return detect(
        LayerShape(_flat((component,), name.removesuffix(".weight")), tuple(shape))
        for component, shapes in components.items()
        for name, shape in shapes.items()
        if name.endswith(".weight")
    )


def detect(layers: Iterable[LayerShape], tiers: Sequence[Sequence[Signature]] = TIERS) -> Architecture | None:
    """Return the one architecture that the layers indicate; None if they indicate none, or more than one."""
    layers = list(layers)
    for tier in tiers:
        evidence: dict[str, list[str]] = {}
        for signature in tier:
            hits = [layer for layer in layers if _matches(signature, layer)]
            if hits and not any(re.search(signature.unless, layer.name) for layer in layers if signature.unless):
                first = hits[0]
                shape = " × ".join(map(str, first.shape))
                text = f"{len(hits)} like {first.name} ({shape}): {signature.evidence}"
                evidence.setdefault(signature.architecture, []).append(text)
        if len(evidence) == 1:
            ((name, found),) = evidence.items()
            return Architecture(name, tuple(found[:EXAMPLES]), sure=all(signature in CERTAIN for signature in tier))
        if evidence:
            return None
    return None


def reported_architecture(found: Architecture | None, model: Architecture | None) -> Architecture | None:
    """Return the architecture to report for an adapter that fits this model: no guess that the model contradicts."""
    if found and model and _is_subset(model, found):
        return Architecture(model.name, found.evidence)
    return found if found is None or found.sure or (model and model.sure and model.name == found.name) else None


def disagreements(found: Architecture | None, metadata: Mapping[str, str], model: Architecture | None) -> Iterator[str]:
    """Yield where an adapter's layers, its metadata and the model indicate different architectures."""
    claimed = _from_metadata(metadata)
    if found is None or not found.sure:
        return
    if claimed and claimed.name != found.name:
        yield f"its metadata names {claimed.name}, its layers are of {found.name}: the layers count"
    if model and found.name != model.name:
        yield f"it was trained for {found.name}, this model is {model.name}"
    if found.name in TWO_PREDICTIONS and metadata.get("modelspec.prediction_type", "").startswith("v"):
        yield f"it was trained for a model that predicts v: not every {found.name} model does"


def _is_subset(other: Architecture, found: Architecture) -> bool:
    """Tell whether `other` is a subset of `found` (Chroma of FLUX.1), so that the same layers may mean either."""
    return SUBSET_OF.get(other.name) == found.name


def _matches(signature: Signature, layer: LayerShape) -> bool:
    if not re.search(signature.pattern, layer.name):
        return False
    rows, columns = (*layer.shape[:2], -1, -1)[:2]
    return (
        (not signature.inputs or columns in signature.inputs)
        and (not signature.outputs or rows in signature.outputs)
        and (signature.ratio is None or rows == signature.ratio * columns)
        and (signature.axes is None or len(layer.shape) == signature.axes)
    )


def _flat(components: Sequence[str], module: str) -> str:
    return f"{'.'.join(components)}.{module.replace('.', '_')}" if components else module.replace(".", "_")


def _from_metadata(metadata: Mapping[str, str]) -> Architecture | None:
    for key in ("modelspec.architecture", "ss_base_model_version"):
        value = metadata.get(key, "").lower()
        name = next((name for start, name in METADATA_NAMES.items() if value.startswith(start)), None)
        if name:
            return Architecture(name, (f"its metadata names it: {key}",))
    return None
