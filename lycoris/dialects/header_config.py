"""The scale of a file's layers where the header's metadata has it, and not the tensors.

diffusers keeps PEFT's configuration there, as one JSON object under `lora_adapter_metadata`: its fields as they are
(`save_lora_adapter`), or with the component before each field (`save_lora_weights`): `unet.r`, `unet.lora_alpha`, … It
is an `adapter_config` and read as one. Some trainers write only a plain entry, `alpha`. kohya's `ss_network_alpha` is
not used: his files have alpha among the tensors, and converters copy the entry without them.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from lycoris.dialects.adapter_config import AdapterConfig, judged, parsed, refused
from lycoris.dialects.prefixes import DOTTED_PREFIXES
from lycoris.dialects.wrappers import unwrapped
from lycoris.errors import shown

KEY = "lora_adapter_metadata"
PLAIN_KEYS = ("alpha", "lora_alpha", "network_alpha")
SCALE_KEYS = (KEY, *PLAIN_KEYS)  # entries of the metadata that layers may be scaled by
COMPONENTS_CAP = 32  # no model has as many
_NUMBER = re.compile(r"\s*[+-]?(?:\d{1,20}\.?\d{0,20}(?:e[+-]?\d{1,3})?|\.\d{1,20}|nan|inf|infinity)\s*", re.I | re.A)


class Configured(NamedTuple):
    """A configuration, and the components that it is for; empty: not given."""

    components: tuple[str, ...]
    config: AdapterConfig


class PlainAlpha(NamedTuple):
    """The one alpha of all layers that a plain entry says."""

    key: str
    alpha: float


def header_configs(metadata: Mapping[str, str], left_out: Collection[str] = ()) -> tuple[Configured, ...]:
    """Return the configurations in a file's metadata, each with the components that it is for.

    left_out: keys whose values were too long to be kept. Raises FileRefused, as `adapter_config` does.
    """
    if KEY in left_out:
        raise refused(KEY, "is too long to be read: without it the scale of the layers is not known")
    if KEY not in metadata:
        return ()
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in parsed(metadata[KEY], KEY).items():
        prefix, _, field = key.rpartition(".")
        groups[prefix][field] = value
    if len(groups) > COMPONENTS_CAP:
        raise refused(KEY, f"names {len(groups)} components, above the cap of {COMPONENTS_CAP}")
    return tuple(
        Configured(_components(prefix), judged(fields, f"{KEY} of {shown(prefix)}" if prefix else KEY))
        for prefix, fields in groups.items()
    )


def plain_alpha(metadata: Mapping[str, str]) -> PlainAlpha | None:
    """Return the alpha that a plain entry has for every layer; an entry that is no number does not count.

    Called only for layers that need it: raises FileRefused if two entries differ, or no scale can be made of a number.
    """
    alphas = {key: float(metadata[key]) for key in PLAIN_KEYS if _NUMBER.fullmatch(metadata.get(key, ""))}
    for key, alpha in alphas.items():
        if not 0 < abs(alpha) < 1e6:  # NaN too
            raise refused(key, f"is {alpha}, and no layer can be scaled by that")
    if len(set(alphas.values())) > 1:
        raise refused(", ".join(alphas), "have different scales for the layers")
    return next((PlainAlpha(key, alpha) for key, alpha in alphas.items()), None)


def _components(prefix: str) -> tuple[str, ...]:
    path = unwrapped(f"{prefix}.").removesuffix(".") if prefix else ""
    return DOTTED_PREFIXES.get(f"{path}.", (path,)) if path else ()
