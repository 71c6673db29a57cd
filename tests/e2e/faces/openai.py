"""OpenAI's client, on `/openai/v1`."""

import base64
from collections.abc import Callable
from typing import Any

import openai

from tests.e2e.faces.face import Followed, Wanted

PARTIALS = 3


class OpenAIFace:
    """`openai`: adapters are a part of the model's name, what it has no argument for goes by `extra_body`."""

    follows = True
    unknown_adapter = openai.NotFoundError
    wrong_size = openai.BadRequestError
    canceled = openai.BadRequestError

    def __init__(self, url: str) -> None:
        self._client = openai.OpenAI(base_url=f"{url}/openai/v1", api_key="any", max_retries=0)

    def draw(self, wanted: Wanted) -> bytes:
        return base64.b64decode(self._ask(wanted).data[0].b64_json)

    def follow(self, wanted: Wanted) -> Followed:
        *partial, last = self._ask(wanted, stream=True, partial_images=PARTIALS)
        shares = [(one.partial_image_index + 1) / (PARTIALS + 1) for one in partial]
        return Followed(base64.b64decode(last.b64_json), shares)

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        return self._ask(wanted, stream=True).close

    def sentence(self, error: Exception) -> str:
        assert isinstance(error, openai.APIError)
        return error.message

    def close(self) -> None:
        self._client.close()

    def _ask(self, wanted: Wanted, **rest: Any) -> Any:
        adapters = "+".join(f"{name}@{strength}" for name, strength in wanted.adapters.items())
        extra = {"seed": wanted.seed, "num_inference_steps": wanted.steps, "guidance_scale": wanted.guidance_scale}
        return self._client.images.generate(
            model=f"emoji-64:{adapters}" if adapters else "emoji-64",
            prompt=wanted.prompt,
            size=f"{wanted.width}x{wanted.height}",
            extra_body=extra,
            **rest,
        )
