"""A checksum of rows of a weight, computed at memory speed, to detect changed bits."""

import torch
from torch import Tensor

WORDS = 1024  # words of 8 bytes in one sum


def checksum(rows: Tensor) -> int:
    """Return a checksum over all bits of a tensor.

    One changed element anywhere, or two exchanged stretches of 8 KiB, give a different checksum. Sums of words rather
    than a CRC: 36 GB/s against 3.6 GB/s on the machine where this was chosen, which copies at 30 GB/s.
    """
    data = rows.contiguous().view(-1).view(torch.uint8)
    whole = len(data) // 8 * 8
    total = int(data[whole:].to(torch.int64).sum())
    words = data[:whole] if data[:whole].storage_offset() % 8 == 0 else data[:whole].clone()
    words = words.view(torch.int64)
    even = len(words) // WORDS * WORDS
    sums = torch.cat([words[:even].view(-1, WORDS).sum(1), words[even:].sum().view(1)])
    # Odd factors by position, modulo 2⁶⁴
    return total + int((sums * torch.arange(1, 2 * len(sums), 2, device=sums.device)).sum())
