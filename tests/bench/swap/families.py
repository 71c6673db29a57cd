"""The adapters that swaps are measured with: realistic in rank, reach and dtype, random in their numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import gcd, prod

import safetensors.torch
import torch
from torch import Tensor

from tests.bench.swap.subjects import Subject, matrices

Tensors = dict[str, Tensor]
Random = Callable[..., Tensor]
LORA, LOHA, OFT, LOKR = 16, 8, 16, 8  # rank, rank, most size of a block, rank and factor
DTYPE = torch.float16  # what trainers save
SIZE = 0.02
PEFT = {"lora_up.weight": "lora_B.weight", "lora_down.weight": "lora_A.weight"}


@dataclass(frozen=True)
class Family:
    """A kind of adapter. at_most: the aim for a swap, in copies of the touched weights."""

    make: Callable[[Tensor, Random], Tensors]
    attention_only: bool = False
    at_most: float | None = None

    def reaches(self, path: str) -> bool:
        """Tell whether such an adapter changes the layer."""
        return not self.attention_only or ".attn" in path


def _lora(weight: Tensor, r: Random) -> Tensors:
    o, i, *k = weight.shape
    factors = {"lora_up.weight": r(o, LORA, *(1 for _ in k)), "lora_down.weight": r(LORA, i, *k)}
    return factors | {"alpha": torch.tensor(float(LORA))}


def _loha(weight: Tensor, r: Random) -> Tensors:
    o, i = len(weight), prod(weight.shape[1:])
    halves = {f"hada_w{n}_{ab}": r(*s) for n in (1, 2) for ab, s in (("a", (o, LOHA)), ("b", (LOHA, i)))}
    return halves | {"alpha": torch.tensor(float(LOHA))}


def _lokr(weight: Tensor, r: Random) -> Tensors:
    o, i, *k = weight.shape
    rows, columns = _factor(o), _factor(i)
    right = (o // rows, i // columns)
    if max(right) / 2 > LOKR:
        second = {"lokr_w2_a": r(right[0], LOKR), "lokr_w2_b": r(LOKR, right[1] * prod(k))}
    else:  # LyCORIS keeps a small one whole, and reads it so
        second = {"lokr_w2": r(*right, *k)}
    return {"lokr_w1": r(rows, columns), **second, "alpha": torch.tensor(float(LOKR))}


def _factor(size: int) -> int:
    """Divide a size as LyCORIS does with factor 8: the smaller of two factors, and at most 8."""
    return max(factor for factor in range(1, LOKR + 1) if size % factor == 0 and factor**2 <= size)


def _dora(weight: Tensor, r: Random) -> Tensors:
    norms = weight.detach().float().flatten(1).norm(dim=1).cpu()
    scale = (norms * (1 + r(len(weight)))).view(-1, *(1 for _ in weight.shape[1:]))
    return _lora(weight, r) | {"dora_scale": scale}


def _oft(weight: Tensor, r: Random) -> Tensors:
    size = gcd(len(weight), OFT)
    while size**2 > len(weight):  # LyCORIS reads the lesser of size and number of blocks as the size
        size //= 2
    return {"oft_blocks": r(len(weight) // size, size, size), "alpha": torch.tensor(0.0)}


def _full(weight: Tensor, r: Random) -> Tensors:
    return {"diff": r(*weight.shape)}


FAMILIES = {
    "LoRA r16, attention": Family(_lora, attention_only=True, at_most=2.0),
    "LoCon r16, everything": Family(_lora, at_most=2.0),
    "LoKr r8, everything": Family(_lokr, at_most=1.5),
    "full, attention": Family(_full, attention_only=True, at_most=1.5),
    "LoHa r8, everything": Family(_loha, at_most=4.0),
    "DoRA r16, everything": Family(_dora, at_most=5.0),
    "OFT 16, everything": Family(_oft),
}
FOR_PEFT = ("LoRA r16, attention", "LoCon r16, everything")


def layers(family: str, subject: Subject, seed: int) -> dict[str, Tensors]:
    """Return an adapter of the family: module -> its tensors by suffix."""
    generator, made = torch.Generator().manual_seed(seed), FAMILIES[family]

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * SIZE

    found = {path: made.make(module.weight, random) for path, module in matrices(subject.unet) if made.reaches(path)}
    return {path: {suffix: tensor.to(DTYPE) for suffix, tensor in group.items()} for path, group in found.items()}


def kohya(layers: Mapping[str, Tensors], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a file as kohya's trainers and LyCORIS name its tensors."""
    named = {f"lora_unet_{path.replace('.', '_')}.{suffix}": t for path, g in layers.items() for suffix, t in g.items()}
    return safetensors.torch.save(named, metadata)


def peft(layers: Mapping[str, Tensors]) -> bytes:
    """The bytes of a LoRA file as diffusers and PEFT name its tensors; alpha is the rank, as it is here."""
    named = {
        f"unet.{path}.{PEFT[suffix]}": t for path, g in layers.items() for suffix, t in g.items() if suffix in PEFT
    }
    return safetensors.torch.save(named)


def touched(family: str, subject: Subject) -> list[str]:
    """The parameters that such an adapter changes."""
    return [f"{path}.weight" for path, _ in matrices(subject.unet) if FAMILIES[family].reaches(path)]
