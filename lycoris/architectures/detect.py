"""For which architecture an adapter was trained, with the evidence; the same signs tell what a model is.

Names and shapes decide, they cannot lie; metadata only speaks where they are silent, and a contradiction is a warning.
What shapes cannot show (v-prediction, FLUX.1 dev or schnell, a finetune of SDXL) is not guessed.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lycoris.adapter import Adapter
from lycoris.architectures.signatures import ARCHITECTURES, KIN, PREDICTIONS, SURE, TIERS, Sign

EXAMPLES = 3  # signs that an answer cites


@dataclass(frozen=True)
class Base:
    """An architecture, and what gave it away."""

    name: str
    evidence: tuple[str, ...]
    sure: bool = True  # False: a guess from little, which nothing is held against


class Seen(NamedTuple):
    """One layer as the signs look at it: `unet.<path>` with underscores for dots, and the shape of its weight."""

    name: str
    shape: tuple[int, ...]


def base_of_adapter(adapter: Adapter, tiers: Sequence[Sequence[Sign]] = TIERS) -> Base | None:
    """Return the architecture that an adapter's layers, or else its metadata, speak of."""
    seen = [
        Seen(_flat(layer.components[:1], layer.module), layer.changes["weight"].shape)
        for layer in adapter.layers
        if "weight" in layer.changes
    ]
    found, claimed = detect(seen, tiers), _claimed(adapter.metadata)
    if found is None or claimed is None:
        return found or claimed
    return found if found.sure and not _may_be(found, claimed) else claimed


def base_of_model(components: Mapping[str, Mapping[str, Sequence[int]]]) -> Base | None:
    """Return the architecture of a model: component -> parameter name -> shape."""
    return detect(
        Seen(_flat((component,), name.removesuffix(".weight")), tuple(shape))
        for component, shapes in components.items()
        for name, shape in shapes.items()
        if name.endswith(".weight")
    )


def detect(layers: Iterable[Seen], tiers: Sequence[Sequence[Sign]] = TIERS) -> Base | None:
    """Return the one architecture that the layers speak of; None if none does, or more than one."""
    seen = list(layers)
    for tier in tiers:
        evidence: dict[str, list[str]] = {}
        for sign in tier:
            hits = [layer for layer in seen if _shows(sign, layer)]
            if hits and not any(re.search(sign.unless, layer.name) for layer in seen if sign.unless):
                layer = hits[0]
                shape = " × ".join(map(str, layer.shape))
                evidence.setdefault(sign.base, []).append(f"{len(hits)} like {layer.name} ({shape}): {sign.says}")
        if len(evidence) == 1:
            ((name, found),) = evidence.items()
            return Base(name, tuple(found[:EXAMPLES]), sure=all(sign in SURE for sign in tier))
        if evidence:
            return None
    return None


def at_hand(base: Base | None, model: Base | None) -> Base | None:
    """Return what is to be said of an adapter that a model has a place for: no guess that the model gives the lie."""
    if base and model and _may_be(base, model):
        return Base(model.name, base.evidence)
    return base if base is None or base.sure or (model and model.sure and model.name == base.name) else None


def disagreement(base: Base | None, metadata: Mapping[str, str], model: Base | None) -> Iterator[str]:
    """Yield what an adapter's layers, its metadata and the model say differently of the architecture."""
    claimed = _claimed(metadata)
    if base and base.sure and claimed and claimed.name != base.name:
        yield f"its metadata speaks of {claimed.name}, its layers of {base.name}: the layers are believed"
    if base and base.sure and model and base.name != model.name:
        yield f"it was trained for {base.name}, this model is {model.name}"
    if (
        base
        and base.sure
        and base.name in PREDICTIONS
        and metadata.get("modelspec.prediction_type", "").startswith("v")
    ):
        yield "it was trained for a model that predicts v: among its like there are others"


def _may_be(base: Base, other: Base) -> bool:
    """Tell whether layers that speak of the one architecture are as well the other's, of which it has every layer."""
    return KIN.get(other.name) == base.name


def _shows(sign: Sign, layer: Seen) -> bool:
    if not re.search(sign.pattern, layer.name):
        return False
    rows, columns = (*layer.shape[:2], -1, -1)[:2]
    return (
        (not sign.inputs or columns in sign.inputs)
        and (not sign.outputs or rows in sign.outputs)
        and (sign.ratio is None or rows == sign.ratio * columns)
        and (sign.axes is None or len(layer.shape) == sign.axes)
    )


def _flat(components: Sequence[str], module: str) -> str:
    return f"{'.'.join(components)}.{module.replace('.', '_')}" if components else module.replace(".", "_")


def _claimed(metadata: Mapping[str, str]) -> Base | None:
    for key in ("modelspec.architecture", "ss_base_model_version"):
        said = metadata.get(key, "").lower()
        name = next((name for start, name in ARCHITECTURES.items() if said.startswith(start)), None)
        if name:
            return Base(name, (f"its metadata says so: {key}",))
    return None
