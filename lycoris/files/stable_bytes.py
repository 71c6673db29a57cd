"""A safetensors file whose bytes depend on its contents alone: `save` writes metadata in another order every time."""

import json
from collections.abc import Mapping

import safetensors.torch
from torch import Tensor

ALIGNED = 8  # bytes, to which the format pads its header


def stable_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the file of these tensors, each contiguous and with memory of its own, and of the metadata by key."""
    saved = safetensors.torch.save(dict(tensors))
    length = int.from_bytes(saved[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    text = json.dumps(header | json.loads(saved[8 : 8 + length]), separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    return len(text).to_bytes(8, "little") + text + saved[8 + length :]
