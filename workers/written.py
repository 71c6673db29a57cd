"""What a picture's file says of how it was made: called in a process that may die, for the file is from outside.

`app/shared/recipe_places.py` says where. The pixels are decoded too, for a PNG may have its texts behind them.
"""

import re
import warnings
from collections.abc import Iterator
from html import unescape
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base

from app.shared.errors import PictureRefused
from app.shared.recipe_places import IN_XMP, INFOTEXT, RECIPE, UNICODE
from app.shared.wire.recipe import MOST_CHARS, MOST_NAMES, Written
from workers.decoding import judge, opened

ASCII = b"ASCII\0\0\0"
ORDERS = {b"\xfe\xff": "utf-16-be", b"\xff\xfe": "utf-16-le"}


def written(data: bytes) -> Written:
    """Return the texts of a file; raise PictureRefused with a sentence, or MemoryError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None
        try:
            with opened(data) as image:
                judge(image)
                image.load()
                texts = dict(_texts(image))
                size = image.size
        except (PictureRefused, MemoryError):
            raise
        except Exception as error:  # of a file that is made to confuse a parser
            message = f"what the picture says cannot be read: {str(error)[:200] or type(error).__name__}"
            raise PictureRefused("image_not_readable", message) from error
    recipe, infotext = texts.pop(RECIPE, ""), texts.pop(INFOTEXT, "")
    for text in (recipe, infotext):
        if len(text) > MOST_CHARS:
            message = f"what the picture says of how it was made is over {MOST_CHARS} characters long"
            raise PictureRefused("recipe_too_long", message)
    others = sorted(name[:64] for name in texts)[:MOST_NAMES]
    return Written(recipe=recipe, infotext=infotext, others=others, width=size[0], height=size[1])


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Yield the texts of a file by their keywords; what WebP and JPEG have in EXIF and XMP is called as in a PNG."""
    for name, text in image.info.items():
        if isinstance(name, str) and isinstance(text, str):
            yield name, _clean(text)
    xmp: Any = image.info.get("xmp") or b""
    if isinstance(xmp, bytes) and (found := re.search(IN_XMP, xmp)):
        yield RECIPE, _clean(unescape(found[1].decode("utf-8", "replace")))
    comment = image.getexif().get_ifd(IFD.Exif).get(Base.UserComment)
    if text := _comment(comment):
        yield INFOTEXT, text


def _comment(comment: Any) -> str:
    """The text of EXIF's `UserComment`, in whichever order the halves of its characters are."""
    if isinstance(comment, str):
        return _clean(comment)
    if not isinstance(comment, bytes):
        return ""
    if not comment.startswith(UNICODE):
        return _clean(comment.removeprefix(ASCII).decode("utf-8", "replace"))
    text = comment.removeprefix(UNICODE)
    if text[:2] in ORDERS:
        return _clean(text[2:].decode(ORDERS[text[:2]], "replace"))
    smaller_first = text[1::2].count(0) > text[::2].count(0)  # most characters have a half of nothing
    return _clean(text.decode("utf-16-le" if smaller_first else "utf-16-be", "replace"))


def _clean(text: str) -> str:
    """A text without half surrogates and NUL, which nobody can store."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
