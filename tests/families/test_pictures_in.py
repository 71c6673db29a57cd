"""Laws of drawing from pictures, over every family that does: diffusers' own picture, and nothing outside the mask.

The gate runs a few families; `pytest tests/families --every` runs all of them.
"""

import inspect
from collections.abc import Callable
from typing import Any

import diffusers as library
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from app.shared.passes import second_seed, upscaled
from app.shared.pictures import picture_key
from app.shared.storage import Storage
from app.shared.wire.adapter import denoises
from tests.families.serving import GUIDANCE, PROMPT, SCHEDULED, SEED, Diffusers, Served, apart, scheduled
from tests.workers.drawing.pictures import gradient, spot
from workers.drawing.beginning import Beginning
from workers.drawing.sampling import Sampling
from workers.models.components import components_of
from workers.models.latents import encoded, enlarged

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]
IN_THE_GATE = ("sd-1.5", "qwen-image")  # a UNet, and packed latents of a codec of films
STEPS, DENOISE = 4, 0.55  # by which diffusers draws two steps, or three
OWN_CLASS = {  # diffusers' image to image
    **dict.fromkeys(("sd-1.5", "sd-2"), "StableDiffusionImg2ImgPipeline"),
    "sdxl": "StableDiffusionXLImg2ImgPipeline",
    "sd-3": "StableDiffusion3Img2ImgPipeline",
    **dict.fromkeys(("flux.1-dev", "flux.1-schnell"), "FluxImg2ImgPipeline"),
    "qwen-image": "QwenImageImg2ImgPipeline",
    "z-image": "ZImageImg2ImgPipeline",
    "chroma": "ChromaImg2ImgPipeline",
    "kandinsky-2.2": "KandinskyV22Img2ImgCombinedPipeline",
    "kandinsky-3": "Kandinsky3Img2ImgPipeline",
    "sana-sprint": "SanaSprintImg2ImgPipeline",
}
INPAINTING = {  # of Chroma it is broken in diffusers 0.42
    **dict.fromkeys(("sd-1.5", "sd-2"), "StableDiffusionInpaintPipeline"),
    "sdxl": "StableDiffusionXLInpaintPipeline",
    "sd-3": "StableDiffusion3InpaintPipeline",
    **dict.fromkeys(("flux.1-dev", "flux.1-schnell"), "FluxInpaintPipeline"),
    "qwen-image": "QwenImageInpaintPipeline",
    "z-image": "ZImageInpaintPipeline",
}


@pytest.fixture(autouse=True)
def begins(served: Served) -> None:
    """Only families that begin from pictures."""
    if not served.base.profile.obeys["init_image"]:
        assert served.refusal(init_image=picture(served)["init_image"]) is not None
        pytest.skip("begins from no picture")


def picture(served: Served, seed: int = 0) -> dict[str, Any]:
    return {"init_image": served.pictures.put(gradient(*served.family.size, seed)).ref}


def masked(served: Served, seed: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A request with a mask somewhere, the picture, and where it is white."""
    rng = np.random.default_rng(seed)
    size = served.family.size
    mask = spot(*size, tuple(rng.random(2)), rng.uniform(0.2, 0.7))  # type: ignore[arg-type]
    asked = picture(served, seed) | {"mask_image": served.pictures.put(mask).ref}
    return asked, np.asarray(gradient(*size, seed)).astype(int), np.asarray(mask)[..., 0] > 0


def test_it_is_diffusers_own_image_to_image_with_adapters_too(
    served: Served, diffusers: Diffusers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the mode of the codec's posterior in place of a draw from it."""
    if served.family.name not in OWN_CLASS:
        pytest.skip("diffusers has no image to image for it")
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    own = called(served, diffusers, OWN_CLASS[served.family.name])
    asked = picture(served) | {"denoise": DENOISE, "steps": STEPS}
    component = served.family.components[0]
    with diffusers.counting(component) as calls:
        assert apart(served.drawn(**asked), own()) <= 1
    (use, layers), strengths = served.lora(component), [1.0]
    if served.family.name in SCHEDULED:
        use, strengths = scheduled(use, served.accepted(**asked).drawn[0], len(calls))
    with diffusers.merged(component, layers, strengths):
        assert apart(served.drawn(**asked, adapters=[use]), own()) <= max(1, served.family.apart)


def called(served: Served, diffusers: Diffusers, name: str, **more: Any) -> Callable[[], np.ndarray]:
    """The picture of a class of diffusers, made of the same parts, for the suite's usual request with a picture."""
    kind = getattr(library, name)
    takes = inspect.signature(kind.__init__).parameters
    parts = {name: part for name, part in diffusers.pipeline.components.items() if name in takes}
    pipeline = kind(**parts, **({"requires_safety_checker": False} if "requires_safety_checker" in takes else {}))
    pipeline.set_progress_bar_config(disable=True)
    width, height = served.family.size
    call = {"prompt": served.family.prompt or PROMPT, "image": gradient(width, height), "strength": DENOISE}
    call |= {"intermediate_timesteps": None}  # of Sana-Sprint: the step between is for two steps alone
    call |= {"num_inference_steps": STEPS, "width": width, "height": height} | dict(served.family.extra) | more
    call |= {served.family.guidance: GUIDANCE} if served.family.guidance else {}
    call = {name: value for name, value in call.items() if name in inspect.signature(kind.__call__).parameters}

    def own() -> np.ndarray:
        with torch.inference_mode():
            generator = torch.Generator("cpu").manual_seed(SEED)
            return np.asarray(pipeline(**call, generator=generator).images[0]).astype(int)

    return own


def shifted(diffusers: Diffusers) -> Any:
    """Give the codec of SD 3 the shift that diffusers' inpainting forgets before it decodes."""
    vae = diffusers.pipeline.vae
    return vae.decoder.register_forward_pre_hook(lambda _, inputs: (inputs[0] + vae.config.shift_factor, *inputs[1:]))


def test_what_a_mask_draws_anew_is_what_diffusers_inpainting_draws_there(
    served: Served, diffusers: Diffusers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside, no class of diffusers keeps the pixels: all of it goes through the codec."""
    if served.family.name not in INPAINTING:
        pytest.skip("diffusers has no inpainting for it")
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    mask = Image.new("RGB", served.family.size)
    mask.paste((255, 255, 255), (16, 16, 48, 32))  # whole latents: of a part of one, diffusers takes its first pixel
    inside = np.asarray(mask)[..., 0] > 0
    undo = [shifted(diffusers)] if served.family.name == "sd-3" else []
    theirs = called(served, diffusers, INPAINTING[served.family.name], mask_image=mask)
    component = served.family.components[0]
    with diffusers.counting(component) as calls:
        own = theirs()
    asked = picture(served) | {"mask_image": served.pictures.put(mask).ref, "denoise": DENOISE, "steps": STEPS}
    (use, layers), strengths = served.lora(component), [1.0]
    if served.family.name in SCHEDULED:
        use, strengths = scheduled(use, served.accepted(**asked).drawn[0], len(calls))
    with diffusers.merged(component, layers, strengths):
        changed = theirs()
    for hook in undo:
        hook.remove()
    ours = served.drawn(**asked)
    assert apart(ours[inside], own[inside]) <= 1
    assert apart(ours[~inside], own[~inside]) > 1
    assert apart(served.drawn(**asked, adapters=[use])[inside], changed[inside]) <= max(1, served.family.apart)


def test_what_is_black_is_the_input_bit_for_bit_and_the_rest_is_drawn(served: Served) -> None:
    for seed, area in enumerate(("whole", "masked")):
        asked, before, inside = masked(served, seed)
        padding = {"inpaint_padding": 8} if area == "masked" else {}
        after = served.drawn(**asked, **padding, inpaint_area=area, denoise=1.0)
        assert (after[~inside] == before[~inside]).all()
        assert abs(after - before)[inside].mean() > 1


def test_a_white_mask_is_none_and_a_grey_one_is_for_the_last_part_of_the_steps(served: Served) -> None:
    size = served.family.size

    def drawn(value: int) -> np.ndarray:
        mask = served.pictures.put(Image.new("RGB", size, (value,) * 3)).ref
        return served.drawn(**asked, mask_image=mask)

    asked = picture(served) | {"denoise": DENOISE, "steps": STEPS}
    assert apart(drawn(255), served.drawn(**asked)) == 0
    assert apart(drawn(128), drawn(255)), "grey is white"
    assert apart(drawn(128), np.asarray(gradient(*size)).astype(int)), "grey is black"


def test_with_all_of_it_drawn_anew_nothing_of_the_picture_is_left(served: Served) -> None:
    assert apart(served.drawn(**picture(served), denoise=1.0), served.drawn()) == 0
    asked, before, inside = masked(served, 3)
    other = np.where(inside[..., None], 255 - before, before).astype(np.uint8)
    changed = asked | {"init_image": served.pictures.put(Image.fromarray(other)).ref}
    assert apart(served.drawn(**asked, denoise=1.0), served.drawn(**changed, denoise=1.0)) == 0


def test_what_is_held_in_every_step_reaches_the_decoder_as_the_codec_made_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all is kept, what is decoded is what was encoded: so scales, shifts and places of latents agree."""
    begun = gradient(*served.family.size)
    made = Beginning.__init__

    def all_kept(self: Beginning, *inputs: Any, mask: torch.Tensor, **named: Any) -> None:
        made(self, *inputs, mask=torch.zeros_like(mask), **named)

    expected = encoded_and_decoded(served, begun).flatten()
    monkeypatch.setattr(Beginning, "__init__", all_kept)
    asked = served.accepted(**picture(served), mask_image=served.pictures.put(spot(*begun.size)).ref, steps=2)
    seen: list[torch.Tensor] = []
    pipeline = served.base.pipeline
    codec = getattr(pipeline, "vae", None) or pipeline.movq
    hook = codec.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    Sampling(served.base, served.pictures).picture(asked, SEED, lambda _: None)
    hook.remove()
    assert (seen[-1].flatten() - expected).abs().max() < 1e-3 * max(1.0, float(expected.abs().max()))


def encoded_and_decoded(served: Served, begun: Image.Image) -> torch.Tensor:
    """What goes into the decoder for a picture that is encoded and decoded."""
    pipeline = served.base.pipeline
    vae = getattr(pipeline, "vae", None) or pipeline.movq
    begun = begun.convert("RGBA" if served.family.name == "qwen-image-2.1" else "RGB")
    pixels = torch.from_numpy(np.asarray(begun).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    seen: list[torch.Tensor] = []
    hook = vae.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    with torch.inference_mode():
        films = "latents_mean" in vae.config and "z_dim" in vae.config
        output = vae.encode(pixels.unsqueeze(2) if films else pixels)
        latents = output.latent_dist.mode() if hasattr(output, "latent_dist") else next(iter(output.values()))
        vae.decode(latents, **({"force_not_quantize": True} if hasattr(pipeline, "movq") else {}))
    hook.remove()
    return seen[-1]


def test_steps_are_told_as_they_are_drawn_and_plain_pictures_stay_as_they_were(served: Served) -> None:
    before = served.ended()
    last = [one for one in served.family.components if denoises(one)][-1]  # of two, what draws from less noise
    use, _ = served.lora(last)
    scheduled = use | {"schedule": [[0.0, 0.0], [0.5, 1.0]]}
    asked = picture(served) | {"denoise": 0.5, "steps": STEPS}
    with_it = served.ended(**asked, adapters=[scheduled])
    assert with_it.progress.steps == 2 == served.events(with_it, "progress")
    assert apart(served.pixels(with_it), served.drawn(**asked))
    assert apart(served.pixels(with_it), served.drawn(**asked, adapters=[use]))
    denoiser = components_of(served.base.pipeline)[last]

    def broken(*_: Any) -> None:
        raise RuntimeError("half-way")

    hook = denoiser.register_forward_hook(broken)
    assert served.ended(**asked).error is not None
    hook.remove()
    assert served.ended().images[0].sha256 == before.images[0].sha256
    again = served.ledger.accept(with_it.request)
    served.engine.run(again.id)
    assert served.ledger.get(again.id).images[0].sha256 == with_it.images[0].sha256


def test_every_picture_is_read_from_storage_once_for_a_generation_and_then_forgotten(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get = Storage.get

    def counting(self: Storage, key: str) -> bytes | None:
        read.extend([key] if key.startswith("pictures/") else [])
        return get(self, key)

    asked, _, _ = masked(served, 5)
    monkeypatch.setattr(Storage, "get", counting)
    for _ in range(2):
        read.clear()
        served.pixels(served.ended(**asked, count=2, steps=1, denoise=1.0))
        assert sorted(read) == sorted(map(picture_key, asked.values()))


def test_a_second_pass_is_image_to_image_of_the_first_result(served: Served) -> None:
    if served.base.profile.sizes:  # of which none may be so much larger
        refusal = served.refusal(upscale={"scale": 1.5, "denoise": 0.5})
        assert refusal is not None and refusal.code in ("size_not_offered", "size_over_limit"), refusal
        return
    whole = served.ended(upscale={"scale": 1.5, "denoise": 0.5})
    assert whole.progress.steps == 3 == served.events(whole, "progress")
    first = served.pictures.put(Image.fromarray(served.drawn().astype(np.uint8))).ref
    multiple = served.base.profile.size_multiple
    width, height = upscaled(served.family.size, 1.5, multiple)
    asked: dict[str, Any] = {"init_image": first, "fit": "stretch", "denoise": 0.5, "seed": second_seed(SEED)}
    assert apart(served.pixels(whole), served.drawn(**asked, width=width, height=height)) == 0


def test_latents_that_are_enlarged_are_those_of_the_first_result(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    if served.base.profile.sizes:
        pytest.skip("draws no larger size")
    made, begun = Beginning.__init__, []

    def noted(self: Beginning, pipeline: Any, latents: torch.Tensor, *inputs: Any, **named: Any) -> None:
        begun.append(latents)
        made(self, pipeline, latents, *inputs, **named)

    monkeypatch.setattr(Beginning, "__init__", noted)
    larger = served.drawn(upscale={"scale": 1.5, "denoise": 0.5, "method": "latent"})
    first = Image.fromarray(served.drawn().astype(np.uint8))
    with torch.inference_mode():
        small = encoded(served.base.pipeline, first)
    rows, columns = (
        edge * of // small_edge
        for edge, of, small_edge in zip(small.shape[-2:], larger.shape[:2], first.size[::-1], strict=True)
    )
    assert torch.equal(begun[0], enlarged(small, rows, columns))
    assert larger.shape[:2] == upscaled(served.family.size, 1.5, served.base.profile.size_multiple)[::-1]
    refusal = served.refusal(upscale={"scale": 1.5, "denoise": 0.25, "method": "latent"})
    assert refusal is not None and refusal.reasons[0]["code"] in ("denoise_too_small", "denoise_draws_nothing")
