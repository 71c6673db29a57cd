"""What is random in a training comes from its seed and what it is for, never from what was drawn before."""

import hashlib

import torch

BYTES = 7  # of a hash; a generator takes 64 bits


def seed_of(*parts: object) -> int:
    """Return a seed for what is named by these parts: the training's seed, the step, the picture, and so on."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:BYTES], "big")


def generator(*parts: object) -> torch.Generator:
    """Return a generator on the CPU, whose numbers are the same for every device."""
    return torch.Generator("cpu").manual_seed(seed_of(*parts))
