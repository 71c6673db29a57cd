"""Control nets in memory: made of an adapter's file, of the base's dtype, on its device, kept beside it.

Least recently used go first; those of the generation at hand stay. A net changes no module of the base: it is called
beside it (`applying.py`). Some classes compute with layers of the base, which are then those of both.
"""

import time
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.controlnets.controlnet_sd3 import SD3ControlNetModel

from app.shared.wire.adapter import ResolvedAdapter
from lycoris import checked
from workers.adapters.cache import AdapterCache
from workers.control.file import ControlFile
from workers.models.loading import LoadedModel

TIER = "control"


@dataclass(frozen=True, eq=False)
class Net:
    """A control net that is ready to be called."""

    module: Any  # of one of diffusers' classes
    modes: tuple[str, ...]
    nbytes: int


class Nets:
    """The nets that are in memory, by hash and what of the file is left out."""

    def __init__(self, base: LoadedModel, cache: AdapterCache, budget_bytes: int) -> None:
        self._base = base
        self._cache = cache
        self._budget = budget_bytes
        self._held: OrderedDict[tuple[str, tuple[str, ...]], Net] = OrderedDict()

    def pin(self, uses: Sequence[ResolvedAdapter]) -> list[Net]:
        """Return the nets of a generation, in the order of its list; others go until all fit or nothing can go.

        Raises as `AdapterCache.get` does.
        """
        found = [self._get(use) for use in uses]
        over = sum(net.nbytes for net in self._held.values()) - self._budget
        for key, net in list(self._held.items()):
            if over > 0 and net not in found:
                over -= self._held.pop(key).nbytes
                self._cache.counters.add_to_tier(TIER, evictions=1)
        return found

    @property
    def resident(self) -> frozenset[str]:
        """sha256 of every net that is in memory."""
        return frozenset(sha256 for sha256, _ in self._held)

    def _get(self, use: ResolvedAdapter) -> Net:
        key = use.sha256, tuple(use.ignore)
        held = self._held.get(key)
        self._cache.counters.add_to_tier(TIER, hits=held is not None, misses=held is None)
        if held is None:
            held = self._held[key] = self._made(use)
        self._held.move_to_end(key)
        return held

    def _made(self, use: ResolvedAdapter) -> Net:
        data = self._cache.data(use)
        start = time.perf_counter()
        file = ControlFile(checked(data), use.ignore)
        made = self._base.denoiser()
        net, names, config = file.configured(made)
        denoiser = getattr(self._base.pipeline, made.component)  # type: ignore[union-attr]  # else it is not configured
        dtype, device = getattr(torch, self._base.profile.dtype), denoiser.device
        # What a class computes for itself is kept; numbers of a size that the file decides are not drawn first
        with warnings.catch_warnings(action="ignore"), init_empty_weights(include_buffers=False):
            module: Any = net.made(**config)
        module.load_state_dict(file.state(names, dtype), strict=True, assign=True)
        if net.made is SD3ControlNetModel and module.pos_embed is None:  # it has a copy of the base's
            module.pos_embed = module._get_pos_embed_from_transformer(denoiser)
        module.to(device=device, dtype=dtype).requires_grad_(False).eval()
        nbytes = sum(tensor.nbytes for tensor in module.state_dict().values())
        if net.shares:
            module.from_transformer(module, denoiser)
        self._cache.counters.add_to_tier(TIER, bytes=nbytes, seconds=time.perf_counter() - start)
        return Net(module, file.modes, nbytes)
