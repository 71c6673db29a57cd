"""Every picture becomes 8-bit sRGB, upright, and what is no picture is refused in a sentence (hazards 9, 11 to 13)."""

import io
import struct
import tracemalloc
import warnings
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms

from app.shared.errors import PictureRefused
from app.shared.wire.picture import MOST_EDGE
from workers.decoding import BROKEN, FIRST, FORMATS, MOST_PROFILE, decode

SIZE = (4, 2)
ORIENTATION = 0x0112
Colour = tuple[int, ...]


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, colours: int, rows: bytes, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", head, *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(PictureRefused) as caught:
        decode(data)
    assert caught.value.message.count("\n") == 0 and len(caught.value.message) < 300
    return caught.value.code, caught.value.message


def pixels(data: bytes) -> list[Colour]:
    image = decode(data).image
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]  # type: ignore[misc]


# Hazard 9: orientation


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (4, 2), (0, 0)),
        (2, (4, 2), (3, 0)),
        (3, (4, 2), (3, 1)),
        (4, (4, 2), (0, 1)),
        (5, (2, 4), (0, 0)),
        (6, (2, 4), (1, 0)),
        (7, (2, 4), (1, 3)),
        (8, (2, 4), (0, 3)),
        (9, (4, 2), (0, 0)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_turned_upright(kind: str, orientation: int, size: Colour, corner: tuple[int, int]) -> None:
    image = Image.new("L", SIZE)
    image.putpixel((0, 0), 255)
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    turned, notes = decode(saved(image.convert("RGB"), kind, exif=tags, quality=100))
    bright = max((turned.convert("L").getpixel((x, y)), (x, y)) for x in range(size[0]) for y in range(size[1]))
    assert (turned.size, bright[1], notes) == (size, corner, [])
    assert not turned.info


def test_tags_that_cannot_be_read_say_nothing() -> None:
    upright = decode(saved(Image.new("RGB", SIZE), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\x01" * 40))
    assert upright.image.size == SIZE


# Hazard 11: colour profiles


def profile(gamma: float = 2.2, wide: bool = True) -> bytes:
    """A profile of wide colours, made of sRGB's by exchanging what its red looks like."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = data.index(b"rXYZ")
    offset = int.from_bytes(data[at + 4 : at + 8])
    red = [0.5151, 0.2412, -0.0011]  # of Display P3
    data[offset + 8 : offset + 20] = b"".join(struct.pack(">i", round(one * 65536)) for one in red)
    return bytes(data)


def test_colours_of_a_wide_profile_are_turned_into_srgb() -> None:
    image = Image.new("RGB", SIZE, (200, 30, 60))
    image.putpixel((1, 1), (20, 220, 90))
    tagged = decode(saved(image, icc_profile=profile()))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile()))
    right = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), intent)
    assert right is not None
    assert tagged == (tagged.image, []) and tagged.image.tobytes() == right.tobytes() != image.tobytes()
    assert decode(saved(image)).image.tobytes() == image.tobytes()
    assert not tagged.image.info


def test_alpha_stays_as_it_is_where_colours_are_turned() -> None:
    image = Image.new("RGBA", SIZE, (200, 30, 60, 77))
    plain = decode(saved(image.convert("RGB"), icc_profile=profile())).image
    turned = decode(saved(image, icc_profile=profile())).image
    assert turned.mode == "RGBA" and turned.convert("RGB").tobytes() == plain.tobytes()
    assert turned.getchannel("A").getextrema() == (77, 77)


def test_a_profile_of_colours_on_grey_pixels_is_obeyed() -> None:
    grey = Image.new("L", SIZE, 128)
    assert decode(saved(grey, "JPEG", icc_profile=profile())).notes == []


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("broken", [b"junk", profile()[:200], profile().replace(b"RGB ", b"CMYK"), b"\0" * 128])
def test_a_broken_profile_is_taken_as_srgb_and_said_so(mode: str, broken: bytes) -> None:
    image = Image.new(mode, SIZE, "gray")
    found, notes = decode(saved(image, icc_profile=broken))
    assert notes == [BROKEN]
    assert found.tobytes() == image.convert(found.mode).tobytes()


def test_a_profile_that_is_too_large_is_refused() -> None:
    assert refusal(saved(Image.new("RGB", SIZE), "WEBP", icc_profile=b"\0" * (MOST_PROFILE + 1)))[0] == (
        "image_profile_too_large"
    )


# Hazard 12: modes


def drawing() -> Image.Image:
    """Black, white and two greys, which every mode can hold."""
    image = Image.new("L", SIZE)
    for at, value in enumerate((0, 255, 0, 255, 255, 255, 0, 0)):
        image.putpixel((at % 4, at // 4), value)
    return image


def palette(reverse: bool = False) -> Image.Image:
    image = Image.new("P", SIZE)
    image.putpalette([255, 255, 255, 0, 0, 0] if reverse else [0, 0, 0, 255, 255, 255])
    for at, value in enumerate(drawing().tobytes()):
        image.putpixel((at % 4, at // 4), (value == 0) if reverse else (value > 0))
    return image


def sixteen() -> bytes:
    rows = b"".join(
        b"\0" + bytes(b for one in drawing().tobytes()[y * 4 : y * 4 + 4] for b in (one, one)) for y in (0, 1)
    )
    return png(*SIZE, 16, 0, rows)


@pytest.mark.parametrize(
    "data",
    [
        *(saved(drawing().convert(mode)) for mode in ("1", "L", "LA", "RGB", "RGBA")),
        saved(palette()),
        saved(palette(reverse=True)),
        sixteen(),
        saved(drawing(), "JPEG", quality=100, subsampling=0),
        saved(drawing().convert("RGB"), "WEBP", lossless=True),
        saved(drawing().convert("RGBA"), "WEBP", lossless=True),
    ],
)
def test_one_drawing_in_any_mode_is_one_picture(data: bytes) -> None:
    found = decode(data)
    assert found.image.convert("RGB").tobytes() == drawing().convert("RGB").tobytes()
    assert (found.image.convert("RGBA").getchannel("A").getextrema(), found.notes) == ((255, 255), [])


def test_ink_becomes_colour() -> None:
    image = Image.new("RGB", (16, 16), (200, 60, 90))
    found = decode(saved(image.convert("CMYK"), "JPEG", quality=100)).image
    assert max(abs(one - other) for one, other in zip(found.tobytes(), image.tobytes(), strict=True)) <= 2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            png(2, 1, 8, 2, b"\0\x01\x02\x03\x04\x05\x06", chunk(b"tRNS", b"\0\1\0\2\0\3")),
            [(1, 2, 3, 0), (4, 5, 6, 255)],
        ),
        (
            png(2, 1, 8, 3, b"\0\0\1", chunk(b"PLTE", b"abcdef"), chunk(b"tRNS", b"\x10")),
            [(97, 98, 99, 16), (100, 101, 102, 255)],
        ),
        (png(2, 1, 16, 4, b"\0\x80\x00\x40\x00\xff\xff\xff\xff"), [(128, 128, 128, 64), (255, 255, 255, 255)]),
        (png(2, 1, 16, 0, b"\0\x80\x7f\x12\x34"), [(128, 128, 128), (18, 18, 18)]),
        (png(2, 1, 16, 2, b"\0\x80\x7f\x12\x34\0\0\0\0\0\0\0\0"), [(128, 18, 0), (0, 0, 0)]),
        (png(2, 1, 4, 0, b"\0\x1f"), [(17, 17, 17), (255, 255, 255)]),
    ],
    ids=["key", "palette", "grey alpha 16", "grey 16", "colour 16", "grey 4"],
)
def test_every_kind_of_png_is_read_by_one_table(data: bytes, expected: list[Colour]) -> None:
    assert pixels(data) == expected


def test_a_transparent_colour_that_would_be_missed_is_refused() -> None:
    for bits, colours, size in ((16, 2, 12), (16, 0, 4), (4, 0, 1)):
        data = png(2, 1, bits, colours, b"\0" * (size + 1), chunk(b"tRNS", b"\0\0" * (3 if colours else 1)))
        assert refusal(data)[0] == "image_mode_unknown"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_more_than_one_frame_is_refused(kind: str) -> None:
    if kind not in FORMATS:
        pytest.skip("Pillow has none of these here")
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert refusal(data) == ("image_animated", "the picture has 3 frames; send one of them")


def test_of_a_cameras_several_pictures_the_first_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green")]
    found, notes = decode(saved(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert notes == [FIRST] and found.getpixel((3, 3)) == (254, 0, 0)


# Hazard 13: bombs and what is no picture


def bomb(width: int, height: int, *chunks: bytes) -> bytes:
    return png(width, height, 8, 2, b"", *chunks)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
WHOLE = saved(Image.effect_noise((64, 64), 50).convert("RGB"))
HOSTILE = {
    "empty": (b"", "image_empty", "empty"),
    "junk": (b"junk" * 100, "image_format_unknown", "none of these"),
    "svg": (SVG, "image_format_unknown", "SVG"),
    "bare svg": (b"\n  <svg/>", "image_format_unknown", "SVG"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image_format_unknown", "PostScript"),
    "psd": (b"8BPS\0\1" + b"\0" * 100, "image_format_unknown", "Photoshop"),
    "gif": (saved(Image.new("P", SIZE), "GIF"), "image_format_unknown", "GIF"),
    "tiff": (saved(Image.new("RGB", SIZE), "TIFF"), "image_format_unknown", "TIFF"),
    "bmp": (saved(Image.new("RGB", SIZE), "BMP"), "image_format_unknown", "BMP"),
    "heic": (b"\0\0\0\x18ftypheic" + b"\0" * 40, "image_format_unknown", "HEIC"),
    "wide": (bomb(10**6, 1), "image_too_large", "1000000×1"),
    "9000²": (bomb(9000, 9000), "image_too_large", "9000×9000"),
    "12000²": (bomb(12000, 12000), "image_too_large", "12000×12000"),
    "2³¹": (bomb(2**31 - 1, 2**31 - 1), "image_too_large", ""),
    "webp": (
        b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16383).to_bytes(3, "little") * 2 + b"VP8L\0\0\0\0",
        "image_",
        "",
    ),
    "no rows": (bomb(4, 4), "image_not_readable", ""),
    "cut png": (WHOLE[: len(WHOLE) // 2], "image_not_readable", ""),
    "cut head": (WHOLE[:20], "image_", ""),
    "cut jpeg": (saved(Image.effect_noise((64, 64), 50), "JPEG")[:-300], "image_not_readable", ""),
    "cut webp": (saved(Image.effect_noise((64, 64), 50).convert("RGB"), "WEBP")[:-300], "image_", ""),
    "ztxt": (bomb(4, 4, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 2**26))] * 8), "image_not_readable", ""),
    "itxt": (
        bomb(4, 4, chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(b"a" * 2**26))),
        "image_not_readable",
        "",
    ),
    "iccp": (bomb(4, 4, chunk(b"iCCP", b"a\0\0" + zlib.compress(b"a" * 2**26))), "image_not_readable", ""),
    "frames": (bomb(4, 4, chunk(b"acTL", struct.pack(">II", 10**5, 0))), "image_animated", "10000"),
    "bad crc": (WHOLE.replace(b"IDAT", b"IDAX", 1), "image_not_readable", ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_refused_in_a_sentence(name: str) -> None:
    data, code, words = HOSTILE[name]
    tracemalloc.start()
    try:
        found, message = refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    assert found.startswith(code) and words in message, (found, message)


def test_what_hangs_on_a_picture_is_left_behind() -> None:
    text = b"<script>alert(1)</script>"
    data = saved(Image.new("RGB", SIZE, "red"), comment=text) + b"PK\x03\x04" + text
    image = decode(data).image
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert text not in saved(image) and len(saved(image)) < 200


def test_a_picture_as_large_as_is_taken_is_taken() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(saved(Image.new("1", (MOST_EDGE, 64)))).image.size == (MOST_EDGE, 64)
