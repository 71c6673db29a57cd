"""Replicate's client, on `/replicate`."""

from collections.abc import Callable
from typing import Any

import httpx
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.prediction import Prediction

from tests.e2e.faces.face import Followed, Wanted


class ReplicateFace:
    """`replicate`: a prediction is made, waited for and canceled; `ModelError` says why there is no output."""

    follows = True
    unknown_adapter = ReplicateError
    wrong_size = ReplicateError
    canceled = ModelError

    def __init__(self, url: str) -> None:
        self._client = Client(api_token="any", base_url=f"{url}/replicate")
        self._client.poll_interval = 0.1

    def draw(self, wanted: Wanted) -> bytes:
        prediction = self._ask(wanted)
        prediction.wait()
        return _file(prediction)

    def follow(self, wanted: Wanted) -> Followed:
        prediction, shares = self._ask(wanted), []
        while prediction.status not in ("succeeded", "failed", "canceled"):
            prediction.reload()
            if prediction.progress:
                shares.append(prediction.progress.percentage)
        return Followed(_file(prediction), shares)

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        return self._ask(wanted).cancel

    def sentence(self, error: Exception) -> str:
        return str(error)

    def close(self) -> None:
        self._client._client.close()  # the client has no other way

    def _ask(self, wanted: Wanted) -> Prediction:
        asked: dict[str, Any] = {
            "prompt": wanted.prompt,
            "seed": wanted.seed,
            "num_inference_steps": wanted.steps,
            "guidance_scale": wanted.guidance_scale,
            "width": wanted.width,
            "height": wanted.height,
            "hf_loras": list(wanted.adapters),
            "lora_scales": list(wanted.adapters.values()),
        }
        return self._client.models.predictions.create(model="radiata/emoji-64", input=asked)


def _file(prediction: Prediction) -> bytes:
    if prediction.status != "succeeded":
        raise ModelError(prediction)
    return httpx.get((prediction.output or [""])[0]).raise_for_status().content
