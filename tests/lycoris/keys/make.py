"""Make the key lists: tensor names and shapes of the adapter files that the reference libraries write.

    python3.11 -m venv ../golden-venv
    ../golden-venv/bin/pip install 'torch>=2.8,<2.14' lycoris_lora==4.1.3 peft==0.21.2 diffusers==0.42.1 transformers
    ../golden-venv/bin/python tests/lycoris/keys/make.py

A venv of its own, because the reference installs a package called `lycoris` too. The models are those of models.json,
on the meta device: nothing is downloaded, and only names and shapes are kept. The same bytes come out every time.
"""

import gzip
import json
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from peft import LoraConfig, get_peft_model_state_dict
from safetensors import safe_open
from torch import nn

# By name: here `lycoris` is the reference, and `models` the file beside this one.
reference, kohya_scripts = import_module("lycoris"), import_module("lycoris.kohya")
models = import_module("models")
model = models.model

HERE = Path(__file__).parent
STABLE = ("sd1", "sd2", "sdxl")
RESNET = ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection")
RANK = 2
# LyCORIS 4.1.3 names this class for Anima and the layers in it for Stable Diffusion, and then finds them twice.
kohya_scripts.PRESET["full"]["unet_target_module"].remove("TimestepEmbedding")
Shapes = dict[str, list[int]]


def shapes_of(tensors: dict[str, torch.Tensor]) -> Shapes:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def older(encoder: nn.Module) -> nn.Module:
    """Return a text encoder with the level that transformers had in it when most files were made."""
    return encoder if hasattr(encoder, "text_model") else nn.ModuleDict({"text_model": encoder})


def kohya(name: str, algorithm: str, **options: object) -> Shapes:
    """Return what LyCORIS writes when kohya's scripts train with it: denoiser and text encoders."""
    parts = dict(model(name))
    denoiser = parts.pop("unet", None) or parts.pop("transformer")
    encoders = [older(encoder) for encoder in parts.values()] if name in STABLE else []
    given = encoders if len(encoders) > 1 else encoders[0] if encoders else None
    network = kohya_scripts.create_network(1.0, RANK, 1.0, None, given, denoiser, algo=algorithm, **options)
    network.apply_to(given, denoiser, bool(encoders), True)
    found = shapes_of(network.state_dict())
    network.restore()
    return found


def wrapped(name: str, component: str) -> Shapes:
    """Return what LyCORIS writes for a model that it wraps by itself."""
    reference.LycorisNetwork.apply_preset({"target_module": ["Linear", "Conv2d"], "target_name": []})
    network = reference.create_lycoris(model(name)[component], 1.0, RANK, 1.0, "lokr", factor=4)
    network.apply_to()
    found = shapes_of(network.state_dict())
    network.restore()
    return found


def peft(name: str, component: str) -> dict[str, torch.Tensor]:
    """Return a LoRA of PEFT's on every attention and feed-forward layer, on every convolution of a UNet too."""
    leaves = r"(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out|proj(_in|_out)?|linear(_\d|_in|_out)?|conv\d?|net\.2"
    leaves += r"|conv_(in|out|shortcut)|time_emb_proj|[qkv]_proj|out_proj|fc\d|proj_mlp|to_qkv_mlp_proj)"
    part = models.build(name)[component]
    part.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=rf".*\.{leaves}$"))
    found = get_peft_model_state_dict(part, adapter_name="default")
    return {key: torch.zeros(tensor.shape) for key, tensor in found.items()}


def diffusers(name: str) -> Shapes:
    """Return what diffusers' `save_lora_weights` writes, read back from the file."""
    writer = StableDiffusionXLPipeline if name == "sdxl" else StableDiffusionPipeline
    layers: dict[str, Any] = {f"{part}_lora_layers": peft(name, part) for part in model(name)}
    with tempfile.TemporaryDirectory() as folder:
        writer.save_lora_weights(folder, **layers)
        with safe_open(next(Path(folder).iterdir()), "pt") as file:
            return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 (no mapping)


def diffusers_as_kohya(name: str) -> Shapes:
    """Return what diffusers' own `convert_state_dict_to_kohya` makes of the same layers."""
    tensors = {f"{part}.{key}": tensor for part in model(name) for key, tensor in peft(name, part).items()}
    return shapes_of(convert_state_dict_to_kohya(tensors))


def ldm_names(unet: Any) -> Iterator[tuple[str, str]]:
    """Yield (the path in diffusers, the LDM name that diffusers converts to it) for every module of a UNet."""
    paths = [path for path, module in unet.named_modules() if "weight" in module._parameters]
    inner = {path.split(".", 4)[4] for path in paths if path.split(".")[2:3] == ["attentions"]}
    attentive = {path.split(".")[1] for path in paths if path.startswith("up_blocks.") and ".attentions." in path}
    tops = ["time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "input_blocks.0.0", "out.0", "out.2"]
    names = [*tops, *(f"middle_block.1.{leaf}" for leaf in inner)]
    names += [f"middle_block.{n}.{leaf}" for n in (0, 2) for leaf in RESNET]
    for n in range(12):
        sides = [f"input_blocks.{n}"] * (n > 0) + [f"output_blocks.{n}"]
        names += [f"{side}.0.{leaf}" for side in sides for leaf in RESNET]
        names += [f"{side}.1.{leaf}" for side in sides for leaf in inner]
        names += [f"input_blocks.{n}.0.op", f"output_blocks.{n}.{2 if str(n // 3) in attentive else 1}.conv"]
    checkpoint = {f"model.diffusion_model.{name}.{end}": name for name in names for end in ("weight", "bias")}
    converted = convert_ldm_unet_checkpoint(checkpoint, dict(unet.config))
    return ((path, converted[f"{path}.weight"]) for path in paths)


def in_ldm_names(name: str, keys: Shapes) -> Shapes:
    """Return a list with the UNet's modules under the names that kohya's SDXL scripts give them."""
    flat = {path.replace(".", "_"): ldm.replace(".", "_") for path, ldm in ldm_names(model(name)["unet"])}
    return {
        f"lora_unet_{flat[module.removeprefix('lora_unet_')]}.{suffix}"
        if module.startswith("lora_unet_")
        else key: shape
        for key, shape in keys.items()
        for module, _, suffix in [key.partition(".")]
    }


def lists() -> Iterator[tuple[str, Shapes]]:
    for name in STABLE:
        yield f"{name}.lycoris-locon", kohya(name, "lora", train_norm=True)
        yield f"{name}.lycoris-loha", kohya(name, "loha", preset="attn-mlp")
        yield f"{name}.lycoris-lokr", kohya(name, "lokr", factor=8, preset="attn-only")
        yield f"{name}.lycoris-oft-ldm", in_ldm_names(name, kohya(name, "diag-oft", preset="unet-convblock-only"))
        yield f"{name}.lycoris-locon-ldm", in_ldm_names(name, kohya(name, "lora"))
        yield f"{name}.lycoris-wrapped", wrapped(name, "unet")
        yield f"{name}.diffusers", diffusers(name)
        yield f"{name}.diffusers-kohya", diffusers_as_kohya(name)
    yield "refiner.lycoris-locon-ldm", in_ldm_names("refiner", kohya("refiner", "lora"))
    for name in ("flux1", "chroma", "sd3.5-medium", "flux2", "z-image", "lumina2", "qwen-image", "wan", "cosmos"):
        keys = shapes_of(peft(name, "transformer"))
        yield f"{name}.peft", {f"transformer.{key}": shape for key, shape in keys.items()}
    yield "qwen-image.lycoris-lokr", kohya("qwen-image", "lokr", factor=8)
    yield "z-image.lycoris-locon", kohya("z-image", "lora")
    yield "flux1.lycoris-wrapped", wrapped("flux1", "transformer")


def main() -> None:
    for name, keys in lists():
        data = json.dumps(dict(sorted(keys.items())), separators=(",", ":")).encode()
        path = HERE / f"{name}.json.gz"
        path.write_bytes(gzip.compress(data, 9, mtime=0))
        print(flush=True, end=f"{path.name}: {len(keys)} tensors, {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
