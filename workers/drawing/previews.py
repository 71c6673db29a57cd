"""Previews of what is drawn: made while somebody wants them, and no pixel and no byte of the picture depends on it.

A map (`workers/models/preview_map.py`) is fitted the first time that somebody asks, and kept in the data folder under
the fingerprint of the codec. A preview that cannot be made is none: nothing that goes wrong here ends a drawing.
"""

import io
import os
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog
import torch
from PIL.Image import Image
from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from app.shared.previews import DATA_URL, Preview, send, watched
from workers.drawing.predicted import predicted
from workers.models.loading import LoadedModel
from workers.models.preview_map import PreviewMap, fitted

log = structlog.get_logger()

EVERY_S = 0.5
QUALITY = 70
FORMAT = b"preview map 1\n"  # of how maps are fitted and kept

# Size that is drawn, scheduler, timestep, the model's output, the sample before, what the step made, steps taken
Shown = Callable[[tuple[int, int], Any, Any, Tensor, Tensor, Any, int], None]


class Previews:
    """Makes previews with one base."""

    def __init__(
        self, base: LoadedModel, redis: Redis, folder: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """folder: where maps are kept."""
        self._base = base
        self._redis = redis
        self._folder = folder
        self._clock = clock
        self._map: PreviewMap | None = None
        self._broken = False
        self._looked = -EVERY_S

    def of(self, generation_id: str, index: int, before: int) -> Shown:
        """Return what is called after each step of a picture; before: steps of the generation taken before it."""

        def after(
            size: tuple[int, int], scheduler: Any, timestep: Any, output: Tensor, sample: Tensor, made: Any, taken: int
        ) -> None:
            if self._broken or self._clock() - self._looked < EVERY_S:
                return
            self._looked = self._clock()
            try:
                if not watched(self._redis, generation_id):
                    return
                picture = self._picture(predicted(scheduler, timestep, output, sample, made), size)
                if picture:
                    width, height = picture.size
                    data = DATA_URL + b64encode(_webp(picture)).decode()
                    send(
                        self._redis,
                        generation_id,
                        Preview(index=index, step=before + taken, width=width, height=height, data=data),
                    )
            except (RedisError, JobTimeoutException) as error:
                if isinstance(error, JobTimeoutException):  # it is the drawing's
                    raise
            except Exception as error:  # noqa: BLE001 (whatever it is, the picture is drawn)
                self._broken = True
                log.warning("no_previews", model=self._base.profile.name, error=f"{type(error).__name__}: {error}")

        return after

    def _picture(self, clean: Tensor | None, size: tuple[int, int]) -> Image | None:
        if clean is None:
            return None
        found = self._map = self._map or self._kept()
        return found.preview(self._base.pipeline, clean, *size) if found.shows else None

    def _kept(self) -> PreviewMap:
        """Return the map of the codec, as it was kept or fitted anew."""
        path = self._folder / f"{_fingerprint(self._base.pipeline.vae)}.safetensors"
        with suppress(OSError, SafetensorError, KeyError, ValueError), safe_open(path, "pt") as file:
            said = file.metadata()
            numbers = {name: int(said[name]) for name in ("side", "channels", "patch")}
            return PreviewMap(file.get_tensor("weights"), fit=float(said["fit"]), **numbers)
        found = fitted(self._base.pipeline)
        said = {name: str(getattr(found, name)) for name in ("side", "channels", "patch", "fit")}
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(f".{os.getpid()}")
            beside.write_bytes(save({"weights": found.weights.contiguous()}, said))
            beside.replace(path)
        return found


def _fingerprint(codec: nn.Module) -> str:
    digest = sha256(FORMAT)
    for name, value in sorted(codec.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _webp(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()
