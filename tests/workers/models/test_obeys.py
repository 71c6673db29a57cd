"""What a pipeline obeys is read off it, and a request is given to it whole or refused."""

import inspect
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
from diffusers.pipelines.aura_flow.pipeline_aura_flow import AuraFlowPipeline
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline
from diffusers.pipelines.hidream_image.pipeline_hidream_image import HiDreamImagePipeline
from diffusers.pipelines.hunyuan_image.pipeline_hunyuanimage import HunyuanImagePipeline
from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import KandinskyV22CombinedPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.qwenimage21.pipeline_qwenimage21 import QwenImage21Pipeline
from diffusers.pipelines.sana.pipeline_sana_sprint import SanaSprintPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline

from app.shared.disobedience import disobeyed
from app.shared.wire.generation import GenerationRequest
from tests.app.shared.making import profile, request
from tests.workers import toy
from tests.workers.training import toys
from workers.models.families import FAMILIES, Family
from workers.models.obeys import (
    ARGUMENTS,
    FROM_PICTURES,
    OF_ANY,
    call_arguments,
    fixed_sizes,
    longest_edge,
    most_steps,
    native_size,
    negative_over,
    obeyed,
    own_guidance,
    own_steps,
    size_multiple,
)

USUAL = ("prompt", "negative_prompt", "width", "height", "steps", "guidance_scale")


def like(kind: type, **parts: Any) -> Any:
    """A pipeline of this kind without weights, with settings of its parts."""
    pipeline = object.__new__(kind)
    for name, value in parts.items():
        config = SimpleNamespace(config=SimpleNamespace(**value)) if isinstance(value, dict) else value
        object.__setattr__(pipeline, "_internal_dict" if name == "config" else name, config)
    return pipeline


@pytest.mark.parametrize(
    ("pipeline", "not_obeyed"),
    [
        (like(StableDiffusionPipeline, unet={"time_cond_proj_dim": None}), set()),
        (like(StableDiffusionPipeline, unet={"time_cond_proj_dim": 256}), {"negative_prompt"}),  # LCM
        (like(StableDiffusion3Pipeline, transformer={"patch_size": 2}), set()),
        (like(FluxPipeline, transformer={"guidance_embeds": True}), {"negative_prompt"}),
        (like(FluxPipeline, transformer={"guidance_embeds": False}), {"negative_prompt", "guidance_scale"}),
        (like(QwenImagePipeline, transformer={"guidance_embeds": False}), set()),
        (like(Flux2KleinPipeline, config=SimpleNamespace(is_distilled=True)), {"negative_prompt", "guidance_scale"}),
        (like(HunyuanImagePipeline, transformer={"guidance_embeds": True}), {"negative_prompt"}),
        (like(HunyuanImagePipeline, transformer={"guidance_embeds": False}, guider=None), {"guidance_scale"}),
        (like(HunyuanImagePipeline, guider=SimpleNamespace(guidance_scale=3.5)), set()),
    ],
    ids=[
        *("sd", "lcm", "sd3", "flux-dev", "flux-schnell", "qwen", "klein-distilled"),
        *("hunyuan-distilled", "hunyuan-unguided", "hunyuan"),
    ],
)
def test_what_a_pipeline_obeys_is_read_off_it(pipeline: Any, not_obeyed: set[str]) -> None:
    found = obeyed(pipeline)
    # No arguments: what the prompts are given as, and what pictures it begins from or is shown
    assert found.keys() == {*ARGUMENTS, "prompt_syntax", *FROM_PICTURES, "reference_images", *OF_ANY}
    assert {field for field in USUAL if not found[field]} == not_obeyed


def test_a_pipeline_that_nothing_can_be_drawn_with_to_order_is_refused() -> None:
    class Pipeline:
        def __call__(self, prompt: str) -> None: ...

    with pytest.raises(ValueError, match="takes no generator"):
        obeyed(Pipeline())


@pytest.mark.parametrize(
    ("pipeline", "size"),
    [
        (like(FluxPipeline, default_sample_size=128, vae_scale_factor=8), (1024, 1024)),
        (like(StableDiffusionPipeline, unet={"sample_size": 64}, vae_scale_factor=8), (512, 512)),
        (like(StableDiffusionPipeline, unet={"sample_size": (48, 64)}, vae_scale_factor=8), (512, 384)),
        (like(PixArtSigmaPipeline, transformer={"sample_size": 64}, vae_scale_factor=8), (512, 512)),
        (like(WanPipeline, transformer={"patch_size": (1, 2, 2)}, vae_scale_factor_spatial=8), (832, 480)),
        (like(KandinskyV22CombinedPipeline, unet={"sample_size": 64}), (512, 512)),
        (like(ZImagePipeline, transformer={}, vae_scale_factor=8), (1024, 1024)),
    ],
    ids=["flux", "sd", "sd-oblong", "pixart", "wan", "kandinsky", "z-image"],
)
def test_a_native_size_is_read_off_the_pipeline(pipeline: Any, size: tuple[int, int]) -> None:
    assert native_size(pipeline) == size


@pytest.mark.parametrize(
    ("pipeline", "multiple"),
    [
        (like(StableDiffusionPipeline, vae_scale_factor=8, image_processor={"vae_scale_factor": 8}), 8),
        (like(StableDiffusion3Pipeline, vae_scale_factor=8, transformer={"patch_size": 2}), 16),
        (like(PixArtSigmaPipeline, vae_scale_factor=8, transformer={"patch_size": 2}), 16),
        (
            like(
                FluxPipeline,
                vae_scale_factor=8,
                transformer={"patch_size": 1},
                image_processor={"vae_scale_factor": 16},
            ),
            16,
        ),
        (SimpleNamespace(vae_scale_factor=32, transformer=SimpleNamespace(config=SimpleNamespace(patch_size=1))), 32),
        (
            SimpleNamespace(
                vae_scale_factor=8, transformer=SimpleNamespace(config=SimpleNamespace(patch_size=(1, 2, 2)))
            ),
            16,
        ),
    ],
)
def test_sizes_are_multiples_of_what_the_pipeline_computes_with(pipeline: Any, multiple: int) -> None:
    assert size_multiple(pipeline) == multiple
    assert size_multiple(toys.pipeline()) == 8


def test_a_pipeline_is_given_all_that_a_request_says_and_it_obeys() -> None:
    asked = request(negative_prompt="blue", width=128)
    assert call_arguments(asked, like(StableDiffusionPipeline), dict.fromkeys(ARGUMENTS, True)) == {
        argument: value for field, argument in ARGUMENTS.items() if (value := getattr(asked, field)) is not None
    }


def test_what_would_be_dropped_is_known_and_may_only_be_as_it_is() -> None:
    facts = profile(guidance_scale=1.0, obeys=obeyed(toy.Pipeline()))
    plain = request(guidance_scale=1.0)
    assert facts.disobeyed(plain) == {}
    asked = request(guidance_scale=2.0, width=128, negative_prompt="blue", steps=9)
    assert facts.disobeyed(asked) == {"guidance_scale": 1.0, "width": 64, "negative_prompt": ""}
    assert (
        facts.disobeyed(
            GenerationRequest.model_validate({"prompt": "a", "width": 64, "height": 64, "guidance_scale": 1.0})
        )
        == {}
    )
    assert profile(obeys={"unheard": False}).disobeyed(asked) == {}, "nobody can ask for it here"
    assert profile().disobeyed(asked) == {}, "a profile of version 0.1 says nothing of it; the engine will"


@pytest.mark.parametrize(
    ("pipeline", "own"),
    [
        (like(StableDiffusionPipeline, unet={"time_cond_proj_dim": None}), (50, 7.5, 1.0)),
        (like(FluxPipeline, transformer={"guidance_embeds": True}), (28, 3.5, None)),
        (like(FluxPipeline, transformer={"guidance_embeds": False}), (4, 0.0, None)),
        (like(QwenImagePipeline), (50, 4.0, 1.0)),
        (like(ZImagePipeline), (50, 5.0, 0.0)),
        (like(Flux2KleinPipeline, config=SimpleNamespace(is_distilled=True)), (4, 1.0, None)),
        (like(HunyuanImagePipeline, guider=SimpleNamespace(guidance_scale=3.5)), (50, 3.5, 1.0)),
        (SimpleNamespace(scheduler=None), (25, 1.0, None)),
    ],
    ids=["sd", "flux-dev", "flux-schnell", "qwen", "z-image", "klein-distilled", "hunyuan", "unknown"],
)
def test_steps_and_guidance_are_the_models_own(pipeline: Any, own: tuple[int, float, float | None]) -> None:
    if isinstance(pipeline, SimpleNamespace):
        pipeline = toy.Pipeline()
    assert (own_steps(pipeline), own_guidance(pipeline), negative_over(pipeline)) == own


def test_an_lcm_takes_as_many_steps_as_it_was_distilled_from() -> None:
    lcm = SimpleNamespace(config=SimpleNamespace(original_inference_steps=50))
    assert most_steps(like(StableDiffusionPipeline, scheduler=lcm)) == 50
    assert most_steps(toys.pipeline()) is None


def test_the_guidance_goes_to_what_carries_it() -> None:
    asked, all_of_them = request(guidance_scale=2.5), dict.fromkeys(ARGUMENTS, True)
    assert call_arguments(asked, like(QwenImagePipeline), all_of_them)["true_cfg_scale"] == 2.5
    assert "guidance_scale" not in call_arguments(asked, like(QwenImagePipeline), all_of_them)
    kandinsky = call_arguments(asked, like(KandinskyV22CombinedPipeline), all_of_them)
    assert kandinsky["guidance_scale"] == kandinsky["prior_guidance_scale"] == 2.5
    guided = like(HunyuanImagePipeline, guider=SimpleNamespace(guidance_scale=3.5), ocr_guider=None)
    assert "guidance_scale" not in call_arguments(asked, guided, all_of_them)
    assert guided.guider.guidance_scale == 2.5
    schnell = like(FluxPipeline, transformer={"guidance_embeds": False})
    assert "guidance_scale" not in call_arguments(asked, schnell, obeyed(schnell))


def test_further_arguments_are_the_familys() -> None:
    wan = call_arguments(request(), like(WanPipeline), dict.fromkeys(ARGUMENTS, True))
    assert (wan["num_frames"], wan["output_type"]) == (1, "pil")
    between = {
        steps: call_arguments(request(steps=steps), like(SanaSprintPipeline), dict.fromkeys(ARGUMENTS, True))
        for steps in (2, 3)
    }
    assert {steps: asked["intermediate_timesteps"] for steps, asked in between.items()} == {2: 1.3, 3: None}
    for negative, given in (("", None), ("a cat", "a cat")):
        asked = request(negative_prompt=negative)
        kandinsky = call_arguments(asked, like(KandinskyV22CombinedPipeline), dict.fromkeys(ARGUMENTS, True))
        assert kandinsky["negative_prompt"] == given
    for schedule, kept in (([], True), ([(0.0, 0.5), (0.5, 1.0)], False)):
        asked = request(
            adapters=[
                {"ref": "a", "name": "a", "version": 1, "sha256": "0" * 64, "strength": 1.0, "schedule": schedule}
            ]
        )
        qwen = call_arguments(asked, like(QwenImage21Pipeline), dict.fromkeys(ARGUMENTS, True))
        assert qwen["use_kv_cache"] is kept  # the text's keys are of the first step, and so of its strengths


def test_the_sizes_of_a_base_that_scales_are_those_that_it_leaves_as_they_are() -> None:
    hidream = like(HiDreamImagePipeline, vae_scale_factor=8, default_sample_size=128)
    sizes = fixed_sizes(hidream)
    assert (1024, 1024) in sizes
    assert len(sizes) > 50
    assert all(not width % 16 and not height % 16 for width, height in sizes)
    assert (64, 64) not in sizes


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.pipeline)
def test_a_row_of_the_table_is_of_a_pipeline_of_diffusers_and_names_arguments_that_it_takes(row: Family) -> None:
    takes = inspect.signature(getattr(diffusers, row.pipeline).__call__).parameters
    assert {one for one in row.guidance if "." not in one} <= takes.keys()
    assert row.extra.keys() <= takes.keys()


def test_what_a_base_does_not_obey_as_it_stands_is_told_with_what_would_be_right() -> None:
    asked = request(width=1000, height=1024, negative_prompt="blue", guidance_scale=1.0, steps=60)
    facts = profile(max_edge=4096, size_multiple=16, negative_over=1.0, max_steps=50)
    found = {one.field: one for one in disobeyed(facts, asked)}
    assert found.keys() == {"width", "negative_prompt", "steps"}
    assert found["width"].message.endswith("must be a multiple of 16 for 'emoji-64': nearest 992 or 1008")
    assert found["steps"].allowed == {"maximum": 50}
    assert "only where guidance_scale is over 1" in found["negative_prompt"].message
    assert not list(disobeyed(facts, asked.model_copy(update={"width": 1008, "guidance_scale": 1.5, "steps": 50})))
    fixed = profile(sizes=[(1024, 1024), (640, 1408), (768, 1280)])
    found = {one.field: one for one in disobeyed(fixed, request(width=768, height=1024))}
    assert {field: one.allowed for field, one in found.items()} == {
        "width": [640, 768, 1024],
        "height": [1024, 1280, 1408],
    }
    assert "nearest 1024×1024 or 768×1280" in found["width"].message
    assert not list(disobeyed(fixed, request(width=640, height=1408)))
    quantised = profile(apply_modes=["auto", "bypass"])
    adapter = {"ref": "a", "name": "a", "version": 1, "sha256": "0" * 64}
    assert not list(disobeyed(quantised, request(apply="merge"))), "without adapters there is nothing to merge"
    (merged,) = disobeyed(quantised, request(apply="merge", adapters=[adapter]))
    assert (merged.field, merged.allowed) == ("apply", ["auto", "bypass"])
    assert not list(disobeyed(quantised, request(apply="bypass", adapters=[adapter])))
    assert not list(disobeyed(profile(), asked)), "a profile of version 0.1 says nothing of it"


def test_no_edge_is_longer_than_the_positions_that_a_base_has_learned() -> None:
    """Beyond them AuraFlow takes positions from the other end of its table, or none."""
    pipeline = like(AuraFlowPipeline, transformer={"pos_embed_max_size": 9216, "patch_size": 2}, vae_scale_factor=8)
    assert longest_edge(pipeline) == 1536
    small = like(AuraFlowPipeline, transformer={"pos_embed_max_size": 1024, "patch_size": 2}, vae_scale_factor=8)
    assert native_size(small) == (512, 512)
