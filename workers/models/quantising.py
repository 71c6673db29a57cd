"""Weights into fewer bits when a base is loaded, by libraries made for it.

Quantised are the linear layers inside a denoiser's lists of blocks (`nn.ModuleList`) that have at least 32 inputs and
outputs: nearly all of its numbers. Embeddings, norms, convolutions, the layers before and after the blocks, text
encoders and the VAE stay as they are. It is done on the CPU, so that the numbers are the same whatever draws with them.

| `quantize` | a weight becomes | library |
|---|---|---|
| `int8` | integers of 8 bits and a scale a row | torchao |
| `fp8` | floats of 8 bits (e4m3) and a scale a row | torchao |
| `nf4` | 4 bits a number, a scale for each 64 (arXiv 2305.14314) | bitsandbytes |
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import nn

from app.shared.base_source import Quantize
from app.shared.wire.adapter import denoises
from lycoris import quantised, stored_as
from workers.models.weight_files import Unservable

LEAST = 32  # inputs and outputs of a layer that is worth it
# Bytes of a number, beside scales too few to count: four bits have one byte for each 64
BYTES: Mapping[Quantize, float] = {"int8": 1, "fp8": 1, "nf4": 0.5 + 1 / 64}
# By the module that the type of a weight comes from: the library whose version decides what is computed with it
LIBRARIES = {"torchao": "torchao", "optimum": "optimum-quanto", "bitsandbytes": "bitsandbytes"}


def quantise(components: Mapping[str, nn.Module], to: Quantize, dtype: torch.dtype) -> None:
    """Quantise the linear layers of the denoisers among these components, in place.

    dtype: what they compute in. Raises Unservable where the library is missing, they are quantised already, or have
    nothing to quantise.
    """
    denoisers = {name: module for name, module in components.items() if denoises(name)}
    for name, module in denoisers.items():
        if found := quantisations({name: module}):
            raise Unservable(f"`{name}` is quantised already ({', '.join(found)}): leave `quantize` out")
    layers = {module: frozenset(chosen(module)) for module in denoisers.values()}
    if not any(layers.values()):
        message = f"has no linear layers of at least {LEAST} × {LEAST} in blocks: leave `quantize` out"
        raise Unservable(f"`{', '.join(denoisers)}` {message}")
    try:
        for module, those in layers.items():
            WAYS[to](module, those, dtype)
    except ImportError as error:
        message = f"`quantize: {to}` needs a library that is not here: pip install 'radiata[quantize]'"
        raise Unservable(f"{message} ({error})") from error


def chosen(denoiser: nn.Module) -> Iterator[nn.Linear]:
    """Yield the layers of a denoiser that are quantised."""
    lists = (module for module in denoiser.modules() if isinstance(module, nn.ModuleList))
    layers = dict.fromkeys(layer for blocks in lists for layer in blocks.modules())
    for layer in layers:  # of this very type: the others are read around, or are somebody else's
        if type(layer) is nn.Linear and min(layer.in_features, layer.out_features) >= LEAST:
            yield layer


def quantisations(components: Mapping[str, nn.Module]) -> list[str]:
    """Return what the weights of components are quantised to, by every name that is met: `int8`, `nf4`, `Q8_0`, …"""
    return sorted({stored_as(weight) for weight in _quantised(components)})


def libraries(components: Mapping[str, nn.Module]) -> list[str]:
    """Return the libraries that compute with the quantised weights of components."""
    makers = {type(weight).__module__.partition(".")[0] for weight in _quantised(components)}
    return sorted(LIBRARIES[maker] for maker in makers & LIBRARIES.keys())


def _quantised(components: Mapping[str, nn.Module]) -> Iterator[nn.Parameter]:
    return (weight for module in components.values() for weight in module.parameters() if quantised(weight))


def _int8(denoiser: nn.Module, layers: Collection[nn.Module], _dtype: torch.dtype) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # pyright: ignore[reportMissingImports]

    quantize_(denoiser, Int8WeightOnlyConfig(), filter_fn=lambda module, _name: module in layers)


def _fp8(denoiser: nn.Module, layers: Collection[nn.Module], _dtype: torch.dtype) -> None:
    from torchao.quantization import Float8WeightOnlyConfig, quantize_  # pyright: ignore[reportMissingImports]

    quantize_(denoiser, Float8WeightOnlyConfig(), filter_fn=lambda module, _name: module in layers)


def _nf4(denoiser: nn.Module, layers: Collection[nn.Module], dtype: torch.dtype) -> None:
    from bitsandbytes.nn import Linear4bit, Params4bit  # pyright: ignore[reportMissingImports]

    for parent in list(denoiser.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) and layer in layers:
                size = layer.in_features, layer.out_features
                four = Linear4bit(*size, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta")
                four.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4", module=four)
                four.bias = layer.bias
                four.support_avx512bf16_for_cpu = False  # or its first call writes the weight in another order
                setattr(parent, name, four.to("cpu").eval())  # which quantises it


# Each quantises these layers of a denoiser in place; they compute in the dtype
WAYS: Mapping[Quantize, Callable[[nn.Module, Collection[nn.Module], torch.dtype], None]] = {
    "int8": _int8,
    "fp8": _fp8,
    "nf4": _nf4,
}
