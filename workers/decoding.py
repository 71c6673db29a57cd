"""A picture from outside becomes 8-bit RGB or RGBA in sRGB, upright: called in a process that may die.

Size, frames and profile are judged by the header, before a pixel is decoded. Nothing but the formats of the table is
opened, whatever a file is called: Pillow would open forty of them, some through other programs.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from PIL import AvifImagePlugin as _avif  # noqa: F401  # loaded with their tables before a fork, not in each of them
from PIL import ExifTags, Image, ImageChops, ImageCms, features
from PIL import JpegImagePlugin as _jpeg  # noqa: F401
from PIL import PngImagePlugin as _png  # noqa: F401
from PIL import WebPImagePlugin as _webp  # noqa: F401

from app.shared.errors import PictureRefused
from app.shared.settings import MIB
from app.shared.wire.picture import MOST_EDGE, MOST_PIXELS

FORMATS = [
    name
    for name, needs in (("PNG", None), ("JPEG", None), ("WEBP", "webp"), ("AVIF", "avif"))
    if needs is None or features.check(needs)
]
TAKEN = ", ".join({"WEBP": "WebP"}.get(name, name) for name in FORMATS)
MOST_PROFILE = 4 * MIB  # the largest of printing are half of it
# How files begin, so that a refusal can name them: where, what, which
BROKEN_ONES = (
    (0, b"\x89PNG", "a PNG"),
    (0, b"\xff\xd8\xff", "a JPEG"),
    (8, b"WEBP", "a WebP"),
    (4, b"ftypavif", "an AVIF"),
)
OTHERS = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (0, b"%PDF", "a PDF"),
    (0, b"<svg", "an SVG"),
    (0, b"<?xml", "an XML file (an SVG, perhaps)"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
)
UPRIGHT = {  # what undoes each orientation that a camera writes
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _high_bytes(image: Image.Image) -> Image.Image:
    # As Pillow's own decoder does for 16 bits of colour; its `convert` cuts off at 255 instead
    return Image.frombytes("L", image.size, image.tobytes()[1::2])


def _as(mode: str) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image if image.mode == mode else image.convert(mode)


# Mode of the pixels in a file -> what makes grey (L, LA), colour (RGB, RGBA) or ink (CMYK) of 8 bits of them
PLAIN: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "1": _as("L"),
    "L": _as("L"),
    "LA": _as("LA"),
    "I;16": _high_bytes,
    "P": _as("RGB"),
    "PA": _as("RGBA"),
    "RGB": _as("RGB"),
    "RGBA": _as("RGBA"),
    "CMYK": _as("CMYK"),
}
# Colour space of a profile -> the modes whose pixels are in it, and what makes them so
SPACES: Mapping[str, Mapping[str, str]] = {
    "RGB": {"L": "RGB", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"},
    "GRAY": {"L": "L", "LA": "LA"},
    "CMYK": {"CMYK": "CMYK"},
}
WHOLE_BYTES = ("1", "L", "RGB")  # how samples lie in a file whose transparent colour is compared with them as it is
BROKEN = "its colour profile cannot be read or is of another kind than its pixels; they were taken as sRGB"
FIRST = "it holds several pictures, as cameras write them; the first was taken"


class Decoded(NamedTuple):
    """A picture (mode RGB or RGBA), and sentences on what was made of it that its sender may not expect."""

    image: Image.Image
    notes: list[str]


def decode(data: bytes) -> Decoded:
    """Return the pixels of a file; raise PictureRefused with a sentence, or MemoryError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow on sizes, which are judged here, and on tags
        Image.MAX_IMAGE_PIXELS = None
        try:
            with opened(data) as image:
                judge(image)
                notes = [FIRST] if image.format == "MPO" else []
                profile, orientation = image.info.get("icc_profile"), _orientation(image)
                image.load()
                plain = _plain(image)
        except (PictureRefused, MemoryError):
            raise
        except Exception as error:  # of a file that is made to confuse a parser
            message = f"the picture cannot be decoded: {str(error)[:200] or type(error).__name__}"
            raise PictureRefused("image_not_readable", message) from error
    if profile:
        try:
            plain = _in_srgb(plain, profile)
        except (ImageCms.PyCMSError, OSError, ValueError, KeyError, TypeError):
            notes.append(BROKEN)
    colour = _as("RGBA" if plain.mode in ("LA", "RGBA") else "RGB")(plain)
    upright = colour.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else colour
    upright.info = {}
    return Decoded(upright, notes)


def mask_of(image: Image.Image) -> Image.Image:
    """Return the mask that transparency means: white where a picture has none of its own; raise PictureRefused."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    if alpha is None or alpha.getextrema()[0] == 255:
        message = "no pixel of the mask is transparent, and what is transparent in it is drawn anew; erase that part"
        raise PictureRefused("mask_opaque", message)
    return ImageChops.invert(alpha).convert("RGB")


def opened(data: bytes) -> Image.Image:
    """Return a file whose header was read; raise PictureRefused for what is none, or of another format."""
    if not data:
        raise PictureRefused("image_empty", f"the file is empty; send a picture ({TAKEN})")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        if broken := _named(BROKEN_ONES, data):
            message = f"the file begins as {broken} and cannot be read as one; it is cut off or spoilt"
            raise PictureRefused("image_not_readable", message) from error
        found = _named(OTHERS, data[:64].lstrip()) or _named(OTHERS, data) or "none of these"
        raise PictureRefused("image_format_unknown", f"pictures are {TAKEN}; this file is {found}") from error


def _named(signs: Sequence[tuple[int, bytes, str]], data: bytes) -> str | None:
    return next((name for at, sign, name in signs if data[at : at + len(sign)] == sign), None)


def judge(image: Image.Image) -> None:
    """Raise PictureRefused for what the header says."""
    width, height = image.size
    if max(width, height) > MOST_EDGE or width * height > MOST_PIXELS:
        message = (
            f"the picture is {width}×{height} pixels; at most {MOST_EDGE} along an edge and "
            f"{MOST_PIXELS // 10**6} million in all are taken"
        )
        raise PictureRefused("image_too_large", message)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise PictureRefused("image_animated", f"the picture has {frames} frames; send one of them")
    if len(image.info.get("icc_profile") or b"") > MOST_PROFILE:
        raise PictureRefused("image_profile_too_large", f"its colour profile is over {MOST_PROFILE // MIB} MiB")
    keyed = isinstance(image.info.get("transparency"), int | tuple)
    if image.mode not in PLAIN or (
        keyed and getattr(image, "tile", [[""]])[0][-1] not in WHOLE_BYTES
    ):  # Pillow would miss the colour
        raise PictureRefused("image_mode_unknown", f"its pixels are of a kind ({image.mode}) that is not taken")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  # of tags that are made to confuse; what cannot be read says nothing
        return 1


def _plain(image: Image.Image) -> Image.Image:
    if "transparency" in image.info and image.mode in ("1", "L", "RGB", "P"):  # one colour, or entries of the palette
        return image.convert("RGBA")
    return PLAIN[image.mode](image)


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return colours in sRGB by relative colorimetry; alpha as it is. Raises what littlecms says of the profile."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = str(getattr(source.profile, "xcolor_space", "")).strip()
    image = _as(SPACES[space][image.mode])(image)
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image.convert(image.mode.removesuffix("A")) if alpha else image
    converted = ImageCms.profileToProfile(
        colours,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert converted is not None  # it is none where it was told to work in place
    if alpha:
        converted.putalpha(alpha)
    return converted
