"""The nodes of graphs that are read here: what each takes and gives. Every other node is refused."""

from typing import Any, NamedTuple


class Node(NamedTuple):
    """One kind of node: inputs that come from another node, inputs that are said, and what it gives in turn.

    A value is the type it has and what it is where a graph leaves it out; `...`: it may not.
    """

    links: dict[str, str]
    values: dict[str, tuple[type, Any]]
    gives: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # of the links


_LORA = {"lora_name": (str, ...), "strength_model": (float, 1.0)}
_SIZE = {"width": (int, ...), "height": (int, ...), "batch_size": (int, 1)}
_DRAWN = {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}
_DRAWS = {"steps": (int, ...), "cfg": (float, ...), "sampler_name": (str, ...), "scheduler": (str, ...)}
_SHOWN = {"images": "IMAGE"}
_WINDOW = {"start_percent": (float, 0.0), "end_percent": (float, 1.0)}
_PAIR = {"positive": "CONDITIONING", "negative": "CONDITIONING"}
_LED = {"control_net": "CONTROL_NET", "image": "IMAGE"}

NODES = {
    "CheckpointLoaderSimple": Node({}, {"ckpt_name": (str, ...)}, ("MODEL", "CLIP", "VAE")),
    "LoraLoader": Node({"model": "MODEL", "clip": "CLIP"}, _LORA | {"strength_clip": (float, 1.0)}, ("MODEL", "CLIP")),
    "LoraLoaderModelOnly": Node({"model": "MODEL"}, _LORA, ("MODEL",)),
    "CLIPTextEncode": Node({"clip": "CLIP"}, {"text": (str, ...)}, ("CONDITIONING",)),
    "EmptyLatentImage": Node({}, _SIZE, ("LATENT",)),
    "EmptySD3LatentImage": Node({}, _SIZE, ("LATENT",)),
    "LoadImage": Node({}, {"image": (str, ...), "upload": (str, "image")}, ("IMAGE", "MASK")),
    "VAEEncode": Node({"pixels": "IMAGE", "vae": "VAE"}, {}, ("LATENT",)),
    "ControlNetLoader": Node({}, {"control_net_name": (str, ...)}, ("CONTROL_NET",)),
    "ControlNetApply": Node({"conditioning": "CONDITIONING"} | _LED, {"strength": (float, 1.0)}, ("CONDITIONING",)),
    "ControlNetApplyAdvanced": Node(
        _PAIR | _LED | {"vae": "VAE"}, {"strength": (float, 1.0)} | _WINDOW, ("CONDITIONING", "CONDITIONING"), ("vae",)
    ),
    "KSampler": Node(_DRAWN, {"seed": (int, ...)} | _DRAWS | {"denoise": (float, 1.0)}, ("LATENT",)),
    "KSamplerAdvanced": Node(
        _DRAWN,
        {"noise_seed": (int, ...)}
        | _DRAWS
        | {
            "add_noise": (str, "enable"),
            "start_at_step": (int, 0),
            "end_at_step": (int, 10000),
            "return_with_leftover_noise": (str, "disable"),
        },
        ("LATENT",),
    ),
    "VAEDecode": Node({"samples": "LATENT", "vae": "VAE"}, {}, ("IMAGE",)),
    "SaveImage": Node(_SHOWN, {"filename_prefix": (str, "ComfyUI")}),
    "PreviewImage": Node(_SHOWN, {}),
}
OUTPUTS = {"SaveImage": "output", "PreviewImage": "temp"}  # to the `type` of their files
# Their samplers and spacings to ours; `normal` is a sampler's own
SAMPLERS = {
    "euler": "euler",
    "euler_ancestral": "euler_a",
    "heun": "heun",
    "dpmpp_2m": "dpmpp_2m",
    "dpmpp_2m_sde": "dpmpp_2m_sde",
    "ddim": "ddim",
    "ddpm": "ddpm",
    "uni_pc": "unipc",
    "lcm": "lcm",
}
SCHEDULERS = {
    "normal": None,
    "karras": "karras",
    "exponential": "exponential",
    "beta": "beta",
    "simple": "simple",
}
