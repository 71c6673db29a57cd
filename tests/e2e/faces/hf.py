"""Hugging Face's client, on `/hf`."""

import asyncio
import io
from collections.abc import Callable
from threading import Thread
from typing import Any

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from tests.e2e.faces.face import Followed, Wanted


class HuggingFaceFace:
    """`InferenceClient`: the model is an address, adapters are a part of it; a call is one picture."""

    follows = False
    unknown_adapter = HfHubHTTPError
    wrong_size = BadRequestError
    canceled = BadRequestError

    def __init__(self, url: str) -> None:
        self._url = f"{url}/hf/models"
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def draw(self, wanted: Wanted) -> bytes:
        file = io.BytesIO()
        InferenceClient(model=self._model(wanted)).text_to_image(**_asked(wanted)).save(file, "PNG")
        return file.getvalue()

    def follow(self, wanted: Wanted) -> Followed:
        raise NotImplementedError

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        drawing = AsyncInferenceClient(model=self._model(wanted)).text_to_image(**_asked(wanted))
        waiting = asyncio.run_coroutine_threadsafe(drawing, self._loop)

        def leave() -> None:  # whoever goes away has it canceled
            waiting.cancel()

        return leave

    def sentence(self, error: Exception) -> str:
        return str(error)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _model(self, wanted: Wanted) -> str:
        adapters = "+".join(f"{name}@{strength}" for name, strength in wanted.adapters.items())
        return f"{self._url}/emoji-64:{adapters}" if adapters else f"{self._url}/emoji-64"


def _asked(wanted: Wanted) -> dict[str, Any]:
    return {
        "prompt": wanted.prompt,
        "seed": wanted.seed,
        "num_inference_steps": wanted.steps,
        "guidance_scale": wanted.guidance_scale,
        "width": wanted.width,
        "height": wanted.height,
    }
