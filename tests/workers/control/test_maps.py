"""Maps: each is as its library makes it, and what cannot be made is refused."""

import cv2
import numpy as np
import pytest
from PIL import Image

from app.shared.errors import BadRequest
from app.shared.pictures import Pictures
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.map import MapWanted
from workers.control.maps import Maps


@pytest.fixture
def pictures(storage: Storage) -> Pictures:
    return Pictures(storage)


def photo(size: tuple[int, int] = (48, 40)) -> Image.Image:
    rows = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    return Image.fromarray(rows).resize(size, Image.Resampling.BICUBIC)


def test_edges_are_opencvs_at_the_drawings_size(pictures: Pictures, settings: Settings) -> None:
    ref = pictures.put(photo()).ref
    for thresholds in ((100, 200), (10, 40)):
        wanted = MapWanted(image=ref, preprocess="canny", width=96, height=80, fit="stretch", thresholds=thresholds)
        made = Maps(pictures, settings).made(wanted)
        grey = np.asarray(photo().resize((96, 80), Image.Resampling.LANCZOS).convert("L"))
        assert made.mode == "RGB" and made.size == (96, 80)
        assert (np.asarray(made)[..., 0] == cv2.Canny(grey, *thresholds)).all()


def test_a_picture_of_another_size_is_refused_without_a_fit(pictures: Pictures, settings: Settings) -> None:
    wanted = MapWanted(
        image=pictures.put(photo()).ref, preprocess="canny", width=96, height=80, fit="refuse", thresholds=None
    )
    with pytest.raises(BadRequest, match="48×40"):
        Maps(pictures, settings).made(wanted)
