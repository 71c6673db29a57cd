"""Native names against an oracle from outside: where diffusers puts the rows of a checkpoint with the same names."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as adapters
from diffusers.loaders import single_file_utils as oracle
from torch import Tensor

from lycoris import Index
from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.original import authors_names, original_names
from lycoris.dialects.row_slice import RowSlice
from lycoris.placement.views import View, view
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
    "wan-vace": oracle.convert_wan_transformer_to_diffusers,
    "cosmos": oracle.convert_cosmos_transformer_checkpoint_to_diffusers,
    "flux3": oracle.convert_flux3_transformer_checkpoint_to_diffusers,
    "hunyuan-video": oracle.convert_hunyuan_video_transformer_to_diffusers,
    "ltx": oracle.convert_ltx_transformer_checkpoint_to_diffusers,
    "ltx2": oracle.convert_ltx2_transformer_to_diffusers,
    "krea2": oracle.convert_krea2_transformer_checkpoint_to_diffusers,
    "qwen-image-2.1": oracle.convert_qwen_image21_transformer_checkpoint_to_diffusers,
    "stable-cascade": oracle.convert_stable_cascade_unet_single_file_to_diffusers,
}
# Black Forest Labs and Krea call the weight of a norm its scale
SCALES = ("query_norm", "key_norm", "qnorm", "knorm", "prenorm", "postnorm", "txtmlp.0", "last.norm")


def ending(name: str, parameter: str) -> str:
    """Return what a checkpoint calls a parameter of a module of this name."""
    scale = name.endswith(SCALES) or name.startswith("distilled_guidance_layer.norms")
    # torch's own attention has its three projections as a parameter, and no module for them
    return "_" + parameter if name.endswith(".attn.in_proj") else ".scale" if scale else "." + parameter


def native_views(shapes: dict[str, tuple[int, ...]]) -> dict[str, View]:
    """Return checkpoint name -> what it means, for every parameter of a transformer."""
    modules = {path.removesuffix(".weight").removesuffix(".bias") for path in shapes}
    named = dict(authors_names(modules, shapes))
    meant = {part.path for parts in named.values() for part in parts}
    named |= {path: (RowSlice(path),) for path in modules - meant}
    views: dict[str, View] = {}
    for name, parts in named.items():
        for parameter in ("weight", "bias"):
            seen = view(parts, parameter, shapes)
            if seen:
                bare = seen.parameters == (parts[0].path,)
                views[name if bare else f"{name}{ending(name, parameter)}"] = seen
    return views


@pytest.mark.parametrize("name", CONVERTERS)
def test_diffusers_puts_every_row_where_the_view_takes_it(name: str) -> None:
    ((_, shapes), *_) = Index(model(name)).shapes.items()
    views, rows = native_views(shapes), count(0, 1_000_000)
    checkpoint = {key: torch.arange(seen.shape[0]) + next(rows) for key, seen in views.items()}
    converted = CONVERTERS[name](checkpoint | {"pos_embed": torch.zeros(1)})
    assert shapes.keys() <= converted.keys(), "a parameter of the model has no native name"
    for key, seen in views.items():
        taken = torch.cat([converted[row.parameter].flatten()[row.start : row.stop] for row in seen.rows])
        assert torch.equal(taken, checkpoint[key]), key
    fused = sum(len(seen.parameters) > 1 for seen in views.values())
    swapped = sum(len(seen.rows) > len(seen.parameters) for seen in views.values())
    print(f"{name}: {len(views)} native names of {len(shapes)} parameters, {fused} fused, {swapped} swapped")


LORA_CONVERTERS: dict[str, Callable[[Checkpoint], Checkpoint]] = {
    "ltx2.5": adapters._convert_non_diffusers_ltx2_lora_to_diffusers,
    "krea2": adapters._convert_non_diffusers_krea2_lora_to_diffusers,
    "ideogram4": adapters._convert_non_diffusers_ideogram4_lora_to_diffusers,
    "cosmos": adapters._convert_non_diffusers_anima_lora_to_diffusers,
    "flux3": adapters._convert_non_diffusers_flux3_lora_to_diffusers,
}
ONLY = {"flux3": ("content_mode_blocks", "txt_mode_blocks", "single_blocks")}  # what diffusers' converter renames


@pytest.mark.slow
@pytest.mark.parametrize("name", LORA_CONVERTERS)
def test_diffusers_puts_every_row_of_a_lora_where_the_view_takes_it(name: str) -> None:
    shapes, rows = Index(model(name)).shapes["transformer"], count(0, 1_000_000)
    modules = {path.removesuffix(".weight") for path in shapes}
    named = {
        native: seen
        for native, parts in authors_names(modules, shapes)
        if (seen := view(parts, "weight", shapes)) and len(seen.shape) == 2 and native.startswith(ONLY.get(name, ""))
    }
    # The rows of lora_B are the rows of the layer, numbered.
    file: Checkpoint = {}
    for native, seen in named.items():
        file[f"diffusion_model.{native}.lora_A.weight"] = torch.ones(1, 1)
        file[f"diffusion_model.{native}.lora_B.weight"] = torch.arange(seen.shape[0])[:, None] + next(rows)
    converted = LORA_CONVERTERS[name](dict(file))
    for native, seen in named.items():
        paths = [(row.parameter.removesuffix(".weight"), row) for row in seen.rows]
        taken = [converted[f"transformer.{path}.lora_B.weight"][row.start : row.stop] for path, row in paths]
        assert torch.equal(torch.cat(taken), file[f"diffusion_model.{native}.lora_B.weight"]), native
    assert named


@pytest.mark.parametrize("name", [*CONVERTERS, "hunyuan-image", "wan-flf", "ideogram4", "ltx2.5"])
def test_other_names_mean_no_rows_that_the_authors_do_not_name(name: str) -> None:
    ((_, shapes), *_) = Index(model(name)).shapes.items()
    modules = {path.removesuffix(".weight").removesuffix(".bias") for path in shapes}
    ours = {parts for _, parts in authors_names(modules, shapes)}
    named = {part for parts in ours for part in parts}
    others = {part for native, parts in original_names(modules, shapes) for part in parts}
    assert others <= named | {RowSlice("x_embedder")}, "an alias of a layer that its authors do not call otherwise"


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


@pytest.mark.slow
def test_no_name_means_two_things() -> None:
    for name in (
        "sd1",
        "sd2",
        "sdxl",
        "refiner",
        *CONVERTERS,
        *LORA_CONVERTERS,
        "qwen-image",
        "hunyuan-image",
        "hidream",
    ):
        index = Index(model(name))
        for component, named in index.modules.items():
            double = {spelling: meant for spelling, meant in named.items() if len(meant) > 1}
            assert not double, f"{name}.{component}"


@pytest.mark.parametrize("name", ["qwen-image", "sd3", "z-image", "lumina2", "wan", "krea2", "ideogram4", "ltx2"])
def test_names_of_flux_mean_nothing_in_another_model(name: str) -> None:
    named = Index(model(name)).modules["transformer"]
    assert not [spelling for spelling in named if spelling.startswith(("double_blocks", "single_blocks"))]
