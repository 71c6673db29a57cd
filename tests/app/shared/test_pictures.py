"""A picture is kept once, under the hash of its pixels, and found as it was."""

import io
from typing import Any

import pytest
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError

from app.shared.errors import NotFound, Unreadable
from app.shared.pictures import PictureRef, Pictures, picture_key, picture_ref
from app.shared.storage import Storage
from app.shared.wire.picture import PictureIn, pictures_of, with_pictures
from app.shared.wire.values import Wire

NOBODYS = "image:" + "0" * 64


@pytest.fixture
def pictures(storage: Storage) -> Pictures:
    return Pictures(storage)


def drawing(mode: str = "RGB", size: tuple[int, int] = (5, 3)) -> Image.Image:
    colours = [
        (x * 40 % 256, y * 70 % 256, (x + y) % 256, x * 50 % 256) for y in range(size[1]) for x in range(size[0])
    ]
    image = Image.new("RGBA", size)
    image.putdata(colours)
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_is_kept_is_found_as_it_was(pictures: Pictures, storage: Storage, mode: str) -> None:
    image = drawing(mode)
    image.info |= {"icc_profile": b"profile", "comment": "text"}
    stored = pictures.put(image)
    assert (stored.width, stored.height, stored.alpha) == (5, 3, mode == "RGBA")
    again = Pictures(storage)
    assert again.info(stored.ref) == stored
    loaded = again.load(stored.ref)
    assert (loaded.mode, loaded.tobytes()) == (mode, image.tobytes())
    assert "icc_profile" not in loaded.info
    assert again.put(loaded) == stored
    assert list(storage.keys("pictures")) == [picture_key(stored.ref)]


def test_size_mode_and_pixels_are_in_the_hash() -> None:
    images = [drawing(), drawing("RGBA"), drawing(size=(3, 5)), Image.new("RGB", (5, 3))]
    assert len({picture_ref(one) for one in images}) == len(images)
    assert picture_ref(Image.new("RGB", (6, 2))) != picture_ref(Image.new("RGB", (2, 6)))


def test_alpha_that_is_opaque_everywhere_is_none(pictures: Pictures) -> None:
    assert pictures.put(drawing().convert("RGBA")) == pictures.put(drawing())


def test_a_picture_that_is_not_there_is_unknown(pictures: Pictures) -> None:
    for ask in (pictures.info, pictures.load):
        with pytest.raises(NotFound) as error:
            ask(NOBODYS)
        assert error.value.code == "image_unknown"


@pytest.mark.parametrize("spoilt", ["empty", "cut", "head", "another"])
def test_a_spoilt_picture_is_told_and_mended_by_sending_it_again(
    pictures: Pictures, storage: Storage, spoilt: str
) -> None:
    stored = pictures.put(drawing())
    whole = storage.get(picture_key(stored.ref)) or b""
    other = storage.get(picture_key(pictures.put(drawing(size=(7, 7))).ref)) or b""
    storage.put(
        picture_key(stored.ref),
        {"empty": b"", "cut": whole[: len(whole) * 2 // 3], "head": whole[:20], "another": other}[spoilt],
    )
    with pytest.raises(Unreadable, match="send the same picture again"):
        Pictures(storage).load(stored.ref)
    Pictures(storage).put(drawing())
    assert Pictures(storage).load(stored.ref).tobytes() == drawing().tobytes()


class Inner(Wire):
    image: PictureIn | None = None
    images: list[PictureIn] = Field(default_factory=list)


class Outer(Wire):
    text: str = ""
    start: PictureIn | None = None
    entries: list[Inner] = Field(default_factory=list)
    one: Inner | None = None


def test_every_picture_of_a_request_is_found_and_replaced_by_its_type() -> None:
    data = "data:image/png;base64,AAAA"
    asked = Outer(text=data, start=data, entries=[Inner(), Inner(image=data, images=[NOBODYS, data])], one=Inner())
    assert sorted(pictures_of(asked), key=str) == [
        (("entries", 1, "image"), data),
        (("entries", 1, "images", 0), NOBODYS),
        (("entries", 1, "images", 1), data),
        (("start",), data),
    ]
    replaced = with_pictures(asked, {data: NOBODYS})
    assert replaced == Outer(
        text=data, start=NOBODYS, entries=[Inner(), Inner(image=NOBODYS, images=[NOBODYS] * 2)], one=Inner()
    )
    assert with_pictures(replaced, {data: NOBODYS}) is replaced
    assert list(pictures_of(Outer())) == []


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (PictureRef, NOBODYS, True),
        (PictureRef, NOBODYS + "\n", False),
        (PictureRef, NOBODYS[:-1], False),
        (PictureRef, "data:image/png;base64,AAAA", False),
        (PictureIn, "data:image/png;base64,AAAA", True),
        (PictureIn, "data:text/html;base64,AAAA", False),
        (PictureIn, "data:image/png;base64,", False),
        (PictureIn, "data:image/svg+xml,<svg/>", False),
        (PictureIn, "https://example.org/a.png", False),
        (PictureIn, "file:///etc/passwd", False),
    ],
)
def test_a_picture_is_named_by_a_ref_or_a_data_url(kind: Any, value: str, fits: bool) -> None:
    try:
        assert TypeAdapter(kind).validate_python(value) == value and fits
    except ValidationError:
        assert not fits


def test_how_light_a_picture_is_at_most_is_known_without_its_pixels(storage: Storage) -> None:
    for colour, lightest in (((0, 0, 0), 0), ((255, 255, 255), 255), ((7, 7, 7), 7), ((128, 128, 128), 128)):
        stored = Pictures(storage).put(Image.new("RGB", (9, 5), colour))
        assert Pictures(storage).info(stored.ref).lightest == lightest
        assert Pictures(storage).load(stored.ref).size == (9, 5)
    unnoted = io.BytesIO()
    Image.new("RGB", (9, 5)).save(unnoted, "PNG")
    storage.put(picture_key(stored.ref), unnoted.getvalue())
    assert Pictures(storage).info(stored.ref).lightest is None
    assert Pictures(storage).info(stored.ref).colours is None


def test_whether_a_picture_has_colours_is_known_without_its_pixels(storage: Storage) -> None:
    """A few steps apart they are grey yet: a grey JPEG that was saved in colour is no more exact."""
    for colour, colours in (((9, 9, 9), False), ((9, 9, 21), False), ((9, 9, 60), True), ((60, 9, 9), True)):
        for mode, alpha in (("RGB", ()), ("RGBA", (100,))):
            stored = Pictures(storage).put(Image.new(mode, (9, 5), (*colour, *alpha)))
            assert Pictures(storage).info(stored.ref).colours is colours
