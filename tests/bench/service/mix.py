"""The mix: fifty adapters of four kinds, and requests that ask for them as people do, few often and most seldom."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.commands.client import Client
from tests.bench.swap.families import FAMILIES, kohya, layers
from tests.bench.swap.subjects import subject

EXPONENT = 1.0  # Zipf: the n-th most popular adapter is asked for 1/n as often as the first
SECOND = 0.25  # of the requests have two
STRENGTHS = (0.6, 0.8, 1.0)
PROMPTS = ("red apple", "butterfly", "castle", "blue car", "cat", "rocket")
KINDS = ("LoRA r16, attention", "LoCon r16, everything", "LoHa r8, everything", "LoKr r8, everything")
assert set(KINDS) <= set(FAMILIES)


@dataclass(frozen=True)
class Mix:
    """Names of uploaded adapters, most popular first, and the bytes of their files."""

    names: tuple[str, ...]
    file_bytes: int

    def requests(self, count: int, steps: int, seed: int, adapted: bool = True) -> list[dict[str, Any]]:
        """Bodies to POST: the same pictures for the same seed; adapted=False asks for them without any adapter."""
        source = random.Random(seed)
        weights = [1 / (rank + 1) ** EXPONENT for rank, _ in enumerate(self.names)]
        bodies = []
        for number in range(count):
            many = 2 if source.random() < SECOND else 1
            names = dict.fromkeys(source.choices(self.names, weights, k=many))
            adapters = [{"ref": name, "strength": source.choice(STRENGTHS)} for name in names]
            body = {"prompt": source.choice(PROMPTS), "seed": seed * 10_000 + number, "steps": steps}
            bodies.append(body | {"adapters": adapters if adapted else []})
        return bodies


def files(count: int, folder: Path) -> list[Path]:
    """Write that many adapters for the bundled model."""
    bundled = subject("bundled", twin=False)
    written = []
    for number in range(count):
        path = folder / f"mix-{number}.safetensors"
        path.write_bytes(kohya(layers(KINDS[number % len(KINDS)], bundled, seed=number)))
        written.append(path)
    return written


def upload(paths: list[Path], client: Client) -> Mix:
    """Upload them, and return the mix of them."""
    names = [client.upload(path, path.stem, "a random one", [])["name"] for path in paths]
    return Mix(tuple(names), sum(path.stat().st_size for path in paths))
