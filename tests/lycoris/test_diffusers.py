"""An oracle from outside: a kohya file through diffusers' own `load_lora_weights` draws what the Patcher draws."""

import pytest
import safetensors.torch
import torch

from lycoris import Patcher, load
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import assert_close, bits_of

pytestmark = pytest.mark.slow

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def components() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    config = transformers.CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=64
    )
    return {"unet": unet.eval(), "text_encoder": transformers.CLIPTextModel(config).eval()}


class Oracle(diffusers.loaders.StableDiffusionLoraLoaderMixin):
    """As little of a pipeline as diffusers' loader needs."""

    def __init__(self, components: dict[str, torch.nn.Module]) -> None:
        self.unet, self.text_encoder, self.components = components["unet"], components["text_encoder"], components
        self.hf_device_map = None
        self._lora_loadable_modules = ["unet", "text_encoder"]


def drawn(components: dict[str, torch.nn.Module]) -> torch.Tensor:
    tokens = torch.arange(12)[None] % 64
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        words = components["text_encoder"](tokens).last_hidden_state
        return components["unet"](noise, torch.tensor(7), words).sample


def kohya_file(components: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    """Return a LoCon of every linear layer and convolution in attention, resnets and CLIP, under kohya's names."""
    file: dict[str, torch.Tensor] = {}
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    for prefix, component in (("lora_unet", "unet"), ("lora_te", "text_encoder")):
        for seed, (path, module) in enumerate(components[component].named_modules()):
            blocks = ("attentions", "resnets", "encoder.layers")
            if isinstance(module, kinds) and any(block in path for block in blocks):
                if component == "text_encoder" and not path.startswith("text_model."):
                    path = f"text_model.{path}"  # kohya's scripts know CLIP by its older, longer path
                # diffusers takes one alpha for a whole text encoder, so this file has but one
                for suffix, tensor in zoo.tensors("lora", module.weight, seed).items():
                    file[f"{prefix}_{path.replace('.', '_')}.{suffix}"] = tensor
    return file


def test_a_kohya_file_draws_what_diffusers_draws(components: dict[str, torch.nn.Module]) -> None:
    pristine, bare = bits_of(*components.values()), drawn(components)
    file = kohya_file(components)
    patcher = Patcher(components)
    patcher.swap([StackEntry(load(safetensors.torch.save(file)))])
    ours = drawn(components)
    patcher.restore()
    assert bits_of(*components.values()) == pristine

    oracle = Oracle(components)
    oracle.load_lora_weights(dict(file), adapter_name="style")
    theirs = drawn(components)
    oracle.unload_lora_weights()
    assert (ours - bare).abs().max() > 0.05, "the adapter hardly shows: nothing is compared"
    assert_close(ours, theirs, "LoCon on UNet and text encoder through diffusers and PEFT")
