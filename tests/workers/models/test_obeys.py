"""What a pipeline obeys is read off it, and a request is given to it whole or refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import KandinskyV22CombinedPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.pipelines.z_image.pipeline_z_image import ZImagePipeline

from app.shared.wire.generation import GenerationRequest
from tests.app.shared.making import profile, request
from tests.workers import toy
from tests.workers.training import toys
from workers.models.obeys import ARGUMENTS, call_arguments, native_size, obeyed, size_multiple

USUAL = ("prompt", "negative_prompt", "width", "height", "steps", "guidance_scale")


def like(kind: type, **parts: Any) -> Any:
    """A pipeline of this kind without weights, with settings of its parts."""
    pipeline = object.__new__(kind)
    for name, value in parts.items():
        config = SimpleNamespace(config=SimpleNamespace(**value)) if isinstance(value, dict) else value
        object.__setattr__(pipeline, name, config)
    return pipeline


@pytest.mark.parametrize(
    ("pipeline", "not_obeyed"),
    [
        (like(StableDiffusionPipeline, unet={"time_cond_proj_dim": None}), set()),
        (like(StableDiffusionPipeline, unet={"time_cond_proj_dim": 256}), {"negative_prompt"}),  # LCM
        (like(StableDiffusion3Pipeline, transformer={"patch_size": 2}), set()),
        (like(FluxPipeline, transformer={"guidance_embeds": True}), {"negative_prompt"}),
        (like(FluxPipeline, transformer={"guidance_embeds": False}), {"negative_prompt", "guidance_scale"}),
        (like(QwenImagePipeline, transformer={"guidance_embeds": False}), {"guidance_scale"}),
    ],
    ids=["sd", "lcm", "sd3", "flux-dev", "flux-schnell", "qwen"],
)
def test_what_a_pipeline_obeys_is_read_off_it(pipeline: Any, not_obeyed: set[str]) -> None:
    found = obeyed(pipeline)
    assert found.keys() == ARGUMENTS.keys()
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
    assert call_arguments(asked, dict.fromkeys(ARGUMENTS, True)) == {
        argument: getattr(asked, field) for field, argument in ARGUMENTS.items()
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
