"""A picture, a mask and a control map of one size are brought to a drawing's size alike, to the pixel."""

import numpy as np
import pytest
from PIL import Image

from app.shared.wire.generation import Fit
from workers.drawing.placement import Placement

SOURCE = (70, 58)
SIZES = [(72, 64), (64, 56), (64, 64), (32, 96), (70, 58), (8, 8)]


def checkerboard(size: tuple[int, int]) -> Image.Image:
    """Black and white pixels in turn, and a red corner."""
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.repeat(((columns + rows) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    pixels[0, 0] = (255, 0, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_a_picture_and_its_mask_lie_at_the_same_place(size: tuple[int, int], fit: Fit) -> None:
    rng = np.random.default_rng(3)
    grey = Image.fromarray(rng.integers(0, 256, (SOURCE[1], SOURCE[0]), dtype=np.uint8))
    placement = Placement.of(SOURCE, size, fit)
    placed = placement.place(Image.merge("RGB", (grey,) * 3), around=0)
    assert placed.size == size
    assert np.array_equal(np.asarray(placed)[..., 0], np.asarray(placement.place(grey, around=0)))


def test_a_picture_of_the_right_size_is_left_as_it_is_and_another_is_refused() -> None:
    picture = checkerboard(SOURCE)
    for fit in ("refuse", "stretch", "crop", "pad"):
        assert Placement.of(SOURCE, SOURCE, fit).place(picture).tobytes() == picture.tobytes()
    with pytest.raises(ValueError, match="70×58 and the drawing 72×64"):
        Placement.of(SOURCE, (72, 64), "refuse")


def test_nothing_is_scaled_by_two_factors_but_by_stretching() -> None:
    for size in SIZES:
        left, top, right, bottom = Placement.of(SOURCE, size, "crop").seen
        assert (right - left) / (bottom - top) == pytest.approx(size[0] / size[1])
        assert 0 <= left < right <= SOURCE[0] and 0 <= top < bottom <= SOURCE[1]
        left, top, right, bottom = Placement.of(SOURCE, size, "pad").at
        assert abs((right - left) * SOURCE[1] / SOURCE[0] - (bottom - top)) <= 1  # in whole pixels


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_at_a_larger_size_it_lies_as_if_the_first_were_stretched(size: tuple[int, int], fit: Fit) -> None:
    first = Placement.of(SOURCE, size, fit)
    larger = first.enlarged((2 * size[0], 3 * size[1]))
    assert larger.size == (2 * size[0], 3 * size[1]) and larger.seen == first.seen
    assert larger.at == tuple(edge * factor for edge, factor in zip(first.at, (2, 3, 2, 3), strict=True))
    assert first.enlarged(size) == first


def test_padding_leaves_the_picture_as_it_is_where_it_fits() -> None:
    picture = checkerboard((16, 8))
    placed = np.asarray(Placement.of((16, 8), (16, 12), "pad").place(picture))
    assert np.array_equal(placed[2:10], np.asarray(picture))
    assert np.array_equal(placed[:2], np.repeat(placed[2:3], 2, axis=0))  # its edge
    assert np.array_equal(placed[10:], np.repeat(placed[9:10], 2, axis=0))
