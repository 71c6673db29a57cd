"""Every tensor of an image prompt's file is read, or named with the reason; all reasons come at once."""

from functools import partial
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from safetensors.torch import save
from torch import Tensor

from app.shared.wire.model import OWN_ENCODER, ImageEncoder, ModelProfile
from lycoris import load, read, shapes_of
from tests.app.shared.making import profile
from tests.families import flux, stable_diffusion
from tests.workers.image_prompts import made
from workers.image_prompts.judging import FACES, LORA, misfits
from workers.image_prompts.places import places_of
from workers.image_prompts.projections import PROJECTIONS

KINDS = ("plain", "plus", "full")
WIDE = ImageEncoder(image_embeds=1280, hidden_states=1664, size=made.EDGE)
ENCODER = ImageEncoder(image_embeds=made.PROJECTED, hidden_states=made.HIDDEN, size=made.EDGE)


class Pipeline:
    """A denoiser alone."""

    def __init__(self) -> None:
        self.unet = stable_diffusion.unet(transformer_layers_per_block=(1, 2))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline()


def told(pipeline: Any, tensors: dict[str, Tensor], named: str = "", **changed: Any) -> dict[str, str]:
    """What is wrong with a file, by tensor."""
    base: ModelProfile = profile(
        **{"adapter_kinds": ["weights", "image_prompt"], "image_encoders": {OWN_ENCODER: ENCODER}} | changed
    )
    adapter, reasons = read(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    return {
        one.subject: one.message
        for one in (*reasons, *misfits(adapter, base, {"unet": shapes_of(pipeline.unet)}, named))
    }


def test_places_are_in_the_order_of_diffusers(pipeline: Pipeline) -> None:
    ours = [place.path for place in places_of({"unet": shapes_of(pipeline.unet)})[1]]
    theirs = [name.removesuffix(".processor") for name in pipeline.unet.attn_processors if "attn2" in name]
    assert ours == theirs and len(ours) > 3
    made_of: Any = flux.BLOCKS | {"num_layers": 12, "pooled_projection_dim": 32}
    transformer = FluxTransformer2DModel(**made_of)
    component, places = places_of({"transformer": shapes_of(transformer)})
    processors = [name for name in transformer.attn_processors if not name.startswith("single")]
    assert component == "transformer" and [f"{place.path}.processor" for place in places] == processors


@pytest.mark.parametrize("kind", [made.plain_projection, made.plus_projection, made.full_projection])
def test_a_sound_file_has_nothing_against_it(pipeline: Pipeline, kind: Any) -> None:
    assert told(pipeline, kind(32) | made.attention(pipeline)) == {}


@pytest.mark.parametrize("kind", PROJECTIONS, ids=lambda one: one.name)
def test_a_projection_is_built_with_every_tensor_in_its_place(kind: Any) -> None:
    tensors = {"plain": made.plain_projection, "plus": made.plus_projection, "full": made.full_projection}[kind.name](
        32
    )
    tensors = {name.removeprefix("image_proj."): tensor for name, tensor in tensors.items()}
    built = kind.built(tensors, torch.device("cpu"), torch.float32)
    assert sum(one.numel() for one in built.state_dict().values()) == sum(one.numel() for one in tensors.values())
    assert kind.expected({name: tuple(one.shape) for name, one in tensors.items()}).keys() == tensors.keys()


def test_every_fault_is_told_at_once(pipeline: Pipeline) -> None:
    tensors = made.plain_projection(32) | made.attention(pipeline)
    del tensors["ip_adapter.3.to_v_ip.weight"]
    tensors["ip_adapter.1.to_k_ip.weight"] = torch.zeros(5, 7)
    tensors |= {"ip_adapter.99.to_k_ip.weight": torch.zeros(2, 2), "image_proj.surplus": torch.zeros(2)}
    tensors["image_proj.norm.bias"] = torch.full((32,), float("nan"))
    tensors["ip_adapter.0.to_q_lora.down.weight"] = torch.zeros(2, 2)
    wrong = told(pipeline, tensors, image_encoders={OWN_ENCODER: WIDE})
    assert wrong == {
        "ip_adapter.3.to_v_ip.weight": "is missing",
        "ip_adapter.1.to_k_ip.weight": "has the shape 5 × 7; it must have 16 × 32",
        "ip_adapter.99.to_k_ip.weight": "is read by nothing here",
        "image_proj.surplus": "is read by nothing here",
        "image_proj.norm.bias": "holds NaN or infinity",
        "ip_adapter.0.to_q_lora.down.weight": LORA,
        "image_proj.proj.weight": "reads 24 numbers of an image encoder's image_embeds; that of 'emoji-64' has 1280",
    }


def test_a_file_for_another_width_of_text_is_refused_with_both_numbers(pipeline: Pipeline) -> None:
    wrong = told(pipeline, made.plain_projection(48) | made.attention(pipeline))
    assert wrong == {"image_proj.proj.weight": "makes tokens of 48 numbers; this model's unet reads 32"}


def test_without_an_encoder_the_sentence_says_how_to_name_one(pipeline: Pipeline) -> None:
    for kind, reads in ((made.plain_projection, made.PROJECTED), (made.plus_projection, made.HIDDEN)):
        (wrong,) = told(pipeline, kind(32) | made.attention(pipeline), image_encoders={}).values()
        assert f"reads {reads} numbers" in wrong and "radiata.json" in wrong


def test_of_several_encoders_the_one_that_is_named_or_fits_reads_a_file(pipeline: Pipeline) -> None:
    sound, what = (
        made.plain_projection(32) | made.attention(pipeline),
        "reads 24 numbers of an image encoder's image_embeds",
    )
    two, twins = {OWN_ENCODER: ENCODER, "vit-g": WIDE}, {OWN_ENCODER: ENCODER, "vit-h": ENCODER, "vit-g": WIDE}
    cases: tuple[tuple[dict[str, ImageEncoder], str, list[str]], ...] = (
        (two, "", []),
        (two, OWN_ENCODER, []),
        (two, "vit-g", [f"{what}; of 'emoji-64', 'vit-g' has 1280"]),
        (two, "vit-l", ["is for the image encoder 'vit-l', and 'emoji-64' has own, vit-g: name one of these"]),
        (twins, "vit-h", []),
        (
            twins,
            "",
            [f"{what}, as 'own' and 'vit-h' of 'emoji-64' have: name one of them as image_encoder of the file"],
        ),
        ({"a": WIDE, "b": WIDE}, "", [f"{what}; of 'emoji-64', 'a' has 1280, 'b' has 1280"]),
    )
    for encoders, named, wrong in cases:
        assert list(told(pipeline, sound, named, image_encoders=encoders).values()) == wrong, named


def test_a_base_that_takes_none_says_so(pipeline: Pipeline) -> None:
    (wrong,) = told(pipeline, made.plain_projection(32), adapter_kinds=["weights"]).values()
    assert wrong == "is an image prompt, and 'emoji-64' (StableDiffusionPipeline) takes none"


def test_a_file_of_faces_is_refused_with_a_sentence(pipeline: Pipeline) -> None:
    faces = {"proj.0.weight": torch.zeros(1024, 512), "proj.2.weight": torch.zeros(4 * 32, 1024)}
    faces |= {"norm.weight": torch.zeros(32), "norm.bias": torch.zeros(32)}
    tensors = {f"image_proj.{name}": tensor for name, tensor in faces.items()} | made.attention(pipeline)
    assert told(pipeline, tensors) == {f"image_proj.{name}": FACES for name in faces}


def test_a_file_with_weights_beside_is_refused(pipeline: Pipeline) -> None:
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    lora = {f"{layer}.lora_A.weight": torch.zeros(2, 16), f"{layer}.lora_B.weight": torch.zeros(16, 2)}
    wrong = told(pipeline, made.plain_projection(32) | made.attention(pipeline) | lora)
    assert "one by one" in wrong[""]


@pytest.mark.parametrize(
    "kind", [made.plain_projection, partial(made.plus_projection, depth=1), made.full_projection], ids=KINDS
)
def test_whatever_one_tensor_becomes_it_is_told_and_nothing_crashes(pipeline: Pipeline, kind: Any) -> None:
    projection = kind(32)
    sound = projection | made.attention(pipeline)
    for name in (*projection, "ip_adapter.1.to_k_ip.weight"):
        for shape in ((), (2, 2), (3, 1, 5)):
            assert told(pipeline, sound | {name: torch.zeros(shape)}), (name, shape)
        assert told(pipeline, {other: tensor for other, tensor in sound.items() if other != name}), name


def test_the_names_of_other_makers_are_the_same_file(pipeline: Pipeline) -> None:
    tensors = made.plain_projection(32) | made.attention(pipeline)
    trained = {
        name.replace("image_proj.", "image_proj_model.").replace("ip_adapter.", "adapter_modules."): tensor
        for name, tensor in tensors.items()
    }
    xlabs = {
        "ip_adapter_proj_model.proj.weight": torch.zeros(128, 24),
        "double_blocks.3.processor.ip_adapter_double_stream_k_proj.bias": torch.zeros(8),
    }
    assert load(save(trained)).image_prompt.keys() == tensors.keys()
    assert load(save(xlabs)).image_prompt.keys() == {"image_proj.proj.weight", "ip_adapter.3.to_k_ip.bias"}
