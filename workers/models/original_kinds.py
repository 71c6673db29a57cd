"""What a file in its original layout is, as diffusers tells by names and shapes: where its configurations are, and
whether a picture can be drawn from a prompt with it."""

import re
from collections.abc import Iterable, Mapping

import torch
from diffusers.loaders.single_file_utils import DIFFUSERS_DEFAULT_PIPELINE_PATHS, infer_diffusers_model_type

from workers.models.weight_files import Stored

# Names that tell a kind that diffusers tells by none -> the repository that the example of its pipeline draws with
FURTHER = {
    r"(model\.diffusion_model\.)?txt_norm\.weight": "Qwen/Qwen-Image",
    r"(model\.diffusion_model\.)?byt5_in\..+": "hunyuanvideo-community/HunyuanImage-2.1-Diffusers",
    r"(model\.diffusion_model\.)?y_embedder\.y_embedding": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    r"(model\.diffusion_model\.)?visual_transformer_blocks\..+": "kandinskylab/Kandinsky-5.0-T2I-Lite-sft-Diffusers",
}
ANYTHING = "v1"  # what diffusers takes a file for that it does not know
# diffusers' name of a kind -> why it is no base here
UNSERVED = {
    r"flux-fill": "paints into a picture",
    r"xl_refiner|upscale|instruct-pix2pix|flux-depth": "changes a picture that it is given",
    r"(animatediff|ltx|mochi|hunyuan-video|wan-(i2v|animate|vace)|cosmos-1|cosmos-2.0-v2w|minimax).*": (
        "draws moving pictures"
    ),
    r"controlnet\w*|.*-controlnet(-.*)?": "is a ControlNet, which is no base",
    r"stable_cascade.*": "is a part of Stable Cascade, which diffusers does not open",
    r"autoencoder.*": "is an autoencoder, which can be the `vae` of a base",
}


def kind_of(header: Mapping[str, Stored]) -> str | None:
    """Return diffusers' name of the kind of a file; None where it knows no such."""
    known = {name: torch.empty(stored.shape, device="meta") for name, stored in header.items()}
    try:
        kind = infer_diffusers_model_type(known)
    except Exception:  # noqa: BLE001  # it reads shapes that another file has not, and numbers that nobody has loaded
        return None
    return None if kind == ANYTHING else kind


def repository_of(kind: str | None) -> str | None:
    """Return the repository on the hub with the configurations of a kind."""
    return DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"] if kind else None


def further_repository(names: Iterable[str]) -> str | None:
    """Return the same of a kind that diffusers does not tell, by the names of its tensors."""
    found = (where for name in names for mark, where in FURTHER.items() if re.fullmatch(mark, name))
    return next(found, None)


def unserved(kind: str | None) -> str | None:
    """Return why no picture is drawn from a prompt with a file of a kind; None where one may be."""
    return next((why for pattern, why in UNSERVED.items() if kind and re.fullmatch(pattern, kind)), None)
