"""Fields that are obeyed where they ask for nothing: A1111's clients send them always. Anything else is refused."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.http.faults import fault, pointer

NONE = (None, "", "None", "none")
OFF = (None, False, 0, -1)
SAME = (None, "", 0, "Use same checkpoint", "Use same sampler", "Use same scheduler")

# Field -> values that ask for nothing, and why another is not obeyed
UNOBEYED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "styles": ((None, []), "no styles are kept here; write their words into the prompt"),
    "subseed_strength": ((None, 0), "two seeds are not mixed here"),
    "seed_resize_from_h": (OFF, "noise is drawn at the picture's own size"),
    "seed_resize_from_w": (OFF, "noise is drawn at the picture's own size"),
    "restore_faces": (OFF, "faces are not restored here"),
    "tiling": (OFF, "no base here draws tiles"),
    "s_churn": ((None, 0), "samplers have it as diffusers has it"),
    "s_tmax": ((None, 0), "samplers have it as diffusers has it"),
    "s_tmin": ((None, 0), "samplers have it as diffusers has it"),
    "s_noise": ((None, 0, 1), "samplers have it as diffusers has it"),
    "s_min_uncond": ((None, 0), "guidance is computed in every step"),
    "firstphase_width": ((None, 0), "say hr_scale"),
    "firstphase_height": ((None, 0), "say hr_scale"),
    "refiner_checkpoint": (NONE, "no base here hands over to another half-way"),
    "script_name": (NONE, "there are no scripts here"),
    "script_args": ((None, []), "there are no scripts here"),
    "infotext": (NONE, "POST /v1/images/recipe reads it, and answers the request that it means"),
    "comments": ((None, {}, ""), "nothing is kept of it"),
    # Of img2img
    "mask_blur_x": ((None, 4), "say mask_blur"),
    "mask_blur_y": ((None, 4), "say mask_blur"),
    "inpainting_fill": (
        (None, 0, 1),
        "what is masked begins as it is, with as much noise as denoising_strength says; at 1 nothing of it is left",
    ),
    "inpainting_mask_invert": ((None, 0, False), "exchange black and white of the mask before it is sent"),
    "initial_noise_multiplier": ((None, 1), "noise is added as the sampler has it"),
    "latent_mask": ((None,), "say mask"),
    "mask_round": ((None, True), "masks are read as they are"),
}
# The same of the second pass, where there is one
OF_SECOND_PASS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "hr_checkpoint_name": (SAME, "the second pass is drawn by the base of the first"),
    "hr_sampler_name": (SAME, "the second pass has the sampler of the first"),
    "hr_scheduler": (SAME, "the second pass has the sampler of the first"),
    "hr_prompt": ((None, ""), "the second pass has the prompt of the first"),
    "hr_negative_prompt": ((None, ""), "the second pass has the negative prompt of the first"),
}
# Fields that decide nothing here, whatever they say
MEANINGLESS = (
    "do_not_save_samples",
    "do_not_save_grid",
    "save_images",
    "override_settings_restore_afterwards",
    "subseed",
    "refiner_switch_at",
    "image_cfg_scale",
)
# Settings that a request may bring, and what they may say; those of `translating` decide something
SETTINGS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "sd_vae": ((*NONE, "Automatic"), "a base has one VAE here, its own"),
    "img2img_color_correction": (OFF, "colours are not corrected here"),
    "img2img_fix_steps": (OFF, "so much of the steps is drawn as denoising_strength says"),
    "eta_noise_seed_delta": ((None, 0), "noise is drawn from the seed itself here"),
    "sd_checkpoint_hash": (NONE, "say sd_model_checkpoint"),
}


def unobeyed(asked: Any, names: Mapping[str, tuple[tuple[Any, ...], str]], at: str = "") -> Iterator[dict[str, Any]]:
    """Yield what is wrong with fields of an object, or of a mapping, that ask for something."""
    said: Callable[[str], Any] = asked.get if isinstance(asked, Mapping) else lambda name: getattr(asked, name, None)
    for name, (nothing, why) in names.items():
        value = said(name)
        if not any((type(value) is type(one) and value == one) or _same(value, one) for one in nothing):
            place = pointer([at, name] if at else [name])
            yield fault(place, "not_obeyed", f"{name} is not obeyed: {why}; leave it out")


def _same(value: Any, nothing: Any) -> bool:
    return isinstance(value, int | float) and isinstance(nothing, int | float) and value == nothing
