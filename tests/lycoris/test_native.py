"""Native names against an oracle from outside: where diffusers puts the rows of a checkpoint with the same names."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils as oracle
from torch import Tensor

from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.native import native_names
from lycoris.dialects.part import Part
from lycoris.targets import Index
from lycoris.views import View, view
from tests.lycoris.keys.models import model

Checkpoint = dict[str, Tensor]  # here only the numbers of rows: where they go is all that is asked
CONVERTERS: dict[str, Callable[[Checkpoint], Checkpoint]] = {
    "flux1": oracle.convert_flux_transformer_checkpoint_to_diffusers,
    "chroma": oracle.convert_chroma_transformer_checkpoint_to_diffusers,
    "flux2": oracle.convert_flux2_transformer_checkpoint_to_diffusers,
    "flux2-klein-4b": oracle.convert_flux2_transformer_checkpoint_to_diffusers,
    "sd3": oracle.convert_sd3_transformer_checkpoint_to_diffusers,
    "sd3.5-medium": oracle.convert_sd3_transformer_checkpoint_to_diffusers,
    "sd3.5-large": oracle.convert_sd3_transformer_checkpoint_to_diffusers,
    "z-image": oracle.convert_z_image_transformer_checkpoint_to_diffusers,
    "lumina2": oracle.convert_lumina2_to_diffusers,
    "wan": oracle.convert_wan_transformer_to_diffusers,
    "wan-i2v": oracle.convert_wan_transformer_to_diffusers,
    "cosmos": oracle.convert_cosmos_transformer_checkpoint_to_diffusers,
}
SCALES = ("query_norm", "key_norm")  # of which Black Forest Labs call the weight a scale


def of_checkpoints(name: str, modules: set[str]) -> bool:
    """Tell whether a native name is one of checkpoints, and not only of adapters: pieces of a layer, XLabs' qkv."""
    return not name.endswith("linear1_qkv") and name.rpartition(".")[0] not in modules - {name}


def native_views(shapes: dict[str, tuple[int, ...]]) -> dict[str, View]:
    """Return checkpoint name -> what it means, for every parameter of a transformer."""
    modules = {path.removesuffix(".weight").removesuffix(".bias") for path in shapes}
    named = dict(native_names(modules, shapes))
    named = {name: parts for name, parts in named.items() if of_checkpoints(name, set(named))}
    meant = {part.path for parts in named.values() for part in parts}
    named |= {path: (Part(path),) for path in modules - meant}
    views: dict[str, View] = {}
    for name, parts in named.items():
        for parameter in ("weight", "bias"):
            seen = view(parts, parameter, shapes)
            if seen:
                bare = seen.parameters == (parts[0].path,)
                scale = name.endswith(SCALES) or name.startswith("distilled_guidance_layer.norms")
                views[name if bare else f"{name}.{'scale' if scale else parameter}"] = seen
    return views


@pytest.mark.parametrize("name", CONVERTERS)
def test_diffusers_puts_every_row_where_the_view_takes_it(name: str) -> None:
    shapes = Index(model(name)).shapes["transformer"]
    views, rows = native_views(shapes), count(0, 1_000_000)
    checkpoint = {key: torch.arange(seen.shape[0]) + next(rows) for key, seen in views.items()}
    converted = CONVERTERS[name](checkpoint | {"pos_embed": torch.zeros(1)})
    assert shapes.keys() <= converted.keys(), "a parameter of the model has no native name"
    for key, seen in views.items():
        taken = torch.cat([converted[row.parameter][row.start : row.stop] for row in seen.rows])
        assert torch.equal(taken, checkpoint[key]), key
    fused = sum(len(seen.parameters) > 1 for seen in views.values())
    swapped = sum(len(seen.rows) > len(seen.parameters) for seen in views.values())
    print(f"{name}: {len(views)} native names of {len(shapes)} parameters, {fused} fused, {swapped} swapped")


@pytest.mark.parametrize(("name", "modules"), [("sd1", 391), ("sd2", 391), ("sdxl", 1050), ("refiner", 742)])
def test_diffusers_knows_every_ldm_name(name: str, modules: int) -> None:
    unet: Any = model(name)["unet"]
    shapes = Index({"unet": unet}).shapes["unet"]
    paths = {path.removesuffix(".weight").removesuffix(".bias") for path in shapes}
    named = dict(ldm_names(paths))
    assert sorted(named.values()) == sorted(paths), "a module has no LDM name, or two"
    assert len(named) == modules
    checkpoint = {f"model.diffusion_model.{ldm}.weight": path for ldm, path in named.items()}
    checkpoint |= {f"model.diffusion_model.{ldm}.bias": path for ldm, path in named.items()}
    converted = oracle.convert_ldm_unet_checkpoint(checkpoint, dict(unet.config))
    assert all(converted[f"{path}.weight"] == path for path in paths)


def test_no_name_means_two_things() -> None:
    for name in ("sd1", "sd2", "sdxl", "refiner", *CONVERTERS, "qwen-image"):
        index = Index(model(name))
        for component, named in index.modules.items():
            double = {spelling: meant for spelling, meant in named.items() if len(meant) > 1}
            assert not double, f"{name}.{component}"


@pytest.mark.parametrize("name", ["qwen-image", "sd3", "z-image", "lumina2", "wan"])
def test_names_of_flux_mean_nothing_in_another_model(name: str) -> None:
    named = Index(model(name)).modules["transformer"]
    assert not [spelling for spelling in named if spelling.startswith(("double_blocks", "single_blocks"))]
