"""A change that is kept to a region: exact inside, nothing outside, on every grid that a network has."""

from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from lycoris import Adapter, Bypass, Patcher, Recompute, Region, StackEntry, StackRefused, load, positions
from tests.families import stable_diffusion
from tests.families.weights import fill
from tests.lycoris import zoo

SIZES = ((8, 8), (9, 13), (46, 87), (7, 11))  # of latents: 64×64, 72×104, 368×696, and as many positions as words
WORDS = 77


class Live:
    """A tiny UNet, and an adapter of LoRAs on all of its linear and convolutional layers but the words'."""

    def __init__(self) -> None:
        self.unet = stable_diffusion.unet()
        fill(type("Parts", (), {"components": {"unet": self.unet}})())
        self.unet.requires_grad_(False)

    def adapter(self, seed: int = 0, placeless: bool = False) -> Adapter:
        tensors: dict[str, Tensor] = {}
        random = zoo.random(seed)
        for path, module in self.unet.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and (placeless or positions("unet", path) == "picture"):
                out, into, *kernel = module.weight.shape
                tensors[f"unet.{path}.lora_A.weight"] = 0.1 * random(2, into, *kernel)
                tensors[f"unet.{path}.lora_B.weight"] = 0.1 * random(out, 2, *(1 for _ in kernel))
        return load(save(tensors))

    def drawn(self, size: tuple[int, int], *stack: StackEntry) -> Tensor:
        bypass = Bypass({"unet": self.unet})
        bypass.swap(stack)
        generator = torch.Generator().manual_seed(3)
        try:
            with torch.inference_mode():
                latents, text = torch.randn(2, 4, *size, generator=generator), torch.randn(2, WORDS, 32)
                return self.unet(latents, 10, text, return_dict=False)[0]
        finally:
            bypass.restore()


@pytest.fixture(scope="module")
def live() -> Live:
    torch.manual_seed(0)
    return Live()


def half(size: tuple[int, int], left: bool) -> Tensor:
    mask = torch.zeros(size)
    mask[:, : size[1] // 2] = 1
    return mask if left else 1 - mask


@pytest.mark.parametrize("size", SIZES)
def test_a_mask_of_ones_is_no_mask_and_one_of_zeros_is_no_adapter(live: Live, size: tuple[int, int]) -> None:
    adapter = live.adapter()
    torch.manual_seed(1)
    plain = live.drawn(size)
    torch.manual_seed(1)
    whole = live.drawn(size, StackEntry(adapter, 0.8))
    for value, expected in ((1.0, whole), (0.0, plain)):
        torch.manual_seed(1)
        drawn = live.drawn(size, StackEntry(adapter, 0.8, region=Region("m", torch.full(size, value))))
        assert torch.equal(drawn, expected), value
    assert not torch.equal(plain, whole)
    torch.manual_seed(1)
    assert not torch.equal(live.drawn(size, StackEntry(adapter, region=Region("m", half(size, True)))), whole)


@pytest.mark.parametrize("size", SIZES)
def test_the_two_halves_sum_to_the_whole_in_a_linear_layer(size: tuple[int, int]) -> None:
    layer = nn.Linear(4, 6).requires_grad_(False)
    model = nn.Module()
    model.proj_in = layer
    adapter = load(
        save({"unet.proj_in.lora_A.weight": torch.randn(2, 4), "unet.proj_in.lora_B.weight": torch.randn(6, 2)})
    )
    x = torch.randn(2, size[0] * size[1], 4)
    bypass = Bypass({"unet": model})

    def out(region: Region | None) -> Tensor:
        bypass.swap([StackEntry(adapter, 0.7, region=region)])
        return layer(x)

    parts = [out(Region(str(left), half(size, left))) for left in (True, False)]
    whole = out(None)
    bypass.restore()
    inside = half(size, True).reshape(1, -1, 1).bool()
    assert torch.equal(torch.where(inside, parts[0], parts[1]), whole)
    assert torch.equal(torch.where(inside, parts[1], parts[0]), layer(x))
    assert torch.allclose(parts[0] + parts[1] - layer(x), whole, atol=1e-6)


def test_two_adapters_in_two_regions_leave_each_other_alone() -> None:
    size = (4, 6)
    layer = nn.Conv2d(3, 5, 1).requires_grad_(False)
    model = nn.Module()
    model.conv_in = layer

    def lora() -> Adapter:
        down, up = torch.randn(2, 3, 1, 1), torch.randn(5, 2, 1, 1)
        return load(save({"unet.conv_in.lora_A.weight": down, "unet.conv_in.lora_B.weight": up}))

    one, other = lora(), lora()
    x, bypass = torch.randn(1, 3, *size), Bypass({"unet": model})

    def out(*stack: StackEntry) -> Tensor:
        bypass.swap(stack)
        return layer(x)

    left, right = Region("left", half(size, True)), Region("right", half(size, False))
    both = out(StackEntry(one, region=left), StackEntry(other, region=right))
    alone = [out(StackEntry(one)), out(StackEntry(other))]
    bypass.restore()
    assert torch.equal(both[..., :3], alone[0][..., :3]) and torch.equal(both[..., 3:], alone[1][..., 3:])


def test_layers_without_positions_are_refused_or_changed_everywhere(live: Live) -> None:
    adapter, ones = live.adapter(placeless=True), torch.ones(8, 8)
    with pytest.raises(StackRefused, match="has no positions"):
        live.drawn((8, 8), StackEntry(adapter, region=Region("m", ones)))
    torch.manual_seed(1)
    whole = live.drawn((8, 8), StackEntry(adapter))
    torch.manual_seed(1)
    assert torch.equal(live.drawn((8, 8), StackEntry(adapter, region=Region("m", ones, everywhere=True))), whole)


def test_only_a_bypass_keeps_to_a_region(live: Live) -> None:
    stack = [StackEntry(live.adapter(), region=Region("m", torch.ones(8, 8)))]
    for way in (Patcher({"unet": live.unet}), Recompute({"unet": live.unet})):
        with pytest.raises(StackRefused, match="needs a bypass"):
            way.swap(stack)


def test_a_mask_of_another_size_is_refused_where_it_does_not_lie_on_a_layer(live: Live) -> None:
    with pytest.raises(StackRefused, match="positions, and a mask of this size has"):
        live.drawn((8, 8), StackEntry(live.adapter(), region=Region("m", torch.ones(16, 12))))


def test_another_mask_is_another_stack(live: Live) -> None:
    adapter, size = live.adapter(), (8, 8)
    bypass = Bypass({"unet": live.unet})
    found = []
    for left in (True, False):
        bypass.swap([StackEntry(adapter, region=Region(str(left), half(size, left)))])
        with torch.inference_mode():
            found.append(live.unet(torch.ones(1, 4, *size), 10, torch.ones(1, WORDS, 32), return_dict=False)[0])
    bypass.restore()
    assert not torch.equal(*found)


def test_every_layer_of_a_unet_that_is_called_with_the_text_or_the_time_has_no_positions(live: Live) -> None:
    """By what each layer puts out, on latents of a size that no other count equals."""
    seen: dict[str, bool] = {}

    def saw(path: str, y: Any) -> None:
        seen[path] = y.ndim == 4 or (y.ndim == 3 and y.shape[1] != WORDS)

    hooks = [
        module.register_forward_hook(lambda _m, _a, y, path=path: saw(path, y))
        for path, module in live.unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    live.drawn((10, 12))
    for hook in hooks:
        hook.remove()
    assert seen == {path: positions("unet", path) == "picture" for path in seen} and len(seen) > 50
