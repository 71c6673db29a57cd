"""What `txt2img` and `img2img` answer: pictures in base64, the request as it was sent, and what was drawn with."""

import json
from typing import Any

from app.deps import Service
from app.faces.a1111.options import HASH
from app.faces.a1111.request import ImageToImage, TextToImage
from app.faces.a1111.translating import FITS
from app.faces.openai.answers import file_of
from app.shared.a1111_names import names_of
from app.shared.infotext_written import infotext
from app.shared.wire.generation import Generation

PICTURES = {"init_images", "mask"}
WHEN = "%Y%m%d%H%M%S"


async def answer(service: Service, ended: Generation, asked: TextToImage) -> dict[str, Any]:
    """The body of the answer to one of them."""
    images = []
    if asked.send_images is not False:
        images = [await file_of(service, ended, at) for at in range(len(ended.images))]
    hidden = set() if isinstance(asked, ImageToImage) and asked.include_init_images else PICTURES
    parameters = asked.model_dump(exclude=hidden)
    return {"images": images, "parameters": parameters, "info": json.dumps(_info(ended))}


def _info(ended: Generation) -> dict[str, Any]:
    request = ended.request
    sampler, spacing = names_of(request.sampler, request.sigmas)
    texts = [infotext(request, one.seed) for one in ended.images]
    seeds, count = [one.seed for one in ended.images], len(ended.images)
    return {
        "prompt": request.prompt,
        "all_prompts": [request.prompt] * count,
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [request.negative_prompt] * count,
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": seeds[0],
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": request.width,
        "height": request.height,
        "sampler_name": sampler or "Automatic",
        "scheduler": spacing or "Automatic",
        "cfg_scale": request.guidance_scale,
        "steps": request.steps,
        "batch_size": count,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": request.model,
        "sd_model_hash": request.base[:HASH],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": request.upscale.denoise if request.upscale else request.denoise,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": ended.created_at.strftime(WHEN),
        "clip_skip": (request.clip_skip or 0) + 1,
        "is_using_inpainting_conditioning": False,
        "resize_mode": FITS.index(request.fit) if request.fit in FITS else 0,
    }
