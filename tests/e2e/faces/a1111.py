"""`webuiapi`, on `/sdapi/v1`."""

import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import webuiapi

from tests.e2e.faces.face import Followed, Wanted

LOOK_S = 0.1


class A1111Face:
    """`webuiapi`: adapters are tags in the prompt; it looks on by asking for progress beside the call that draws."""

    follows = True
    unknown_adapter = RuntimeError
    wrong_size = RuntimeError
    canceled = RuntimeError

    def __init__(self, url: str) -> None:
        self._drawing, self._looking = (webuiapi.WebUIApi(baseurl=f"{url}/sdapi/v1") for _ in range(2))
        self._threads = ThreadPoolExecutor(2)

    def draw(self, wanted: Wanted) -> bytes:
        return base64.b64decode(self._ask(wanted).json["images"][0])

    def follow(self, wanted: Wanted) -> Followed:
        drawing = self._threads.submit(self.draw, wanted)
        shares: list[float] = []
        while not drawing.done():
            told = self._looking.get_progress()
            if told["state"]["job_count"]:
                shares.append(told["progress"])
            time.sleep(LOOK_S)
        return Followed(drawing.result(), shares)

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        self._threads.submit(self._ask, wanted)
        return self._looking.interrupt

    def sentence(self, error: Exception) -> str:
        return str(error.args[1])

    def close(self) -> None:
        self._threads.shutdown()

    def _ask(self, wanted: Wanted) -> Any:
        tags = "".join(f" <lora:{name}:{strength}>" for name, strength in wanted.adapters.items())
        return self._drawing.txt2img(
            prompt=wanted.prompt + tags,
            seed=wanted.seed,
            steps=wanted.steps,
            cfg_scale=wanted.guidance_scale,
            width=wanted.width,
            height=wanted.height,
            sampler_name="Automatic",
        )
