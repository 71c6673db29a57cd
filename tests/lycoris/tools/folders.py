"""Small models as diffusers folders, in one file or in shards, and the results of the tools read back."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from lycoris import Adapter, Mode, Patcher
from lycoris.patcher import StackEntry
from tests.lycoris import zoo

NAME = "diffusion_pytorch_model"


class Encoder(nn.Module):
    """CLIP's names, on layers of our own sizes."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        attention = nn.ModuleDict({name: nn.Linear(8, 8) for name in names})
        layer = nn.ModuleDict({"self_attn": attention, "mlp": nn.ModuleDict({"fc1": nn.Linear(8, 16)})})
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList([layer])})
        r = zoo.random(3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(r(*parameter.shape))
        self.to(dtype)


def write(folder: Path, components: Mapping[str, nn.Module], shards: int = 1) -> Path:
    """Write a diffusers folder of these components, each in so many files, with other files beside them."""
    (folder / "scheduler").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"steps": 3}')
    for component, module in components.items():
        (folder / component).mkdir()
        state = {name: weight.detach().clone() for name, weight in module.named_parameters()}
        _write_shards(folder / component, state, shards)
    return folder


def _write_shards(folder: Path, state: dict[str, Tensor], shards: int) -> None:
    if shards == 1:
        safetensors.torch.save_file(state, folder / f"{NAME}.safetensors", {"format": "pt"})
        return
    places: dict[str, str] = {}
    for shard in range(shards):
        file = f"{NAME}-{shard + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[shard::shards])
        places |= dict.fromkeys(part, file)
        safetensors.torch.save_file(part, folder / file, {"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{NAME}.safetensors.index.json").write_text(json.dumps(index))


def read(folder: Path) -> dict[str, Tensor]:
    """Return every weight of a folder, under the component's and its own name."""
    return {
        f"{path.parent.name}.{name}": tensor
        for path in sorted(folder.glob("*/*.safetensors"))
        for name, tensor in safetensors.torch.load_file(path).items()
    }


def patched(components: Mapping[str, nn.Module], *stack: StackEntry, mode: Mode = "sum") -> dict[str, Tensor]:
    """Return every weight of live modules with a stack applied; the modules are restored."""
    patcher = Patcher(components)
    patcher.swap(stack, mode=mode)
    weights = {
        f"{component}.{name}": weight.detach().clone()
        for component, module in components.items()
        for name, weight in module.named_parameters()
    }
    patcher.restore()
    return weights


def changes(components: Mapping[str, nn.Module], adapter: Adapter) -> dict[str, Tensor]:
    """Return an adapter's change of every weight of live float32 modules."""
    pristine = patched(components)
    return {name: weight - pristine[name] for name, weight in patched(components, StackEntry(adapter)).items()}
