"""A linear map from latents to pixels, fitted by least squares on what a base's own decoder does.

It says in a fraction of a millisecond about what the decoder would. Where that is far from linear (R² under `LEAST`)
it shows nothing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from workers.models.latents import decoded, of_codec, unpacked, valued

LEAST = 0.5  # R² of a map that shows something
PICTURES = 16
SIZE = 128  # pixels of an edge of each
NOISY = 0.3  # of the latents' own deviation: while it is drawn a picture is not clean yet
RIDGE = 1e-3
MOST_CHANNELS = 32  # with which the latents around a place are read too: a map of more would be fitted on too few
EDGE = 256  # pixels of the longer edge of a preview, about


@dataclass(frozen=True)
class PreviewMap:
    """weights: [channels × side² + 1, 3 × patch²]; a latent is `patch`² pixels. fit: R²."""

    weights: Tensor
    side: int
    channels: int
    patch: int
    fit: float

    @property
    def shows(self) -> bool:
        """Whether what it says is like what the decoder does."""
        return self.fit >= LEAST

    def preview(self, pipeline: Any, latents: Tensor, width: int, height: int) -> Image.Image:
        """Return about what a pipeline's latents are, of a picture of that size; raises what does not fit together."""
        rows, columns = height // self.patch, width // self.patch
        spread = unpacked(pipeline, latents, self.channels, rows, columns)
        patch = self.patch
        while patch % 2 == 0 and max(rows, columns) * patch > EDGE:
            patch //= 2
        weights = self.weights.unflatten(1, (3, self.patch, self.patch))
        weights = functional.avg_pool2d(weights, self.patch // patch).flatten(1)
        planes = (_around(spread, self.side) @ weights).T.reshape(1, -1, rows, columns)
        pixels = functional.pixel_shuffle(planes, patch)[0].clamp(-1, 1)
        values = ((pixels + 1) * 127.5).round().byte().permute(1, 2, 0).contiguous()
        return Image.frombytes("RGB", (columns * patch, rows * patch), values.numpy().tobytes())


def fitted(pipeline: Any) -> PreviewMap:
    """Return the map of a pipeline's codec, on the CPU."""
    inputs, targets, channels, patch = [], [], 0, 0
    noise = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        for picture in _pictures():
            own = of_codec(pipeline, picture)
            grain = torch.randn(own.shape, generator=noise).to(own)
            for latents in (own, own + NOISY * own.std() * grain):
                scaled = valued(pipeline, latents)
                scaled = (scaled[:, :, 0] if scaled.dim() == 5 else scaled).float().cpu()
                channels, patch = scaled.shape[1], SIZE // scaled.shape[-1]
                pixels = decoded(pipeline, latents).clamp(-1, 1).cpu()
                inputs.append(_around(scaled, _side(channels)))
                targets.append(functional.pixel_unshuffle(pixels, patch)[0].flatten(1).T)
        known, wanted = torch.cat(inputs).double(), torch.cat(targets).double()
        # Ridge regression: there may be fewer places than numbers that decide one
        gram = known.T @ known
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weights = torch.linalg.solve(gram, known.T @ wanted)
        missed = (known @ weights - wanted).square().mean()
        fit = 1 - float(missed / wanted.var(0).mean().clamp(min=1e-12))
    return PreviewMap(weights.float(), _side(channels), channels, patch, fit)


def _side(channels: int) -> int:
    return 3 if channels <= MOST_CHANNELS else 1


def _around(latents: Tensor, side: int) -> Tensor:
    """Return [places, channels × side² + 1]: of each place the latents around it, and 1."""
    padded = functional.pad(latents, (side // 2,) * 4, mode="replicate") if side > 1 else latents
    columns = functional.unfold(padded, side)[0].T
    return torch.cat([columns, torch.ones(len(columns), 1)], 1)


def _pictures() -> list[Image.Image]:
    """Return pictures of what pictures have: slopes, edges, discs on a ground."""
    random, found = torch.Generator().manual_seed(0), []
    ticks = torch.linspace(-1, 1, SIZE)
    for number in range(PICTURES):
        cells = 2 + number % 7
        grid = torch.rand(1, 3, cells, cells, generator=random)
        picture = functional.interpolate(grid, (SIZE, SIZE), mode="bilinear" if number % 2 else "nearest")[0]
        if number % 3 == 0:
            middle = torch.rand(2, generator=random) - 0.5
            radius = 0.3 + 0.4 * torch.rand(1, generator=random)
            disc = (ticks[:, None] - middle[0]) ** 2 + (ticks[None] - middle[1]) ** 2 < radius**2
            picture = torch.where(disc, torch.rand(3, 1, 1, generator=random), picture)
        values = (picture * 255).round().byte().permute(1, 2, 0).contiguous()
        found.append(Image.frombytes("RGB", (SIZE, SIZE), values.numpy().tobytes()))
    return found
