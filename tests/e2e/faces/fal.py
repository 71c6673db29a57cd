"""fal's client, on `/fal`, over TLS."""

import importlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fal_client.auth
import fal_client.client
import httpx
import pytest

from tests.e2e.faces.face import Followed, Wanted
from tests.e2e.faces.tls import behind_tls

APP = "radiata/emoji-64"


class FalFace:
    """`fal_client`: what is submitted is asked for; where fal is, it reads when it is imported."""

    follows = True

    def __init__(self, url: str) -> None:
        self._open = ExitStack()
        folder = Path(self._open.enter_context(TemporaryDirectory()))
        host = self._open.enter_context(behind_tls(url, folder))
        patch = self._open.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
        patch.setenv("FAL_RUN_HOST", f"{host}/fal/run")
        patch.setenv("FAL_QUEUE_RUN_HOST", f"{host}/fal/queue")
        patch.setenv("FAL_KEY", "any")
        importlib.reload(fal_client.auth)
        client = importlib.reload(fal_client.client)
        self._client = client.SyncClient()
        self._open.callback(self._client._client.close)  # it has no other way
        self._files = self._open.enter_context(httpx.Client(timeout=60))
        self.unknown_adapter = self.wrong_size = self.canceled = client.FalClientHTTPError

    def draw(self, wanted: Wanted) -> bytes:
        return self._file(self._client.subscribe(APP, _asked(wanted)))

    def follow(self, wanted: Wanted) -> Followed:
        handle, shares = self._client.submit(APP, _asked(wanted)), []
        for now in handle.iter_events(with_logs=True, interval=0.05):
            shares += [int(one["message"].partition("%")[0]) / 100 for one in getattr(now, "logs", None) or ()]
        return Followed(self._file(handle.get()), shares)

    def begin(self, wanted: Wanted) -> Callable[[], None]:
        return self._client.submit(APP, _asked(wanted)).cancel

    def sentence(self, error: Exception) -> str:
        return str(error)

    def close(self) -> None:
        self._open.close()

    def _file(self, found: dict[str, Any]) -> bytes:
        return self._files.get(found["images"][0]["url"]).raise_for_status().content


def _asked(wanted: Wanted) -> dict[str, Any]:
    return {
        "prompt": wanted.prompt,
        "seed": wanted.seed,
        "num_inference_steps": wanted.steps,
        "guidance_scale": wanted.guidance_scale,
        "image_size": {"width": wanted.width, "height": wanted.height},
        "loras": [{"path": name, "scale": strength} for name, strength in wanted.adapters.items()],
        "output_format": "png",
    }
