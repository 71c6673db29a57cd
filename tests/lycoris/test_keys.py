"""Key lists of real adapter files, and of those that the reference libraries write: every layer finds its place."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from lycoris import Index, NoPlace, further_inputs, inspect, resolve
from lycoris.adapter import read_names
from tests.lycoris.keys import published
from tests.lycoris.keys.models import model

KEYS = Path(__file__).parent / "keys"
LISTS = {path.name.partition(".json")[0]: path for path in sorted((*KEYS.glob("*.gz"), *KEYS.glob("recorded/*.json")))}
BASES = {
    "sd1": "SD 1",
    "sd2": "SD 2",
    "sdxl": "SDXL",
    "refiner": "SDXL refiner",
    "flux1": "FLUX.1",
    "chroma": "Chroma",
    "flux2": "FLUX.2",
    "sd3.5-medium": "SD 3",
    "z-image": "Z-Image",
    "lumina2": "Lumina 2",
    "qwen-image": "Qwen-Image",
    "wan": "Wan",
    "cosmos": "Anima",
}
# Models that no list is made for
MORE_BASES = {
    "flux2-klein-9b": "FLUX.2",
    "flux3": "FLUX.3",
    "hunyuan-video": "HunyuanVideo",
    "hunyuan-image": "HunyuanImage 2.1",
    "ltx": "LTX-Video",
    "ltx2": "LTX-2",
    "ltx2.5": "LTX-2",
    "krea2": "Krea 2",
    "ideogram4": "Ideogram 4",
    "qwen-image-2.1": "Qwen-Image 2.1",
    "hidream": "HiDream",
    "stable-cascade": "Stable Cascade",
    "wan-i2v": "Wan",
    "wan-vace": "Wan",
    "wan2.2-5b": "Wan",
}
# Of the convolutions alone nothing tells SD 1 from SD 2, nor SDXL from either.
ALIKE = frozenset({"sd2.lycoris-oft-ldm", "sdxl.lycoris-oft-ldm"})


RECORDED = {"flux": "flux1", "qwen": "qwen-image"}


def model_of(name: str) -> str:
    return RECORDED.get(name.partition("_")[0]) or next(model for model in BASES if name.startswith(f"{model}."))


@cache
def index(name: str) -> Index:
    return Index(model(name))


def keys(name: str) -> dict[str, list[int]]:
    data = LISTS[name].read_bytes()
    return json.loads(gzip.decompress(data) if LISTS[name].suffix == ".gz" else data)


@pytest.mark.parametrize("name", LISTS)
def test_every_layer_finds_its_place_and_fits(name: str) -> None:
    verdict = inspect(keys(name), index(model_of(name)))
    assert verdict.refused == ()
    assert verdict.unresolved == ()
    assert verdict.resolved == verdict.layers > 0
    found = verdict.base.name if verdict.base else None
    assert found == (None if name in ALIKE else BASES[model_of(name)]), verdict.base
    assert not [warning for warning in verdict.warnings if "trained for" in warning]
    print(f"{name}: {len(keys(name))} tensors, {verdict.resolved} layers, {verdict.algorithms}, {verdict.base}")


@pytest.mark.parametrize("name", published.LISTS)
def test_every_layer_of_a_published_list_finds_its_place_or_is_refused(name: str) -> None:
    held = published.LISTS[name]
    verdict = inspect(published.tensors(name), index(held["model"]))
    if "refused" in held:
        assert {reason.code for reason in verdict.refused} == {held["refused"]}
        return
    assert verdict.refused == ()
    assert verdict.unresolved == ()
    assert verdict.resolved == verdict.layers > 0
    assert (verdict.base.name if verdict.base and verdict.base.sure else None) == held["base"], verdict.base
    assert not [warning for warning in verdict.warnings if "trained for" in warning]
    print(f"{name}: {verdict.resolved} layers, {verdict.algorithms}, {verdict.base}")


@pytest.mark.parametrize("name", [*BASES, *MORE_BASES])
def test_a_model_is_known_by_the_same_signs(name: str) -> None:
    base = index(name).architecture
    assert base is not None
    assert base.name == (BASES | MORE_BASES)[name]
    assert base.evidence


# model, name in a file, shape of the layer, what of the model it means
MORE = json.loads((KEYS / "more.json").read_text())


@pytest.mark.parametrize(("base", "name", "shape", "meant"), MORE)
def test_a_layer_of_every_other_dialect(base: str, name: str, shape: list[int], meant: list[str]) -> None:
    dot = "." if name.endswith(("_lora", "qkv_lora")) else ".lora_"
    adapter, reasons = read_names({f"{name}{dot}up.weight": (shape[0], 4), f"{name}{dot}down.weight": (4, shape[1])})
    assert not reasons
    (target,) = resolve(adapter, index(base)).targets
    assert target.view.parameters == tuple(f"{path}.weight" for path in meant)
    assert target.view.shape == tuple(shape)


def test_the_scales_of_a_control_adapter_are_what_the_norms_shall_be() -> None:
    adapter, _ = read_names({"double_blocks.0.img_attn.norm.key_norm.scale": (128,)})
    (target,) = resolve(adapter, index("flux1-control")).targets
    assert (target.parameter, target.change.name) == ("transformer_blocks.0.attn.norm_k.weight", "overwrite")


def test_the_control_loras_of_flux_are_a_lora_of_its_own_layers_and_what_reads_a_picture() -> None:
    base = index("flux1")
    adapter, _ = read_names(published.tensors("flux1-bfl-control"))
    found = further_inputs(adapter, base, "transformer", "x_embedder")
    assert found and not further_inputs(found[0], base, "transformer", "x_embedder")
    assert (found[1].up.shape, found[1].down.shape, found[1].gamma) == ((3072, 128), (128, 64), 1.0)
    assert len(resolve(found[0], base).targets) > len(adapter.layers)  # each with its bias
    with pytest.raises(NoPlace, match="img_in"):
        resolve(adapter, base)


def test_bare_parameters_and_whole_ones_by_their_own_name() -> None:
    tensors = {
        "diffusion_model.blocks.0.modulation.diff": (1, 6, 5120),
        "diffusion_model.blocks.0.norm3.weight.diff": (5120,),
        "diffusion_model.blocks.0.norm3.diff_b": (5120,),
        "diffusion_model.head.modulation.diff": (1, 2, 5120),
    }
    adapter, _ = read_names(tensors)
    found = [target.parameter for target in resolve(adapter, index("wan")).targets]
    assert sorted(found) == [
        "blocks.0.norm2.bias",
        "blocks.0.norm2.weight",
        "blocks.0.scale_shift_table",
        "scale_shift_table",
    ]
