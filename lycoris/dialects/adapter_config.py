"""An `adapter_config`, in which PEFT keeps what its tensors do not say: scales, flags, seeds.

It stands in `adapter_config.json`, or in a file's own header (`header_config.py`). Read field by field against a table;
what the table does not name (`auto_mapping`, custom code, training) is never looked at. A field that would change what
the tensors mean and is not read here is refused, and so is a family of adapters that is not read here, both by name.
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
MEANINGFUL = (  # fields that must be off: each makes other weights of the same tensors
    *("fan_in_fan_out", "coft", "use_qalora", "alora_invocation_tokens", "layer_replication", "target_parameters"),
    *("trainable_token_indices", "arrow_config", "kasa_config", "use_bdlora", "megatron_config", "modules_to_save"),
    "monteclora_config",
)
BASE_KEPT = (True, False, None, "gaussian", "eva", "orthogonal", "mica")  # ways to begin that leave the base alone

Fields = Mapping[str, Any]
Settings = dict[str, float | int]


class Kind(NamedTuple):
    """One family: the start of its tensors' names, and the settings of a layer of (configuration, module, rank)."""

    sign: str
    settings: Callable[["AdapterConfig", str, int | None], Settings]


@dataclass(frozen=True, eq=False)
class AdapterConfig:
    """A configuration that was judged and found sound."""

    family: str  # empty: it does not say
    fields: Fields
    where: str  # it stands
    alphas: Pattern
    ranks: Pattern | None  # None: names that only PEFT could match, where only the tensors' ranks are needed

    def settings(self, module: str, names: Collection[str], rank: int | None) -> Settings:
        """Return what the configuration adds to a layer's tensors of these names, each under the name of a tensor.

        rank: of the layer's factors, None if it has none. Raises FileRefused if the layer is of another family, or a
        field is missing, of the wrong kind, or gainsaid by the tensors.
        """
        kind = KINDS[self.family] if self.family else next((KINDS[each] for each in SCALED if is_of(each, names)), None)
        try:
            if kind is None or not any(name.startswith(kind.sign) for name in names):
                if any(is_of(each, names) for each in KINDS):
                    raise _Unfit(f"speaks of {self.family or 'LORA'}, but {shown(module)} is of another family")
                return {}  # a whole difference or a norm, which no scale is for
            if self.fields.get("use_dora") and not {"dora_scale", MAGNITUDE}.intersection(names):
                raise _Unfit(f"has use_dora, but {shown(module)} has no magnitudes")
            return kind.settings(self, module, rank)
        except _Unfit as error:
            raise refused(self.where, str(error)) from error


class _Unfit(ValueError):
    """Something of a configuration cannot be followed; where it stands is not known here."""


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
    """Return the configuration that these fields are; raise FileRefused if it cannot be followed."""
    try:
        family = _family(fields)
        return AdapterConfig(family, fields, where, _pattern(fields, "alpha_pattern"), _ranks(fields, family))
    except _Unfit as error:
        raise refused(where, str(error)) from error


def refused(where: str, message: str) -> FileRefused:
    """Return the refusal of a file for what its configuration says, or does not say."""
    return FileRefused([Reason(Code.BAD_METADATA, where, message)])


def _family(fields: Fields) -> str:
    family = fields.get("peft_type", "")
    if not isinstance(family, str) or (family and family not in KINDS):
        found = shown(str(family))
        raise _Unfit(f"is of PEFT's {found}, which is not read here: only {', '.join(sorted(KINDS))} are")
    for name in MEANINGFUL:
        if fields.get(name):
            raise _Unfit(f"has {name}, which makes other weights of the same tensors and is not followed here")
    if fields.get("bias", "none") not in ("none", None):
        raise _Unfit("has trained the model's own biases along (bias), which the tensors do not tell from others")
    begun = fields.get("init_lora_weights")
    if (begun.lower() if isinstance(begun, str) else begun) not in BASE_KEPT:
        raise _Unfit(f"has init_lora_weights = {shown(str(begun))}, which changed the base model before training")
    return family


def is_of(family: str, names: Collection[str]) -> bool:
    """Tell whether a layer with tensors of these names is of a family."""
    return any(name.startswith(KINDS[family].sign) for name in names)


def _lora(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    alpha = _alpha(config, "lora_alpha", module, rank)
    return {"alpha": alpha * math.sqrt(rank or 1) if _flag(config.fields, "use_rslora") else alpha}


def _loha(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    return {"alpha": _alpha(config, "alpha", module, rank)}


def _lokr(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    # Divided by the rank that was asked for: whole factors have none of their own, and PEFT scales them all the same.
    r = _number(config.fields, "r")
    return {"scale": _alpha(config, "alpha", module, rank) / (config.ranks.of(module, r) if config.ranks else r)}


def _alpha(config: AdapterConfig, name: str, module: str, rank: int | None) -> float:
    """Return a layer's alpha; what it is over is the rank of its factors, which no field may gainsay."""
    if rank is not None and config.ranks and "r" in config.fields:
        told = config.ranks.of(module, _number(config.fields, "r"))
        if told != rank:
            message = (
                f"gives {shown(module)} rank {told:g}, its tensors have {rank}: which scale was meant is not known"
            )
            raise _Unfit(message)
    return config.alphas.of(module, _number(config.fields, name))


def _adalora(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    del module, rank
    return {"alpha": _number(config.fields, "lora_alpha", zero=True)}


def _ia3(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    del rank
    named = config.fields.get("feedforward_modules") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise _Unfit("has feedforward_modules that are no list of names")
    return {"is_feedforward": int(any(module.endswith(name) for name in named))}


def _oft(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    del module, rank
    if "use_cayley_neumann" not in config.fields:
        raise _Unfit("does not say which way its rotations turn (use_cayley_neumann): PEFT before 0.16 wrote others")
    neumann = _flag(config.fields, "use_cayley_neumann")
    return {"neumann_terms": int(_number(config.fields, "num_cayley_neumann_terms", default=5)) if neumann else 0}


def _hra(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    del module, rank
    return {"apply_GS": int(_flag(config.fields, "apply_GS"))}


def _fourierft(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    del module, rank
    seed = config.fields.get("random_loc_seed")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise _Unfit("has no random_loc_seed that is a seed")
    return {"fourierft_scaling": _number(config.fields, "scaling"), "random_loc_seed": seed}


def _nothing(config: AdapterConfig, module: str, rank: int | None) -> Settings:
    del config, module, rank
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
SCALED = ("LORA", "LOHA", "LOKR")  # families that a configuration may mean which does not name its own


def _number(fields: Fields, name: str, zero: bool = False, default: float | None = None) -> float:
    found = fields.get(name, default)
    # Zero would mean "no change at all" to PEFT, and "as the rank" to everyone else.
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e6 or not (found or zero):
        raise _Unfit(f"has a {name} that is not a usable number")
    return float(found)


def _flag(fields: Fields, name: str) -> bool:
    found = fields.get(name) or False
    if not isinstance(found, bool):
        raise _Unfit(f"has a {name} that is neither true nor false")
    return found


def _ranks(fields: Fields, family: str) -> Pattern | None:
    try:
        return _pattern(fields, "rank_pattern")
    except _Unfit:
        if family == "LORA":
            return None
        raise


def _pattern(fields: Fields, name: str) -> Pattern:
    found = fields.get(name) or {}
    if not isinstance(found, dict) or not all(LITERAL.fullmatch(module) for module in found):
        raise _Unfit(f"has a {name} that is not a table of plain module names")
    return Pattern({module: _number(found, module) for module in found})
