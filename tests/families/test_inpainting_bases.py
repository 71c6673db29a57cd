"""Laws of bases made for inpainting: diffusers' own picture where a mask is white, and elsewhere the picture itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers as library
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from tests.families import stable_diffusion
from tests.families.controls import control_net, tensors
from tests.families.family import Family
from tests.families.serving import GUIDANCE, PROMPT, SEED, Diffusers, Served, apart, serving
from tests.families.stable_diffusion import NOISE, unet
from tests.families.test_control import line_map
from tests.families.weights import fill
from tests.workers.drawing.pictures import gradient

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]
CHANNELS = 9  # four of latents, the mask, four of the masked picture
STEPS, DENOISE = 4, 0.55
BOX = (16, 16, 48, 32)


def sd15(folder: Path) -> None:
    """Save a Stable Diffusion 1.5 for inpainting."""
    scheduler = library.PNDMScheduler(**NOISE, skip_prk_steps=True, set_alpha_to_one=False)
    kind = library.StableDiffusionInpaintPipeline
    stable_diffusion.one_encoder(kind, unet(in_channels=CHANNELS), scheduler).save_pretrained(folder)


def sdxl(folder: Path) -> None:
    """Save a Stable Diffusion XL for inpainting."""
    stable_diffusion.sdxl(folder)
    plain = library.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    parts = dict(plain.components) | {"unet": library.UNet2DConditionModel(**plain.unet.config | {"in_channels": 9})}
    fill(library.StableDiffusionXLInpaintPipeline(**parts)).save_pretrained(folder)


BASES = {
    "sd-1.5": Family("inpainting", sd15, ("unet", "text_encoder")),
    "sdxl": Family("inpainting", sdxl, ("unet", "text_encoder", "text_encoder_2")),
}


@pytest.fixture(scope="module", params=["sd-1.5", pytest.param("sdxl", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inpainting") / request.param
    BASES[request.param].build(path)
    return path


@pytest.fixture(scope="module")
def served(folder: Path, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(BASES[folder.name], folder, tmp_path_factory.mktemp("store"), _valkey_server) as one:
        yield one


@pytest.fixture(scope="module")
def diffusers(folder: Path) -> Diffusers:
    return Diffusers(BASES[folder.name], folder)


def mask(grey: int = 255, ground: int = 0) -> Image.Image:
    picture = Image.new("RGB", (64, 64), (ground,) * 3)
    picture.paste((grey,) * 3, BOX)
    return picture


def asked(served: Served, **more: Any) -> dict[str, Any]:
    """A request with a picture and a mask."""
    refs = {
        name: served.pictures.put(one).ref for name, one in (("init_image", gradient(64, 64)), ("mask_image", mask()))
    }
    return refs | {"denoise": DENOISE, "steps": STEPS} | more


def own(pipeline: Any, **more: Any) -> np.ndarray:
    """What diffusers draws for that."""
    call = {"prompt": PROMPT, "image": gradient(64, 64), "mask_image": mask(), "strength": DENOISE, "width": 64}
    call |= {"height": 64, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE} | more
    with torch.inference_mode():
        generator = torch.Generator("cpu").manual_seed(SEED)
        return np.asarray(pipeline(**call, generator=generator).images[0]).astype(int)


@pytest.fixture(autouse=True)
def likeliest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the mode of the codec's posterior in place of a draw from it."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())


def test_it_is_diffusers_own_inpainting_with_adapters_too(served: Served, diffusers: Diffusers) -> None:
    profile = served.base.profile
    assert profile.inpaint == "native" and profile.obeys["mask_image"] and not profile.obeys["upscale"]
    inside = np.asarray(mask())[..., 0] > 0
    use, layers = served.lora("unet")
    for strength, merged in ((DENOISE, False), (1.0, False), (DENOISE, True)):
        request = asked(served, denoise=strength, adapters=[use] * merged)
        if merged:
            with diffusers.merged("unet", layers):
                theirs = own(diffusers.pipeline, strength=strength)
        else:
            theirs = own(diffusers.pipeline, strength=strength)
        ours = served.drawn(**request)
        assert apart(ours[inside], theirs[inside]) <= 1, (strength, merged)
        assert apart(ours[~inside], np.asarray(gradient(64, 64)).astype(int)[~inside]) == 0
    late = served.drawn(**asked(served), adapters=[use | {"schedule": [[0.0, 0.0], [0.5, 1.0]]}])
    assert apart(late, ours) > 0 < apart(late, served.drawn(**asked(served)))


def test_a_control_net_reads_the_latents_alone(served: Served, diffusers: Diffusers) -> None:
    plain = library.UNet2DConditionModel(**diffusers.pipeline.unet.config | {"in_channels": 4})
    net: Any = control_net(type("Plain", (), {"unet": plain}))
    xl = "text_encoder_2" in diffusers.pipeline.components
    name = "StableDiffusionXL" if xl else "StableDiffusion"
    kind: Any = getattr(library, f"{name}ControlNetInpaintPipeline")
    said = {} if xl else {"requires_safety_checker": False}
    controlled = kind(**diffusers.pipeline.components, controlnet=net, **said)
    controlled.set_progress_bar_config(disable=True)
    use = served.upload("net", tensors(net)) | {"image": served.pictures.put(line_map((64, 64))).ref, "strength": 0.8}
    theirs = own(controlled, control_image=line_map((64, 64)), controlnet_conditioning_scale=0.8)
    ours, inside = served.drawn(**asked(served), adapters=[use]), np.asarray(mask())[..., 0] > 0
    assert apart(ours[inside], theirs[inside]) <= 1 < apart(ours, served.drawn(**asked(served)))


def test_grey_is_the_nearer_of_black_and_white(served: Served) -> None:
    drawn = served.drawn(**asked(served))
    for grey, ground in ((128, 0), (255, 127), (200, 60)):
        ref = served.pictures.put(mask(grey, ground)).ref
        assert apart(served.drawn(**asked(served, mask_image=ref)), drawn) == 0
    dark = served.refusal(**asked(served, mask_image=served.pictures.put(mask(127)).ref))
    assert dark is not None and dark.code == "mask_empty"


def test_nothing_is_drawn_without_a_mask(served: Served) -> None:
    picture = {"init_image": served.pictures.put(gradient(64, 64)).ref}
    for request, code in (({}, "mask_missing"), (picture, "mask_missing"), ({"upscale": {"scale": 1.5}}, "not_obeyed")):
        refusal = served.refusal(**request)
        assert refusal is not None and refusal.code == code, (request, refusal)
