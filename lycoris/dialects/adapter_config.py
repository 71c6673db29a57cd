"""`adapter_config.json`, in which PEFT keeps what its tensors do not say: scales, flags, seeds.

Read field by field against a table; what the table does not name (`auto_mapping`, custom code, training) is never
looked at. A field that would change what the tensors mean and is not read here is refused, and so is a family of
adapters that is not read here, both by name.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lycoris.dialects.peft_config import LITERAL, PeftConfig
from lycoris.errors import Code, FileRefused, Reason, shown

NAME = "adapter_config.json"
MEANINGFUL = (  # fields that must be off: each makes other weights of the same tensors
    *("fan_in_fan_out", "coft", "use_qalora", "alora_invocation_tokens", "layer_replication", "target_parameters"),
    *("trainable_token_indices", "arrow_config", "kasa_config", "use_bdlora", "megatron_config", "modules_to_save"),
)
BASE_KEPT = (True, False, None, "gaussian", "eva", "orthogonal")  # ways to begin that leave the base alone

Fields = Mapping[str, Any]
Settings = dict[str, float | int]


class Kind(NamedTuple):
    """One family: the start of its tensors' names, and the settings of a layer of (fields, module, rank)."""

    sign: str
    settings: Callable[[Fields, str, int], Settings]


@dataclass(frozen=True)
class AdapterConfig:
    """A configuration that was judged and found sound."""

    family: str
    fields: Fields

    def settings(self, module: str, names: Collection[str], rank: int) -> Settings:
        """Return what the configuration adds to a layer's tensors of these names, each under the name of a tensor.

        Raises FileRefused if the layer is of another family, or a field is missing or of the wrong kind.
        """
        kind = KINDS[self.family]
        if not any(name.startswith(kind.sign) for name in names):
            raise _refused(f"speaks of {self.family}, but {shown(module)} has no tensor of that family")
        return kind.settings(self.fields, module, rank)


def adapter_config(data: bytes) -> AdapterConfig:
    """Return the configuration in the bytes of an adapter_config.json; raise FileRefused if it cannot be followed."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refused("is not JSON") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("peft_type"), str):
        raise _refused("is not a JSON object with a peft_type")
    family = fields["peft_type"]
    if family not in KINDS:
        raise _refused(f"is of PEFT's {shown(family)}, which is not read here: only {', '.join(sorted(KINDS))} are")
    for name in MEANINGFUL:
        if fields.get(name):
            raise _refused(f"has {name}, which makes other weights of the same tensors and is not followed here")
    if fields.get("bias", "none") != "none":
        raise _refused("has trained the model's own biases along (bias), which the tensors do not tell from others")
    begun = fields.get("init_lora_weights")
    if begun not in BASE_KEPT:
        raise _refused(f"has init_lora_weights = {shown(str(begun))}, which changed the base model before training")
    return AdapterConfig(family, fields)


def _lora(fields: Fields, module: str, rank: int) -> Settings:
    config = PeftConfig(_number(fields, "lora_alpha"), _pattern(fields, "alpha_pattern"), _flag(fields, "use_rslora"))
    return {"alpha": config.alpha_of(module, rank)}


def _loha(fields: Fields, module: str, rank: int) -> Settings:
    del rank
    return {"alpha": PeftConfig(_number(fields, "alpha"), _pattern(fields, "alpha_pattern"), False).alpha_of(module, 1)}


def _lokr(fields: Fields, module: str, rank: int) -> Settings:
    # Divided by the rank that was asked for: whole factors have none of their own, and PEFT scales them all the same.
    (alpha,) = _loha(fields, module, rank).values()
    ranks = PeftConfig(_number(fields, "r"), _pattern(fields, "rank_pattern"), False)
    return {"scale": alpha / ranks.alpha_of(module, 1)}


def _adalora(fields: Fields, module: str, rank: int) -> Settings:
    del module, rank
    return {"alpha": _number(fields, "lora_alpha", zero=True)}


def _ia3(fields: Fields, module: str, rank: int) -> Settings:
    del rank
    named = fields.get("feedforward_modules") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise _refused("has feedforward_modules that are no list of names")
    return {"is_feedforward": int(any(module.endswith(name) for name in named))}


def _oft(fields: Fields, module: str, rank: int) -> Settings:
    del module, rank
    if "use_cayley_neumann" not in fields:
        raise _refused("does not say which way its rotations turn (use_cayley_neumann): PEFT before 0.16 wrote others")
    neumann = _flag(fields, "use_cayley_neumann")
    return {"neumann_terms": int(_number(fields, "num_cayley_neumann_terms", default=5)) if neumann else 0}


def _hra(fields: Fields, module: str, rank: int) -> Settings:
    del module, rank
    return {"apply_GS": int(_flag(fields, "apply_GS"))}


def _fourierft(fields: Fields, module: str, rank: int) -> Settings:
    del module, rank
    seed = fields.get("random_loc_seed")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise _refused("has no random_loc_seed that is a seed")
    return {"fourierft_scaling": _number(fields, "scaling"), "random_loc_seed": seed}


def _nothing(fields: Fields, module: str, rank: int) -> Settings:
    del fields, module, rank
    return {}


KINDS: dict[str, Kind] = {
    "LORA": Kind("lora_", _lora),
    "ADALORA": Kind("lora_E", _adalora),
    "LOHA": Kind("hada_", _loha),
    "LOKR": Kind("lokr_", _lokr),
    "IA3": Kind("ia3_l", _ia3),
    "OFT": Kind("oft_R", _oft),
    "BOFT": Kind("boft_", _nothing),
    "HRA": Kind("hra_u", _hra),
    "VERA": Kind("vera_", _nothing),
    "FOURIERFT": Kind("fourierft_", _fourierft),
    "C3A": Kind("c3a_", _nothing),
    "HIRA": Kind("hira_", _nothing),
    "GLORA": Kind("glora_", _nothing),
}


def _number(fields: Fields, name: str, zero: bool = False, default: float | None = None) -> float:
    found = fields.get(name, default)
    # Zero would mean "no change at all" to PEFT, and "as the rank" to everyone else.
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e6 or not (found or zero):
        raise _refused(f"has a {name} that is not a usable number")
    return float(found)


def _flag(fields: Fields, name: str) -> bool:
    found = fields.get(name, False)
    if not isinstance(found, bool):
        raise _refused(f"has a {name} that is neither true nor false")
    return found


def _pattern(fields: Fields, name: str) -> dict[str, float]:
    found = fields.get(name) or {}
    if not isinstance(found, dict) or not all(LITERAL.fullmatch(module) for module in found):
        raise _refused(f"has a {name} that is not a table of plain module names")
    numbers = {module: _number(found, module) for module in found}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise _refused(f"has a {name} with a number that is not finite")
    return numbers


def _refused(message: str) -> FileRefused:
    return FileRefused([Reason(Code.BAD_METADATA, NAME, message)])
