"""Pixels to files, each with its recipe and, for other tools, its infotext; the same of both give the same bytes.

| format | recipe (JSON) | infotext |
|---|---|---|
| PNG | iTXt `radiata` | tEXt or iTXt `parameters` |
| WebP, JPEG | XMP, `radiata:recipe` | EXIF, `UserComment` |
"""

import io
import json
from html import escape
from typing import Any

from PIL.ExifTags import IFD, Base
from PIL.Image import Exif, Image
from PIL.PngImagePlugin import PngInfo

from app.shared.recipe_places import INFOTEXT, RECIPE, UNICODE, XMP
from app.shared.wire.generation import QUALITY, OutputFormat

COMPRESSION = 6  # zlib level; this and what follows are fixed, for they decide the bytes
WEBP_EFFORT = 4
WHOLE_COLOURS = "4:4:4"


def encode(
    picture: Image,
    made_by: dict[str, Any],
    infotext: str = "",
    output_format: OutputFormat = "png",
    quality: int | None = None,
) -> bytes:
    """The file of `picture` with its recipe."""
    buffer = io.BytesIO()
    if output_format == "png":
        info = PngInfo()
        info.add_itxt(RECIPE, json.dumps(made_by, sort_keys=True, ensure_ascii=False))
        if infotext:
            info.add_text(INFOTEXT, infotext)
        picture.save(buffer, "PNG", pnginfo=info, compress_level=COMPRESSION)
        return buffer.getvalue()
    # ASCII: XML has no place for every character that a prompt may have
    text = XMP.format(recipe=escape(json.dumps(made_by, sort_keys=True), quote=False)).encode()
    common: dict[str, Any] = {"quality": quality or QUALITY, "xmp": text, "exif": _comment(infotext)}
    if output_format == "webp":
        picture.save(buffer, "WEBP", method=WEBP_EFFORT, **common)
    else:
        picture.save(buffer, "JPEG", subsampling=WHOLE_COLOURS, **common)
    return buffer.getvalue()


def _comment(infotext: str) -> bytes:
    """EXIF with a text as A1111 and its readers have it: UTF-16, the larger half of each unit first."""
    exif = Exif()
    if infotext:
        exif.get_ifd(IFD.Exif)[Base.UserComment] = UNICODE + infotext.encode("utf-16-be")
    return exif.tobytes()
