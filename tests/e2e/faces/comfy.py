"""ComfyUI's own client of its second API, on `/comfy`."""

import os
from collections.abc import Callable
from typing import Any

import comfy_sdk
from comfy_sdk import exceptions

from tests.e2e.faces.face import Followed, Wanted


class ComfyFace:
    """`comfy_sdk`: a picture is asked for by a graph, which names a sampler: that of the base."""

    follows = True
    unknown_adapter = exceptions.ComfyError
    wrong_size = exceptions.ComfyError
    canceled = exceptions.JobFailed

    def __init__(self, url: str) -> None:
        os.environ["COMFY_BASE_URL"] = f"{url}/comfy"  # the one way to lead it elsewhere
        self._client = comfy_sdk.Comfy()

    def draw(self, wanted: Wanted) -> bytes:
        return self._ask(wanted).result().outputs[0].to_bytes()

    def follow(self, wanted: Wanted) -> Followed:
        job = self._ask(wanted)
        shares = [one.value for one in job.events() if isinstance(one, comfy_sdk.Progress)]
        return Followed(job.result().outputs[0].to_bytes(), shares)

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        job = self._ask(wanted)
        return lambda: job.cancel() and None

    def sentence(self, error: Exception) -> str:
        return str(error)

    def close(self) -> None:
        self._client.close()
        del os.environ["COMFY_BASE_URL"]

    def _ask(self, wanted: Wanted) -> Any:
        nodes: dict[str, tuple[str, dict[str, Any]]] = {
            "base": ("CheckpointLoaderSimple", {"ckpt_name": "emoji-64"}),
            "size": ("EmptyLatentImage", {"width": wanted.width, "height": wanted.height, "batch_size": 1}),
        }
        last = "base"
        for name, strength in wanted.adapters.items():
            said = {"lora_name": name, "strength_model": strength, "strength_clip": strength}
            nodes[name] = ("LoraLoader", said | {"model": [last, 0], "clip": [last, 1]})
            last = name
        texts = {"positive": wanted.prompt, "negative": ""}
        nodes |= {side: ("CLIPTextEncode", {"text": text, "clip": [last, 1]}) for side, text in texts.items()}
        said = {"seed": wanted.seed, "steps": wanted.steps, "cfg": wanted.guidance_scale, "denoise": 1.0}
        said |= {"sampler_name": "ddim", "scheduler": "normal", "model": [last, 0], "latent_image": ["size", 0]}
        nodes["draw"] = ("KSampler", said | {side: [side, 0] for side in texts})
        nodes["decode"] = ("VAEDecode", {"samples": ["draw", 0], "vae": ["base", 2]})
        nodes["save"] = ("SaveImage", {"filename_prefix": "x", "images": ["decode", 0]})
        graph = {node: {"class_type": kind, "inputs": inputs} for node, (kind, inputs) in nodes.items()}
        return self._client.submit(self._client.workflows.from_json(graph))
