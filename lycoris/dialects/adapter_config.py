"""PEFT's `adapter_config`: settings that the tensors do not hold, such as scales, flags and seeds.

It is in `adapter_config.json`, or in a file's own header (`header_config.py`). It is read field by field against a
table; fields that the table does not name (`auto_mapping`, custom code, training) are never read. A field that changes
the meaning of the tensors and is not read here is refused by name, and so is a family that is not read here.
"""

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lycoris.dialects.patterns import LITERAL, Pattern
from lycoris.dialects.suffixes import MAGNITUDE
from lycoris.errors import Code, FileRefused, Reason, shown

NAME = "adapter_config.json"
MUST_BE_OFF = (  # fields that must be off: with each, the same tensors make other weights
    *("fan_in_fan_out", "coft", "use_qalora", "alora_invocation_tokens", "layer_replication", "target_parameters"),
    *("trainable_token_indices", "arrow_config", "kasa_config", "use_bdlora", "megatron_config", "modules_to_save"),
    "monteclora_config",
)
BASE_UNCHANGED = (
    True,
    False,
    None,
    "gaussian",
    "eva",
    "orthogonal",
    "mica",
)  # initialisations that leave the base model as it is

Fields = Mapping[str, Any]
PeftSettings = dict[str, float | int]


class Family(NamedTuple):
    """A family: the start of its tensors' names, and its settings of a layer: (configuration, module, rank) -> them."""

    tensor_prefix: str
    settings: Callable[["AdapterConfig", str, int | None], PeftSettings]


@dataclass(frozen=True, eq=False)
class AdapterConfig:
    """A configuration that was judged and found sound."""

    family: str  # empty: not given
    fields: Fields
    where: str  # the file, or the entry of the header, for messages
    alphas: Pattern
    ranks: Pattern | None  # None: patterns that only PEFT can match, where the tensors' own ranks suffice

    def settings(self, module: str, names: Collection[str], rank: int | None) -> PeftSettings:
        """Return the settings that the configuration has for a layer, each under the name of a tensor.

        names: of the layer's tensors. rank: of its factors, None if it has none. Raises FileRefused if the layer is of
        another family, or a field is missing, of the wrong kind, or contradicted by the tensors.
        """
        kind = (
            FAMILIES[self.family]
            if self.family
            else next((FAMILIES[each] for each in SCALED if is_of(each, names)), None)
        )
        try:
            if kind is None or not any(name.startswith(kind.tensor_prefix) for name in names):
                if any(is_of(each, names) for each in FAMILIES):
                    raise _CannotFollow(f"is for {self.family or 'LORA'}, but {shown(module)} is of another family")
                return {}  # a difference in full or a norm: neither is scaled
            if self.fields.get("use_dora") and not {"dora_scale", MAGNITUDE}.intersection(names):
                raise _CannotFollow(f"has use_dora, but {shown(module)} has no magnitudes")
            return kind.settings(self, module, rank)
        except _CannotFollow as error:
            raise refused(self.where, str(error)) from error


class _CannotFollow(ValueError):
    """A field cannot be followed; the caller knows which configuration it is in."""


def adapter_config(data: bytes) -> AdapterConfig:
    """Return the configuration in the bytes of an adapter_config.json; raise FileRefused if it cannot be followed."""
    fields = parsed(data, NAME)
    if not isinstance(fields.get("peft_type"), str):
        raise refused(NAME, "is not a JSON object with a peft_type")
    return judged(fields, NAME)


def parsed(data: bytes | str, where: str) -> dict[str, Any]:
    """Return the JSON object in a text; raise FileRefused if there is none, or one that has a field twice."""
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            twice.append(where)
        return dict(pairs)

    try:
        fields = json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise refused(where, "is not JSON") from error
    if not isinstance(fields, dict):
        raise refused(where, "is not a JSON object")
    if twice:
        raise refused(where, "has a field twice")
    return fields


def judged(fields: Fields, where: str) -> AdapterConfig:
    """Return the configuration of these fields; raise FileRefused if it cannot be followed."""
    try:
        family = _family(fields)
        return AdapterConfig(family, fields, where, _pattern(fields, "alpha_pattern"), _ranks(fields, family))
    except _CannotFollow as error:
        raise refused(where, str(error)) from error


def refused(where: str, message: str) -> FileRefused:
    """Return the refusal of a file for its configuration."""
    return FileRefused([Reason(Code.BAD_METADATA, where, message)])


def _family(fields: Fields) -> str:
    family = fields.get("peft_type", "")
    if not isinstance(family, str) or (family and family not in FAMILIES):
        found = shown(str(family))
        raise _CannotFollow(f"is of PEFT's {found}, which is not read here: only {', '.join(sorted(FAMILIES))} are")
    for name in MUST_BE_OFF:
        if fields.get(name):
            raise _CannotFollow(
                f"has {name}, with which the same tensors make other weights, and which is not followed here"
            )
    if fields.get("bias", "none") not in ("none", None):
        raise _CannotFollow(
            "has trained the model's own biases too (bias), which the tensors do not distinguish from others"
        )
    start = fields.get("init_lora_weights")
    if (start.lower() if isinstance(start, str) else start) not in BASE_UNCHANGED:
        raise _CannotFollow(
            f"has init_lora_weights = {shown(str(start))}, which changed the base model before training"
        )
    return family


def is_of(family: str, names: Collection[str]) -> bool:
    """Tell whether a layer with tensors of these names is of a family."""
    return any(name.startswith(FAMILIES[family].tensor_prefix) for name in names)


def _lora(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    alpha = _alpha(config, "lora_alpha", module, rank)
    return {"alpha": alpha * math.sqrt(rank or 1) if _flag(config.fields, "use_rslora") else alpha}


def _loha(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    return {"alpha": _alpha(config, "alpha", module, rank)}


def _lokr(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    # Divided by the configured rank: factors in full have no rank of their own, and PEFT scales them too.
    r = _number(config.fields, "r")
    return {"scale": _alpha(config, "alpha", module, rank) / (config.ranks.of(module, r) if config.ranks else r)}


def _alpha(config: AdapterConfig, name: str, module: str, rank: int | None) -> float:
    """Return a layer's alpha; it is divided by the rank of the factors, which no field may contradict."""
    if rank is not None and config.ranks and "r" in config.fields:
        given = config.ranks.of(module, _number(config.fields, "r"))
        if given != rank:
            message = f"gives {shown(module)} rank {given:g}, its tensors have {rank}: the scale is not known"
            raise _CannotFollow(message)
    return config.alphas.of(module, _number(config.fields, name))


def _adalora(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    del module, rank
    return {"alpha": _number(config.fields, "lora_alpha", zero=True)}


def _ia3(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    del rank
    named = config.fields.get("feedforward_modules") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise _CannotFollow("has feedforward_modules that are no list of names")
    return {"is_feedforward": int(any(module.endswith(name) for name in named))}


def _oft(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    del module, rank
    if "use_cayley_neumann" not in config.fields:
        raise _CannotFollow(
            "does not give the direction of its rotations (use_cayley_neumann): PEFT before 0.16 wrote others"
        )
    neumann = _flag(config.fields, "use_cayley_neumann")
    return {"neumann_terms": int(_number(config.fields, "num_cayley_neumann_terms", default=5)) if neumann else 0}


def _hra(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    del module, rank
    return {"apply_GS": int(_flag(config.fields, "apply_GS"))}


def _fourierft(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    del module, rank
    seed = config.fields.get("random_loc_seed")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise _CannotFollow("has no random_loc_seed that is a seed")
    return {"fourierft_scaling": _number(config.fields, "scaling"), "random_loc_seed": seed}


def _nothing(config: AdapterConfig, module: str, rank: int | None) -> PeftSettings:
    del config, module, rank
    return {}


FAMILIES: dict[str, Family] = {
    "LORA": Family("lora_", _lora),
    "ADALORA": Family("lora_E", _adalora),
    "LOHA": Family("hada_", _loha),
    "LOKR": Family("lokr_", _lokr),
    "IA3": Family("ia3_l", _ia3),
    "OFT": Family("oft_R", _oft),
    "BOFT": Family("boft_", _nothing),
    "HRA": Family("hra_u", _hra),
    "VERA": Family("vera_", _nothing),
    "FOURIERFT": Family("fourierft_", _fourierft),
    "C3A": Family("c3a_", _nothing),
    "HIRA": Family("hira_", _nothing),
    "GLORA": Family("glora_", _nothing),
}
SCALED = ("LORA", "LOHA", "LOKR")  # families of a configuration that names none


def _number(fields: Fields, name: str, zero: bool = False, default: float | None = None) -> float:
    found = fields.get(name, default)
    # Zero means "no change at all" to PEFT, and "the rank" to everyone else.
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e6 or not (found or zero):
        raise _CannotFollow(f"has a {name} that is not a usable number")
    return float(found)


def _flag(fields: Fields, name: str) -> bool:
    found = fields.get(name) or False
    if not isinstance(found, bool):
        raise _CannotFollow(f"has a {name} that is neither true nor false")
    return found


def _ranks(fields: Fields, family: str) -> Pattern | None:
    try:
        return _pattern(fields, "rank_pattern")
    except _CannotFollow:
        if family == "LORA":
            return None
        raise


def _pattern(fields: Fields, name: str) -> Pattern:
    found = fields.get(name) or {}
    if not isinstance(found, dict) or not all(LITERAL.fullmatch(module) for module in found):
        raise _CannotFollow(f"has a {name} that is not a table of plain module names")
    return Pattern({module: _number(found, module) for module in found})
