"""The scale of a PEFT LoRA: not among its tensors, but in a configuration that diffusers keeps in the metadata.

diffusers writes one JSON object under `lora_adapter_metadata`, its fields prefixed with the component: `unet.r`,
`unet.lora_alpha`, `unet.alpha_pattern`, `unet.use_rslora`, …
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lycoris.errors import Code, FileRefused, Reason

KEY = "lora_adapter_metadata"
LITERAL = re.compile(r"[\w.\-]+")  # patterns from outside are compared as text, never run as regular expressions


@dataclass(frozen=True)
class PeftConfig:
    """How one component's LoRA is scaled: PEFT's `lora_alpha`, `alpha_pattern` and `use_rslora`."""

    alpha: float
    by_module: Mapping[str, float]  # module path, or the end of one -> its own alpha
    root: bool  # rs-LoRA: divided by √r instead of r

    def alpha_of(self, module: str, rank: int) -> float:
        """Return the alpha which, divided by the rank, is this module's scale."""
        fitting = (alpha for name, alpha in self.by_module.items() if module == name or module.endswith("." + name))
        alpha = next(fitting, self.alpha)
        return alpha * math.sqrt(rank) if self.root else alpha


def peft_configs(metadata: Mapping[str, str]) -> dict[str, PeftConfig]:
    """Return the configuration of every component that the metadata has one for.

    Raises FileRefused if there is one that cannot be read: without it the adapter's scale is not known.
    """
    if KEY not in metadata:
        return {}
    try:
        fields = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise _refused("is not JSON") from error
    if not isinstance(fields, dict):
        raise _refused("is not a JSON object")
    components = [key.removesuffix(".lora_alpha") for key in fields if key.endswith(".lora_alpha")]
    return {component: _config(component, fields) for component in components}


def _config(component: str, fields: Mapping[str, Any]) -> PeftConfig:
    patterns = fields.get(f"{component}.alpha_pattern") or {}
    root = fields.get(f"{component}.use_rslora") or False
    if not isinstance(patterns, dict) or not isinstance(root, bool):
        raise _refused("has an alpha_pattern or a use_rslora of the wrong kind")
    if not all(LITERAL.fullmatch(name) for name in patterns):
        raise _refused("has an alpha_pattern that is not a plain module name")
    by_module = {name: _alpha(alpha) for name, alpha in patterns.items()}
    return PeftConfig(_alpha(fields[f"{component}.lora_alpha"]), by_module, root)


def _alpha(found: Any) -> float:
    # Zero would mean "no change at all" to PEFT, and "as the rank" to everyone else.
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < abs(found) < 1e6:
        raise _refused("has an alpha that is not a usable number")
    return float(found)


def _refused(message: str) -> FileRefused:
    return FileRefused([Reason(Code.BAD_METADATA, KEY, message)])
