"""The other process of `lycoris_library`: here, `lycoris` is the LyCORIS library. Prints one line of JSON."""

import contextlib
import gc
import io
import json
import logging
import sys

import torch

from tests.bench.figures import Figure, Samples
from tests.bench.swap.subjects import subject

LIMIT = "limit"


def main(model: str, file: str, device: str, dtype: str, rounds: str, threads: str) -> None:
    """Load, merge and restore one file, a few times over."""
    logging.disable(logging.WARNING)
    # Its own namesake would shadow it; imported here, where the path says which one is meant
    from lycoris import wrapper  # type: ignore[attr-defined]

    torch.set_num_threads(int(threads))
    one = subject(model, device, getattr(torch, dtype))
    wrapper.LycorisNetwork.apply_preset({"lora_prefix": "lora_unet"})
    samples = Samples(device)
    left, touched, layers = 0, 0, 0
    for turn in range(int(rounds) + 1):
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            with samples.timed("load"):
                network, _ = wrapper.create_lycoris_from_weights(1.0, file, one.unet)
            weights = [f"{path}.weight" for path in _paths(one.unet, network)]
            with samples.timed("onfly_merge"):
                network.onfly_merge(0.8)
            with samples.timed("onfly_restore"):
                network.onfly_restore()
        layers, touched = len(weights), sum(one.unet.get_parameter(name).numel() for name in weights)
        left = one.changed()
        copy = one.copies(weights)
        with samples.timed(LIMIT):
            copy()
        del network
        gc.collect()
        if turn == 0:
            samples.forget()
    found: dict[str, object] = {}
    for name in ("load", "onfly_merge", "onfly_restore"):
        figure = samples.figure(Figure(part="lycoris", model=one.title), name, over=LIMIT)
        found[name] = {"value": figure.value, "low": figure.low, "high": figure.high, "ratio": figure.ratio}
    print(json.dumps(found | {"left": left, "touched": touched, "layers": layers}))


def _paths(unet: torch.nn.Module, network: torch.nn.Module) -> list[str]:
    """The modules that the network changes, by their paths."""
    changed = {id(lora.org_module[0]) for lora in network.loras}  # type: ignore[union-attr]
    return [path for path, module in unet.named_modules() if id(module) in changed]


if __name__ == "__main__":
    main(*sys.argv[1:])
