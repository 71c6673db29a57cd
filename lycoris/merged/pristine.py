"""What weights were before anything was worn: a copy of each one touched, kept where it was chosen to be kept."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lycoris.kernels.checksum import checksum
from lycoris.kernels.linalg import largest
from lycoris.kernels.row_blocks import blocks

Place = Literal["device", "host", "file"]
Choice = Literal["auto", "device", "host", "file"]
FindInFile = Callable[[str, str], Iterable[Tensor]]  # (component, parameter) -> what the base's files hold


@dataclass(frozen=True, eq=False)
class Kept:
    """A weight that was touched, and what it was before: one entry, so that no interruption parts the two."""

    component: str
    parameter: str
    live: Tensor
    pristine: Tensor  # bit for bit what live was, once it is cast to live's dtype
    place: Place
    largest: float  # absolute value in it

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.component}.{self.parameter}"

    def sum(self, start: int, stop: int) -> int:
        """Return the checksum of some rows of the pristine weight, as the live one has them."""
        return checksum(self.pristine[start:stop].to(self.live.dtype))

    def take_off(self) -> None:
        """Make the live weight again what it was, to the bit."""
        self.live.copy_(self.pristine)


class Pristine:
    """Keeps weights as they were when they were first touched.

    choice: "device", beside the weight; "host", in main memory, pinned where the weight is on a CUDA device; "file", in
    the base's own files, which costs no memory. find: how to find a weight there; one that is not there to the bit,
    cast as loading casts it, is kept on the host. "auto": "file" for a weight in main memory, where a swap takes as
    long from any place; "host" for one on another device, whose memory is the scarcer (not measured).
    """

    def __init__(self, choice: Choice, find: FindInFile | None) -> None:
        if choice not in get_args(Choice):
            raise ValueError(f"pristine weights are kept in one of {', '.join(get_args(Choice))}, not {choice!r}")
        self._choice: Choice = choice
        self._find = find

    def keep(self, component: str, parameter: str, live: Tensor) -> Kept:
        """Return a weight with a copy of what it is now."""
        pristine, place = self._copy(component, parameter, live)
        return Kept(component, parameter, live, pristine, place, largest(live))

    def _copy(self, component: str, parameter: str, live: Tensor) -> tuple[Tensor, Place]:
        on_cpu = live.device.type == "cpu"
        if self._find is not None and (self._choice == "file" or (self._choice == "auto" and on_cpu)):
            for stored in self._find(component, parameter):
                if stored.shape == live.shape and _same_bits(stored, live):
                    return stored, "file"
        if self._choice == "device" or on_cpu:
            return live.clone(), "device" if self._choice == "device" else "host"
        copy = torch.empty_like(live, device="cpu", pin_memory=live.device.type == "cuda")
        return copy.copy_(live), "host"


def _same_bits(stored: Tensor, live: Tensor) -> bool:
    """Tell whether a tensor of a file, cast as loading casts it, is the live weight to the bit (a NaN or −0 too)."""
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}[live.dtype.itemsize]
    return all(
        torch.equal(
            stored[start:stop].to(live.device, live.dtype).contiguous().view(words),
            live[start:stop].contiguous().view(words),
        )
        for start, stop in blocks(live.shape)
    )


def bytes_by_place(kept: Iterable[Kept]) -> dict[Place, int]:
    """Return how many bytes of pristine weights lie where; those in files are the files' own."""
    sizes: Counter[Place] = Counter()
    for one in kept:
        sizes[one.place] += one.pristine.nbytes
    return {place: sizes[place] for place in get_args(Place)}
