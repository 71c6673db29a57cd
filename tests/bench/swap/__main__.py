"""The cost of a swap: ours against the limit of copying, against diffusers + PEFT and the LyCORIS library, in one run.

`python -m tests.bench.swap` prints a table per part, and one line of JSON last. With no options it takes about half an
hour and 12 GB; `--models bundled` takes minutes, `--models tiny --rounds 1` seconds. What cannot be measured here (a
peer that is not installed) is a sentence in the table.
"""

import argparse
import gc
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from rich.console import Console
from rich.status import Status

from tests.bench.figures import Figure, table
from tests.bench.provenance import provenance
from tests.bench.swap.bench import Bench, Missing, Part
from tests.bench.swap.drift import drift
from tests.bench.swap.families import FAMILIES
from tests.bench.swap.lycoris_library import lycoris_library
from tests.bench.swap.memory import memory, soak
from tests.bench.swap.steps import steps
from tests.bench.swap.subjects import NAMES
from tests.bench.swap.swaps import swaps

PARTS: dict[str, tuple[str, Part]] = {
    "swaps": ("Swaps", swaps),
    "steps": ("A denoising step", steps),
    "lycoris": ("The LyCORIS library", lycoris_library),
    "drift": ("What is left after many swaps", drift),
    "memory": ("Resident memory", memory),
    "soak": ("Resident memory over many adapters", soak),
}
ON = {"drift": ("bundled", "tiny"), "soak": ("bundled", "tiny")}  # parts that are about the number of swaps


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    diffusers_logging.set_verbosity_error()
    console = Console(stderr=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="radiata-bench-") as folder:
        for model in options.models:
            for name in options.parts:
                if model not in ON.get(name, (model,)):
                    continue
                title, part = PARTS[name]
                with console.status(f"{title}…") as status:
                    found = list(_alone(name, part, _bench(options, model, Path(folder), status, title)))
                figures += found
                console.print(table(f"{title}: {found[0].model}", found))
                gc.collect()
    missed = [" ".join((figure.model, figure.family, figure.what)) for figure in figures if figure.met is False]
    console.print(f"{len(missed)} aims missed: {'; '.join(missed)}" if missed else "every aim is met")
    settings = {"threads": torch.get_num_threads(), "rounds": options.rounds, "dtype": options.dtype}
    settings |= {"device": options.device}
    line = {"bench": "swap", "settings": settings, **provenance(), "figures": [one.as_json() for one in figures]}
    if options.json:
        options.json.write_text(json.dumps(line) + "\n")
    print(json.dumps(line))


def _alone(name: str, part: Part, bench: Bench) -> Iterator[Figure]:
    """The figures of one part; what keeps it from going on is a line of its table, and the other parts are measured."""
    try:
        yield from part(bench)
    except Missing as missing:
        yield Figure(part=name, model=NAMES[bench.model], what="not measured", note=str(missing))
    except Exception as error:  # one part must not cost the half hour of the others
        logging.getLogger("tests.bench").exception("%s failed", name)
        yield Figure(part=name, model=NAMES[bench.model], what="failed", note=f"{type(error).__name__}: {error}")


def _bench(options: argparse.Namespace, model: str, folder: Path, status: Status, title: str) -> Bench:
    families = [name for name in FAMILIES if any(word.lower() in name.lower() for word in options.families)]
    return Bench(
        model=model,
        folder=folder,
        device=options.device,
        dtype=getattr(torch, options.dtype),
        rounds=options.rounds,
        families=tuple(families),
        step_rounds=options.step_rounds,
        latent=options.latent,
        swaps=options.swaps,
        soak=options.soak,
        profiled=options.profile,
        tick=lambda what: status.update(f"{title}: {what}"),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.swap", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", choices=NAMES, default=["sd15", "bundled"], help="default: sd15 bundled")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all of them")
    add("--families", nargs="+", default=[""], help="words in their names, such as LoRA LoKr (default: all)")
    add("--rounds", type=int, default=5, help="rounds of swaps after the one that warms up (default 5)")
    add("--step-rounds", type=int, default=3, help="rounds of denoising steps (default 3)")
    add("--latent", type=int, default=0, help="edge of the latents of a step (default: the model's own)")
    add("--swaps", type=int, default=1000, help="swaps after which drift is looked at (default 1000)")
    add("--soak", type=int, default=10_000, help="swaps over a tenth as many adapters (default 10000)")
    add("--threads", type=int, default=0, help="CPU threads (default: torch's own choice)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 (default cpu)")
    add("--dtype", choices=["float32", "float16", "bfloat16"], default="float32", help="of the weights (float32)")
    add("--profile", action="store_true", help="where the time of each family's swap goes")
    add("--json", type=Path, help="write the line of JSON to a file too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
