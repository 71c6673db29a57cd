"""What a client of A1111's API asks for, as a request of ours; what cannot be honoured is refused, field by field."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.accepting.found_adapters import known_by
from app.deps import Service
from app.faces.a1111.control import control_of, place_of, scripts
from app.faces.a1111.options import MODEL, base_called, current
from app.faces.a1111.request import ImageToImage, TextToImage, data_url
from app.faces.a1111.unobeyed import OF_SECOND_PASS, SETTINGS, UNOBEYED, unobeyed
from app.http.faults import fault, meant, pointer, refusal, refused
from app.shared.a1111_names import meant_by
from app.shared.a1111_prompts import syntax_of, unread
from app.shared.lora_tags import TagRefused, split, use_of
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.model import ModelProfile

VIA = {"via": "sdapi"}  # in a generation's metadata
TASK = "task"
COMPARED = 1000
AUTOMATIC = "automatic"  # a sampler: the base's own
ETA = 1.0  # what asks for nothing
FITS = ("stretch", "crop", "pad")  # by number of `resize_mode`
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
# Of ours -> what it is called there, where a fault is told
THEIRS = {
    "guidance_scale": "cfg_scale",
    "count": "batch_size",
    "sampler": "sampler_name",
    "sigmas": "scheduler",
    "model": f"override_settings/{MODEL}",
    "denoise": "denoising_strength",
    "upscale": "hr_scale",
    "init_image": "init_images/0",
    "mask_image": "mask",
    "fit": "resize_mode",
    "inpaint_area": "inpaint_full_res",
    "inpaint_padding": "inpaint_full_res_padding",
    "prompt_syntax": "prompt",
    "clip_skip": "override_settings/CLIP_stop_at_last_layers",
    "output_format": "override_settings/samples_format",
    "adapters": "prompt",
    "metadata": "force_task_id",
}


def translated(service: Service, asked: TextToImage) -> GenerationRequest:
    """Return the request that it means; raise BadRequest with the fields that cannot be honoured, NotFound, Gone."""
    settings = asked.override_settings or {}
    faults = [*unobeyed(asked, UNOBEYED), *unobeyed(settings, SETTINGS, "override_settings"), *_settings(settings)]
    if asked.enable_hr:
        faults += unobeyed(asked, OF_SECOND_PASS)
    faults += scripts(asked.alwayson_scripts or {})
    if faults:
        raise refused(faults)
    profile = _base(service, settings)
    prompt, adapters = _prompt(service, asked, profile)
    syntax, (prompt, negative) = syntax_of(prompt, asked.negative_prompt or "")
    steps = asked.steps or profile.steps
    body: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": negative or None,
        "model": profile.name,
        "adapters": [*adapters, *control_of(asked.alwayson_scripts or {})],
        "seed": None if asked.seed == -1 else asked.seed,
        "steps": asked.steps,
        "guidance_scale": asked.cfg_scale,
        "width": asked.width,
        "height": asked.height,
        "count": (asked.batch_size or 1) * (asked.n_iter or 1),
        "output_format": FORMATS[settings["samples_format"]] if settings.get("samples_format") else None,
        "eta": None if asked.eta == ETA else asked.eta,
        "prompt_syntax": syntax,
        "metadata": VIA | ({TASK: asked.force_task_id} if asked.force_task_id else {}),
        **_sampler(asked),
        **_clip_skip(settings),
    }
    if asked.enable_hr:
        body["upscale"] = _second_pass(asked, profile, steps)
    if isinstance(asked, ImageToImage):
        body |= _image(asked)
    try:
        return GenerationRequest.model_validate({key: value for key, value in body.items() if value is not None})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise refused([fault(called(pointer(one["loc"]), asked), one["type"], one["msg"]) for one in found]) from error


def called(place: str, asked: TextToImage) -> str:
    """Return a pointer into the request that is meant as what it comes of is called there."""
    field, _, rest = place.strip("/").partition("/")
    index, _, inner = rest.partition("/")
    tags = len(split(asked.prompt)[1])
    if field == "adapters" and index.isdecimal() and int(index) >= tags:
        return place_of(asked.alwayson_scripts or {}, int(index) - tags, inner.partition("/")[0])
    return f"/{THEIRS[field]}" if field in THEIRS else f"/{field}" + (f"/{rest}" if rest else "")


def _settings(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    known = [*SETTINGS, MODEL, "CLIP_stop_at_last_layers", "samples_format"]
    faults = []
    for name in settings:
        if name not in known:
            message = f"there is no setting {name[:80]!r} here{meant(name, known)}; leave it out"
            faults.append(fault(pointer(["override_settings", name]), "not_obeyed", message, known))
    written = settings.get("samples_format")
    if written is not None and not (isinstance(written, str) and written in FORMATS):
        place = pointer(["override_settings", "samples_format"])
        faults.append(fault(place, "not_obeyed", f"pictures are {', '.join(FORMATS)} here", list(FORMATS)))
    return faults


def _base(service: Service, settings: Mapping[str, Any]) -> ModelProfile:
    name = settings.get(MODEL)
    if not name:
        return current(service)
    place: list[str | int] = ["override_settings", MODEL]
    if not isinstance(name, str):
        raise refusal(place, "model_unknown", f"{MODEL} is a title of GET /sdapi/v1/sd-models")
    return service.profiles.get(base_called(service, name, place))


def _prompt(service: Service, asked: TextToImage, profile: ModelProfile) -> tuple[str, list[dict[str, Any]]]:
    """The prompt without its tags, and the adapters that these name; raises BadRequest."""
    prompt, tags = split(asked.prompt)
    faults = []
    for field, text in (("prompt", prompt), ("negative_prompt", asked.negative_prompt or "")):
        if found := unread(text):
            message = (
                f"{found!r} is syntax of A1111 that is not read here (brackets that weaken or change, AND, BREAK, "
                "hypernets); write \\[ for a bracket, or leave it out"
            )
            faults.append(fault(f"/{field}", "not_obeyed", message))
    if split(asked.negative_prompt or "")[1]:
        message = "an adapter is applied to all of the drawing; name it in the prompt"
        faults.append(fault("/negative_prompt", "not_obeyed", message))
    if "<lora:" in prompt.lower() or "<lyco:" in prompt.lower():
        faults.append(fault("/prompt", "not_obeyed", "a tag has no name or no end; write it as <lora:name:0.8>"))
    adapters = []
    for tag in tags:
        known = known_by(service.catalog, "", tag.name)
        if known is None:
            near = meant(tag.name, service.catalog.names(COMPARED))
            message = (
                f"{tag.text[:80]}: there is no adapter {tag.name[:80]!r} here{near}; GET /sdapi/v1/loras lists them"
            )
            faults.append(fault("/prompt", "adapter_unknown", message))
            continue
        try:
            entry = use_of(tag, known.version, profile.name, asked.steps or profile.steps)
            adapters.append({"ref": tag.name, **entry})
        except TagRefused as error:
            faults.append(fault("/prompt", "not_obeyed", str(error)))
    if faults:
        raise refused(faults, faults[0]["code"])
    return prompt, adapters


def _sampler(asked: TextToImage) -> dict[str, Any]:
    name, spacing = asked.sampler_name or asked.sampler_index or "", asked.scheduler or ""
    if name.lower() in ("", AUTOMATIC):
        name = ""
    known = meant_by(name, spacing) if name else (None, None)
    if known is None or (not name and spacing.lower() not in ("", AUTOMATIC)):
        message = f"there is no sampler {f'{name} {spacing}'.strip()[:80]!r} here; GET /sdapi/v1/samplers lists them"
        raise refusal(["sampler_name" if name else "scheduler"], "sampler_unknown", message)
    return {"sampler": known[0], "sigmas": known[1]}


def _clip_skip(settings: Mapping[str, Any]) -> dict[str, Any]:
    said = settings.get("CLIP_stop_at_last_layers")
    if said in (None, 0, 1):
        return {}
    if not isinstance(said, int) or said < 0:
        place = ["override_settings", "CLIP_stop_at_last_layers"]
        raise refusal(place, "not_obeyed", "it is a number of layers, from 1")
    return {"clip_skip": said - 1}  # A1111 counts from the last layer, which is 1


def _second_pass(asked: TextToImage, profile: ModelProfile, steps: int) -> dict[str, Any]:
    method = (asked.hr_upscaler or "Latent").lower()
    if method not in ("latent", "lanczos"):
        message = f"there is no upscaler {asked.hr_upscaler!r} here; Latent and Lanczos are"
        raise refusal(["hr_upscaler"], "not_obeyed", message, ["Latent", "Lanczos"])
    if asked.hr_second_pass_steps not in (None, 0, steps):
        message = "the second pass has as many steps as the first; leave it 0"
        raise refusal(["hr_second_pass_steps"], "not_obeyed", message, [0, steps])
    scale = asked.hr_scale if asked.hr_scale is not None else 2
    width, height = asked.width or profile.width, asked.height or profile.height
    if across := asked.hr_resize_x or 0:
        scale = across / width
    if down := asked.hr_resize_y or 0:
        scale = down / height
        if across and across * height != down * width:
            message = "the second pass is of the shape of the first; say hr_scale, or both edges in its ratio, or one"
            raise refusal(["hr_resize_x"], "not_obeyed", message)
    strength = 0.7 if asked.denoising_strength is None else asked.denoising_strength
    return {"scale": scale, "denoise": strength, "method": method}


def _image(asked: ImageToImage) -> dict[str, Any]:
    if asked.resize_mode not in (None, 0, 1, 2):
        message = "resize_mode is 0 (stretch), 1 (crop) or 2 (pad)"
        raise refusal(["resize_mode"], "not_obeyed", message, [0, 1, 2])
    body: dict[str, Any] = {
        "init_image": data_url(asked.init_images[0]),
        "denoise": 0.75 if asked.denoising_strength is None else asked.denoising_strength,
        "fit": FITS[asked.resize_mode or 0],
    }
    if asked.enable_hr:
        raise refusal(["enable_hr"], "not_obeyed", "a second pass is of txt2img alone; draw at the larger size")
    if asked.mask is not None:
        body["mask_image"] = data_url(asked.mask)
        body["mask_blur"] = 4 if asked.mask_blur is None else asked.mask_blur
        if asked.inpaint_full_res:
            padding = asked.inpaint_full_res_padding
            body |= {"inpaint_area": "masked", "inpaint_padding": 0 if padding is None else padding}
    return body
