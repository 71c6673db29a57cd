"""Settings of a layer that are elsewhere in the file: PEFT's scales and settings, VeRA's shared matrices."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lycoris.algorithms.change import SCALARS
from lycoris.dialects.adapter_config import SCALED, AdapterConfig, PeftSettings, is_of, refused
from lycoris.dialects.header_config import KEY, Configured, PlainAlpha, plain_alpha
from lycoris.errors import FileRefused, shown

FILE_WIDE = frozenset({"vera_A", "vera_B"})  # one for the whole file: PEFT writes them outside the layers
VERA_OWN = frozenset({"vera_lambda_b", "vera_lambda_d"})
RANK_TENSORS = (
    "lora_down.weight",
    "hada_w1_b",
    "lokr_w2_b",
    "lokr_w1_b",
)  # the first that a layer has is as long as its rank
ROUNDING = 0.01  # relative difference of an alpha stored in few bits from the one in the configuration
NAMED = 3  # modules that a message names
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class FileSettings:
    """The settings of one file outside its layers, and a record of the layers that used them."""

    configured: Sequence[Configured]  # adapter_config.json, and configurations in the header
    metadata: Mapping[str, str]  # may have one alpha for all layers
    named_components: frozenset[str]  # components that some layer of the file names
    shared: Tensors
    _used: dict[AdapterConfig, set[tuple[tuple[str, ...], str]]] = field(default_factory=lambda: defaultdict(set))
    _contradicted: list[str] = field(default_factory=list)
    _plainly_scaled: Counter[PlainAlpha] = field(default_factory=Counter)

    def completed(self, tensors: Tensors, components: Sequence[str], module: str) -> Tensors:
        """Return a layer's tensors, by suffix, completed by the settings that the file has for it elsewhere.

        A scale among the tensors takes precedence. Raises FileRefused if a configuration does not fit, or it is not
        clear which is meant.
        """
        if VERA_OWN & tensors.keys():
            tensors = tensors | self.shared
        own = bool(SCALARS & tensors.keys())
        ranked = next((tensors[name] for name in RANK_TENSORS if name in tensors), None)
        rank = len(ranked) if ranked is not None and ranked.ndim else None
        configs = self._candidates(components)
        try:
            added = _agreed({config: config.settings(module, tensors.keys(), rank) for config in configs}, module)
        except FileRefused:
            if own:  # its own scale suffices
                return tensors
            raise
        if own and _contradicts(tensors, added):
            self._contradicted.append(module)
        if not own:
            for config in configs:
                self._used[config].add((tuple(components), module))
        if not own and not added and any(is_of(family, tensors.keys()) for family in SCALED):
            plain = plain_alpha(self.metadata)
            self._plainly_scaled.update([plain] if plain else [])
            added = {"alpha": plain.alpha} if plain else {}
        return {name: _scalar(number) for name, number in added.items()} | tensors

    def problems(self) -> Iterator[FileRefused]:
        """Yield why configurations that were used may not be meant for the layers of this file."""
        for config, layers in self._used.items():
            where, modules = config.where, {module for _, module in layers}
            if where == KEY and len({components for components, _ in layers}) > 1:
                yield refused(where, "does not name which of the file's components it is for")
            unmatched = _unmatched(config, modules)
            all_dotted = len(unmatched) == len(config.alphas.numbers) and "." in "".join(unmatched)
            if unmatched and (_is_flat(modules) or all_dotted):
                yield refused(where, f"has scales for {_listed(unmatched)}, but no layer of this file has such a name")

    def doubts(self) -> Iterator[str]:
        """Yield doubts about the scales that were found."""
        for plain, layers in self._plainly_scaled.items():
            yield f"{layers} layers are scaled by the {plain.key} of the header, {plain.alpha:g}"
        if self._contradicted:
            listed = _listed(self._contradicted)
            yield f"the configuration has other scales than the tensors, whose own are used: {listed}"
        for config, layers in self._used.items():
            unmatched = _unmatched(config, {module for _, module in layers})
            if unmatched:
                yield f"{config.where} has scales for {_listed(unmatched)}, but no layer of this file has such a name"

    def _candidates(self, components: Sequence[str]) -> list[AdapterConfig]:
        """Return the configurations for a layer of these components: of the first component that has one."""
        if not components:  # a component that no other layer of the file names
            named = self.named_components
            return [config for known, config in self.configured if not known or not named.intersection(known)]
        of_all = [config for known, config in self.configured if not known]
        for component in components:
            found = [config for known, config in self.configured if component in known]
            if found:
                return [*of_all, *found]
        return of_all


def _agreed(settings: Mapping[AdapterConfig, PeftSettings], module: str) -> PeftSettings:
    """Return the settings that all configurations have for a layer; raise FileRefused if they differ."""
    found = list(settings.values())
    if any(each != found[0] for each in found):
        wheres = " and ".join(config.where for config in settings)
        raise refused(wheres, f"have different scales for {shown(module)}, and either may be meant")
    return found[0] if found else {}


def _contradicts(tensors: Tensors, added: PeftSettings) -> bool:
    known = {} if any(tensor.is_meta for tensor in tensors.values()) else added  # of names alone no value is known
    return any(
        name in tensors
        and tensors[name].numel() == 1
        and not math.isclose(float(tensors[name]), number, rel_tol=ROUNDING)
        for name, number in known.items()
    )


def _unmatched(config: AdapterConfig, modules: set[str]) -> list[str]:
    fitting = {name for module in modules for name in config.alphas.matches(module)}
    return [name for name in config.alphas.numbers if name not in fitting]


def _is_flat(modules: set[str]) -> bool:
    """Tell whether the file has underscores for dots: then the end of a path does not identify a module."""
    return any("_" in module for module in modules) and not any("." in module for module in modules)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _scalar(number: float | int) -> Tensor:
    return torch.tensor(number, dtype=torch.int64 if isinstance(number, int) else torch.float64)
