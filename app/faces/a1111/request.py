"""What a client of A1111's API asks to be drawn. docs/faces/a1111.md tells of each field."""

from typing import Annotated, Any

from pydantic import Field

from app.shared.wire.values import Number, Whole, Wire

MOST_EDGE = 1 << 16
PIXELS = "data:image/png;base64,"  # of a picture that does not say what it is; its bytes say
Picture = Annotated[str, Field(min_length=1)]


class TextToImage(Wire):
    """The body of `POST /sdapi/v1/txt2img`; what decides something here stands first."""

    prompt: str = ""
    negative_prompt: str | None = ""
    seed: Whole | None = -1
    sampler_name: str | None = None
    sampler_index: str | None = None  # the same, as older clients call it
    scheduler: str | None = None
    steps: Whole | None = None
    cfg_scale: Number | None = None
    width: Whole | None = None
    height: Whole | None = None
    batch_size: Whole | None = Field(1, ge=1)
    n_iter: Whole | None = Field(1, ge=1)
    eta: Number | None = None
    override_settings: dict[str, Any] | None = None
    enable_hr: bool | None = False
    hr_scale: Number | None = None
    hr_upscaler: str | None = None
    hr_second_pass_steps: Whole | None = None
    hr_resize_x: Whole | None = Field(None, ge=0, le=MOST_EDGE)
    hr_resize_y: Whole | None = Field(None, ge=0, le=MOST_EDGE)
    denoising_strength: Number | None = None
    alwayson_scripts: dict[str, Any] | None = None
    force_task_id: str | None = Field(None, max_length=512)
    send_images: bool | None = True
    # What is obeyed where it asks for nothing, and else refused
    styles: Any = None
    subseed: Any = None
    subseed_strength: Any = None
    seed_resize_from_h: Any = None
    seed_resize_from_w: Any = None
    restore_faces: Any = None
    tiling: Any = None
    s_churn: Any = None
    s_tmax: Any = None
    s_tmin: Any = None
    s_noise: Any = None
    s_min_uncond: Any = None
    hr_checkpoint_name: Any = None
    hr_sampler_name: Any = None
    hr_scheduler: Any = None
    hr_prompt: Any = None
    hr_negative_prompt: Any = None
    firstphase_width: Any = None
    firstphase_height: Any = None
    refiner_checkpoint: Any = None
    refiner_switch_at: Any = None
    script_name: Any = None
    script_args: Any = None
    infotext: Any = None
    comments: Any = None
    # What says nothing here
    do_not_save_samples: Any = None
    do_not_save_grid: Any = None
    save_images: Any = None
    override_settings_restore_afterwards: Any = None


class ImageToImage(TextToImage):
    """The body of `POST /sdapi/v1/img2img`."""

    init_images: list[Picture] = Field(min_length=1, max_length=1)
    mask: Picture | None = None
    mask_blur: Whole | None = None
    inpaint_full_res: bool | Whole | None = True
    inpaint_full_res_padding: Whole | None = None
    resize_mode: Whole | None = 0
    include_init_images: bool | None = False
    mask_blur_x: Any = None
    mask_blur_y: Any = None
    inpainting_fill: Any = None
    inpainting_mask_invert: Any = None
    initial_noise_multiplier: Any = None
    latent_mask: Any = None
    mask_round: Any = None
    image_cfg_scale: Any = None


def data_url(picture: str) -> str:
    """Return a picture as a data URL: clients send base64 with or without what it is."""
    text = "".join(picture.split())
    return text if text.startswith("data:") else f"{PIXELS}{text}"
