"""What a layer's tensors lack and the rest of the file has: PEFT's scales and settings, VeRA's shared matrices."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lycoris.algorithms.change import SCALARS
from lycoris.dialects.adapter_config import SCALED, AdapterConfig, Settings, is_of, refused
from lycoris.dialects.header_config import KEY, Configured, PlainAlpha, plain_alpha
from lycoris.errors import FileRefused, shown

SHARED = frozenset({"vera_A", "vera_B"})  # of the whole file: PEFT writes them beside the layers, not in one
VERA = frozenset({"vera_lambda_b", "vera_lambda_d"})
RANKED = ("lora_down.weight", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")  # the first of them is as long as the rank
ROUNDED = 0.01  # by how much of itself an alpha stored in few bits may differ from the one in the configuration
NAMED = 3  # modules that a message names
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Completion:
    """The rest of one file, and what was found while it was asked layer by layer."""

    configured: Sequence[Configured]  # adapter_config.json, and what the header has of its kind
    metadata: Mapping[str, str]  # may have one alpha for all layers
    claimed: frozenset[str]  # components that some layer of the file names
    shared: Parts
    _followed: dict[AdapterConfig, set[tuple[tuple[str, ...], str]]] = field(default_factory=lambda: defaultdict(set))
    _gainsaid: list[str] = field(default_factory=list)
    _by_plain: Counter[PlainAlpha] = field(default_factory=Counter)

    def of(self, parts: Parts, components: Sequence[str], module: str) -> Parts:
        """Return a layer's tensors, by suffix, and what the rest of the file adds to them.

        A scale among the tensors wins over one beside them. Raises FileRefused if a configuration does not fit, or it
        is not clear which is meant.
        """
        if VERA & parts.keys():
            parts = parts | self.shared
        own = bool(SCALARS & parts.keys())
        ranked = next((parts[name] for name in RANKED if name in parts), None)
        rank = len(ranked) if ranked is not None and ranked.ndim else None
        configs = self._meant(components)
        try:
            added = _agreed({config: config.settings(module, parts.keys(), rank) for config in configs}, module)
        except FileRefused:
            if own:  # its own scale is all that it needs
                return parts
            raise
        if own and _gainsay(parts, added):
            self._gainsaid.append(module)
        if not own:
            for config in configs:
                self._followed[config].add((tuple(components), module))
        if not own and not added and any(is_of(family, parts.keys()) for family in SCALED):
            plain = plain_alpha(self.metadata)
            self._by_plain.update([plain] if plain else [])
            added = {"alpha": plain.alpha} if plain else {}
        return {name: _scalar(number) for name, number in added.items()} | parts

    def problems(self) -> Iterator[FileRefused]:
        """Yield why configurations that were followed may not mean this file's layers, whatever each may be."""
        for config, layers in self._followed.items():
            where, modules = config.where, {module for _, module in layers}
            if where == KEY and len({components for components, _ in layers}) > 1:
                yield refused(where, "does not say which of the file's components it is for")
            missed = _missed(config, modules)
            if missed and (_is_flat(modules) or (len(missed) == len(config.alphas.numbers) and "." in "".join(missed))):
                yield refused(where, f"has scales for {_some(missed)}, which no layer of this file is called")

    def doubts(self) -> Iterator[str]:
        """Yield what is unusual about the scales that were found, though it is not refused."""
        for plain, layers in self._by_plain.items():
            yield f"{layers} layers are scaled by the {plain.key} of the header, {plain.alpha:g}"
        if self._gainsaid:
            yield f"the configuration has other scales than the tensors, which are believed: {_some(self._gainsaid)}"
        for config, followed in self._followed.items():
            missed = _missed(config, {module for _, module in followed})
            if missed:
                yield f"{config.where} has scales for {_some(missed)}, which no layer of this file is called"

    def _meant(self, components: Sequence[str]) -> list[AdapterConfig]:
        """Return the configurations that may be those of a layer of one of these components, the first that has one."""
        if not components:  # of whichever component the file does not name
            return [config for known, config in self.configured if not known or not self.claimed.intersection(known)]
        of_all = [config for known, config in self.configured if not known]
        for component in components:
            found = [config for known, config in self.configured if component in known]
            if found:
                return [*of_all, *found]
        return of_all


def _agreed(settings: Mapping[AdapterConfig, Settings], module: str) -> Settings:
    """Return what all configurations say of a layer; raise FileRefused if they say different things."""
    found = list(settings.values())
    if any(each != found[0] for each in found):
        wheres = " and ".join(config.where for config in settings)
        raise refused(wheres, f"say different things of the scale of {shown(module)}, and either may be meant")
    return found[0] if found else {}


def _gainsay(parts: Parts, added: Settings) -> bool:
    known = {} if any(tensor.is_meta for tensor in parts.values()) else added  # of names alone no number is known
    return any(
        name in parts and parts[name].numel() == 1 and not math.isclose(float(parts[name]), number, rel_tol=ROUNDED)
        for name, number in known.items()
    )


def _missed(config: AdapterConfig, modules: set[str]) -> list[str]:
    fitting = {name for module in modules for name in config.alphas.matches(module)}
    return [name for name in config.alphas.numbers if name not in fitting]


def _is_flat(modules: set[str]) -> bool:
    """Tell whether the file has underscores for dots: then the end of a path does not tell a module."""
    return any("_" in module for module in modules) and not any("." in module for module in modules)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _scalar(number: float | int) -> Tensor:
    return torch.tensor(number, dtype=torch.int64 if isinstance(number, int) else torch.float64)
