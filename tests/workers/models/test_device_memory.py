"""What a picture takes at the least is found without drawing it, and what a device cannot hold is known beforehand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.workers import toy
from tests.workers.training import toys
from workers.models import device_memory
from workers.models.device_memory import all_bytes, decoding_bytes, free_bytes, most_pixels

LATENT, INNER, COLOURS = 4, 16, 3


class VAE(nn.Module):
    """Latents to pixels, four of these in the place of one of those; nothing in it is computed here."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        inner, outer = nn.Conv2d(LATENT, INNER, 3, padding=1), nn.Conv2d(INNER, COLOURS, 3, padding=1)
        self.decoder = nn.Sequential(inner, nn.Upsample(scale_factor=2), outer).to(dtype)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(latents)


class _Guided(nn.Conv2d):
    """Takes more than latents, as Kandinsky's decoder."""

    def __init__(self) -> None:
        super().__init__(LATENT, COLOURS, 1)

    def forward(self, input: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(input) + guide


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_decoding_the_largest_operation_counts(dtype: torch.dtype) -> None:
    """By hand: upsampling reads a quarter of the inner values of a pixel, and writes all of them."""
    found = decoding_bytes(SimpleNamespace(vae=VAE(dtype)))
    assert found == pytest.approx(dtype.itemsize * INNER * (1 + 1 / 4), rel=0.001)


def test_no_picture_takes_less_while_it_is_decoded() -> None:
    pipeline = toys.pipeline()
    weights = {id(one): one.nbytes for one in pipeline.vae.decoder.parameters()}
    held: list[int] = []

    def note(_layer: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        held.append(made.nbytes + sum(one.nbytes for one in given))

    hooks = [layer.register_forward_hook(note) for layer in pipeline.vae.decoder.modules()]
    with torch.inference_mode():
        pixels = pipeline.vae.decoder(torch.zeros(1, 24, 8, 8))
    for hook in hooks:
        hook.remove()
    found = decoding_bytes(pipeline)
    assert found is not None and 0.5 * max(held) < found * pixels.numel() / COLOURS <= 2 * max(held)
    assert {id(one): one.nbytes for one in pipeline.vae.decoder.parameters()} == weights, (
        "the decoder is left as it was"
    )
    assert all(one.device.type == "cpu" for one in pipeline.vae.decoder.parameters())


def test_what_has_no_such_decoder_is_not_estimated() -> None:
    class More(VAE):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = nn.Bilinear(LATENT, LATENT, COLOURS)  # pyright: ignore[reportAttributeAccessIssue]

    class Guided(VAE):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = _Guided()  # pyright: ignore[reportAttributeAccessIssue]

    others = (SimpleNamespace(vae=More()), SimpleNamespace(vae=Guided()), SimpleNamespace(a=VAE(), b=VAE()))
    for pipeline in (toy.Pipeline(), *others):
        assert decoding_bytes(pipeline) is None
        assert most_pixels(pipeline, "cpu") is None


def test_what_fits_beside_the_weights_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline: Any = SimpleNamespace(vae=VAE(), unet=nn.Linear(100, 100, bias=False))
    pipeline.again = pipeline.unet  # two names, one weight
    weights = pipeline.unet.weight.nbytes + sum(one.nbytes for one in pipeline.vae.parameters())
    each = decoding_bytes(pipeline)
    assert each is not None
    for room, most in ((each * 1000.5, 1000), (-1, 0)):
        monkeypatch.setattr(device_memory, "all_bytes", lambda _, room=room: weights + room)
        assert most_pixels(pipeline, "cuda") == most
    monkeypatch.setattr(device_memory, "all_bytes", lambda _: None)
    assert most_pixels(pipeline, "cuda") is None


def test_the_systems_account_of_memory_is_read_where_there_is_one() -> None:
    free, every = free_bytes("cpu"), all_bytes("cpu")
    assert (free is None and every is None) or (free and every and free < every < 1 << 50)
