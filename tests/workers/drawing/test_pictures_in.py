"""Where a masked part lies, how a change fades in, and that nothing is changed outside: no model is needed for it."""

import itertools

import numpy as np
import pytest
from PIL import Image

from app.shared.errors import BadRequest
from tests.app.shared.making import profile, request
from tests.workers.drawing.pictures import gradient, spot
from workers.drawing.pictures_in import Canvas, around, faded, without

SIZE = (200, 136)
CORNERS = list(itertools.product((0.0, 1.0), (0.0, 1.0)))


def boxed(left: int, top: int, right: int, bottom: int) -> Image.Image:
    """A mask of this size that is white in a box."""
    mask = Image.new("L", SIZE)
    mask.paste(255, (left, top, right, bottom))
    return mask


@pytest.mark.parametrize(
    ("white", "padding", "box", "drawn"),
    [
        ((0, 0, 8, 8), 8, (0, 0, 16, 16), (64, 64)),  # at a corner: less padding, the same shape
        ((192, 128, 200, 136), 8, (184, 120, 200, 136), (64, 64)),
        ((100, 60, 101, 61), 0, (100, 60, 101, 61), (64, 64)),  # one pixel
        ((90, 60, 110, 64), 10, (80, 42, 120, 82), (64, 64)),  # grown, not stretched
        ((0, 60, 20, 64), 20, (0, 40, 44, 84), (64, 64)),  # and moved inside
        ((0, 0, 200, 136), 0, (0, 0, 200, 136), (80, 56)),  # all of it: its own shape
        ((90, 60, 110, 64), 4096, (0, 0, 200, 136), (80, 56)),
        ((0, 0, 200, 10), 0, (0, 0, 200, 136), (80, 56)),  # no room for a square
    ],
)
def test_the_box_around_a_mask_is_as_computed_by_hand(
    white: tuple[int, ...], padding: int, box: tuple[int, ...], drawn: tuple[int, int]
) -> None:
    assert around(boxed(*white), padding, profile()) == (box, drawn)


def test_a_long_box_is_drawn_as_large_as_the_models_edges_allow_or_at_the_likest_of_its_sizes() -> None:
    mask = Image.new("L", (200, 16), 255)
    assert around(mask, 0, profile(max_edge=128))[1] == (128, 8)
    assert around(mask, 0, profile(max_edge=128, sizes=[(64, 64), (128, 32)]))[1] == (128, 32)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(BadRequest, match="black everywhere"):
        around(boxed(0, 0, 0, 0), 8, profile())


@pytest.mark.parametrize("blur", [0, 2, 8])
@pytest.mark.parametrize(("at", "area"), [*itertools.product([*CORNERS, (0.5, 0.5)], ["whole", "masked"])])
def test_what_is_drawn_is_put_back_in_its_place_and_nothing_outside_is_changed(
    at: tuple[float, float], area: str, blur: int
) -> None:
    """With a model that draws what it begins from, but inverted."""
    picture, mask = gradient(*SIZE), spot(*SIZE, at, 0.6)
    asked = request(width=SIZE[0], height=SIZE[1], inpaint_area=area, inpaint_padding=4, mask_blur=blur)
    canvas = Canvas.of(asked, profile(), picture, mask)
    drawn = Image.fromarray(255 - np.asarray(canvas.part(picture)))
    before, after = (np.asarray(one).astype(int) for one in (picture, canvas.answer(drawn)))
    inside = np.asarray(mask)[..., 0] > 0
    assert (after[~inside] == before[~inside]).all()
    rows, columns = (places.mean().round().astype(int) for places in np.nonzero(inside))
    assert abs(after[rows, columns] - (255 - before[rows, columns])).max() <= 1, "the centre is not all drawn anew"
    if not blur and area == "whole":
        assert (after[inside] == 255 - before[inside]).all()


def test_a_change_fades_in_inwards_alone() -> None:
    mask = boxed(40, 40, 140, 100)
    for blur in (1, 4, 12):
        alpha = np.asarray(faded(mask, blur)).astype(int)
        row = alpha[70, 40 : 40 + blur + 1]
        assert alpha[70, 39] == 0 and row[0] > 0 and (np.diff(row) > 0).all() and row[-1] == 255
    assert faded(mask, 0).tobytes() == mask.tobytes()
    everywhere = boxed(0, 0, *SIZE)
    assert faded(everywhere, 8).tobytes() == everywhere.tobytes()  # the picture's edge is none of the mask's


def test_nothing_of_what_is_drawn_anew_is_left_to_see() -> None:
    mask = spot(*SIZE, (0.3, 0.7), 0.4).convert("L")
    one, other = gradient(*SIZE, seed=1), gradient(*SIZE, seed=2)
    mixed = Image.composite(other, one, mask)
    assert without(one, mask).tobytes() == without(mixed, mask).tobytes() != one.tobytes()
    assert without(one, boxed(0, 0, 0, 0)) is one
    assert without(one, boxed(0, 0, *SIZE)).tobytes() == without(other, boxed(0, 0, *SIZE)).tobytes()


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_the_answer_has_the_size_that_was_asked_for(fit: str) -> None:
    for size in ((72, 64), (70, 58), (64, 96)):
        asked = request(width=size[0], height=size[1], fit=fit)
        canvas = Canvas.of(asked, profile(), gradient(70, 58))
        assert all(edge % 8 == 0 for edge in canvas.drawn)
        assert canvas.answer(Image.new("RGB", canvas.drawn)).size == size


def test_pictures_and_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadRequest, match="70×58 and the drawing 64×64"):
        Canvas.of(request(), profile(), gradient(70, 58))
    with pytest.raises(BadRequest, match="mask is 65×64, and the picture 64×64"):
        Canvas.of(request(), profile(), gradient(64, 64), spot(65, 64))


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_mask_of_another_size_lies_where_the_picture_does(fit: str) -> None:
    """Twice as large, of doubled pixels, it is the same mask but for a grey edge."""
    picture, mask = gradient(70, 58), spot(70, 58, (0.3, 0.6), 0.4).convert("L")
    double = mask.resize((140, 116), Image.Resampling.NEAREST)
    asked = request(width=96, height=48, fit=fit)
    placed = [np.asarray(Canvas.of(asked, profile(), picture, one).mask).astype(int) for one in (mask, double)]
    assert placed[0].shape == (48, 96) and len(np.unique(placed[0] > 127)) == 2
    agree = (placed[0] > 127) == (placed[1] > 127)
    assert agree.mean() > 0.98 and np.isin(placed[0][~agree], range(64, 192)).all()


@pytest.mark.parametrize(("area", "off"), [("whole", 0), ("masked", 2)])
@pytest.mark.parametrize("blur", [0, 8])
def test_where_the_model_changes_nothing_no_seam_is_seen(area: str, off: int, blur: int) -> None:
    """A part that is drawn larger and scaled back is the same but for what that rounds."""
    picture, mask = gradient(*SIZE), spot(*SIZE, (0.3, 0.6), 0.4)
    asked = request(width=SIZE[0], height=SIZE[1], inpaint_area=area, inpaint_padding=8, mask_blur=blur)
    canvas = Canvas.of(asked, profile(), picture, mask)
    before, after = (np.asarray(one).astype(int) for one in (picture, canvas.answer(canvas.part(picture))))
    assert abs(after - before).max() <= off
