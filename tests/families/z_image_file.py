"""A Z-Image's transformer as one file, in the names of its authors: plain, or quantised in GGUF."""

import re
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize

from tests.families import original

NAMES = {
    r"all_(final_layer|x_embedder)\.2-1\.": r"\1.",
    r"\.attention\.to_out\.0\.": ".attention.out.",
    r"\.attention\.norm_([qk])\.": r".attention.\1_norm.",
}


def in_original_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a Z-Image's transformer as its authors name them."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if fused := re.fullmatch(r"(.*\.attention\.)to_q\.weight", name):
            found[f"{fused[1]}qkv.weight"] = torch.cat([tensors[f"{fused[1]}to_{one}.weight"] for one in "qkv"])
        elif not re.search(r"\.attention\.to_[kv]\.", name):
            for pattern, written in NAMES.items():
                name = re.sub(pattern, written, name)
            found[name] = tensor
    return found


def as_gguf(folder: Path, written: Path) -> dict[str, torch.Tensor]:
    """Move the weights of a Z-Image's transformer from its folder into a GGUF file; return them as they are there."""
    tensors = in_original_names(original.weights(folder / "transformer"))
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    writer = GGUFWriter(written, "lumina2")
    for name, tensor in tensors.items():
        kind = GGMLQuantizationType.F32
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 and name.startswith("layers."):
            kind = GGMLQuantizationType.Q8_0
        data = quantize(tensor.numpy(), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        tensors[name] = torch.from_numpy(dequantize(data, kind).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors
