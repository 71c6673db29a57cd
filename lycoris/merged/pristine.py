"""Backups of pristine weights: one copy of every weight that was ever patched, in a location that can be chosen."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from lycoris.kernels.checksum import checksum
from lycoris.kernels.linalg import largest
from lycoris.kernels.row_blocks import blocks

PristineLocation = Literal["device", "host", "file"]
PristineChoice = Literal["auto", "device", "host", "file"]
FindInFile = Callable[[str, str], Iterable[Tensor]]  # (component, parameter) -> tensors in the base's files


@dataclass(frozen=True, eq=False)
class Backup:
    """A live weight together with its pristine value: one entry, so that no interruption can separate the two."""

    component: str
    parameter: str
    live: Tensor
    pristine: Tensor  # bit for bit the former value of live, once it is cast to live's dtype
    location: PristineLocation
    largest: float  # absolute value in it

    @property
    def name(self) -> str:
        """The weight's name for messages."""
        return f"{self.component}.{self.parameter}"

    def checksum(self, start: int, stop: int) -> int:
        """Return the checksum of some rows of the pristine value, in the live weight's dtype."""
        return checksum(self.pristine[start:stop].to(self.live.dtype))

    def restore(self) -> None:
        """Give the live weight its pristine value back, bit for bit."""
        self.live.copy_(self.pristine)


class Pristine:
    """Makes backups of weights before they are patched for the first time.

    choice: "device", on the weight's own device; "host", in main memory, pinned if the weight is on a CUDA device;
    "file", mapped from the base's own files, which costs no memory. "auto": "file" for a weight in main memory, where a
    swap takes the same time from any location; "host" for a weight on another device, whose memory is scarcer (not
    measured). find: where the files hold a weight; a weight that they do not hold to the bit, cast as loading casts it,
    is copied to the host.
    """

    def __init__(self, choice: PristineChoice, find: FindInFile | None) -> None:
        if choice not in get_args(PristineChoice):
            allowed = ", ".join(get_args(PristineChoice))
            raise ValueError(f"pristine weights are kept in one of {allowed}, not {choice!r}")
        self._choice: PristineChoice = choice
        self._find = find

    def back_up(self, component: str, parameter: str, live: Tensor) -> Backup:
        """Return a backup of the weight's present value."""
        pristine, location = self._copy(component, parameter, live)
        return Backup(component, parameter, live, pristine, location, largest(live))

    def _copy(self, component: str, parameter: str, live: Tensor) -> tuple[Tensor, PristineLocation]:
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
    """Tell whether a tensor of a file, cast as loading casts it, equals the live weight to the bit (NaN and −0 too)."""
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}[live.dtype.itemsize]
    return all(
        torch.equal(
            stored[start:stop].to(live.device, live.dtype).contiguous().view(words),
            live[start:stop].contiguous().view(words),
        )
        for start, stop in blocks(live.shape)
    )


def bytes_by_location(backups: Iterable[Backup]) -> dict[PristineLocation, int]:
    """Return the bytes of pristine weights in each location; bytes in files are not extra memory."""
    sizes: Counter[PristineLocation] = Counter()
    for backup in backups:
        sizes[backup.location] += backup.pristine.nbytes
    return {location: sizes[location] for location in get_args(PristineLocation)}
