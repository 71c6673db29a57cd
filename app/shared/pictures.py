"""Pictures that requests draw from, stored under the hash of their pixels.

So the same picture in another file is the same ref, a ref means the same pixels for ever, and no name from outside
becomes a key. What comes from outside is decoded by intake (`workers/intake.py`); what is stored is 8-bit RGB or RGBA
in sRGB, upright, as PNG.
"""

import io
import re
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from app.shared.disposal import Disposal, aside
from app.shared.errors import NotFound, Unreadable
from app.shared.owners import FIRST, Asker, PictureHolders
from app.shared.storage import Storage
from app.shared.wire.picture import REF_PREFIX, PictureRef, StoredPicture

if TYPE_CHECKING:
    from PIL.Image import Image  # loaded by those who decode: the API has no need of it
    from PIL.PngImagePlugin import PngInfo

__all__ = ["PictureRef", "Pictures", "StoredPicture", "picture_key", "picture_ref"]

HEAD = 64  # bytes of a PNG up to the end of what is noted in it: size, kind of its pixels, and how light it is
# Of all pixels, as grey, and whether they are: written behind the size, for acceptance reads no pixels. `255 grey`
LIGHTEST = re.compile(rb"tEXtlightest\x00([0-9]{1,3})(?: (grey|colours))?")
COLOURED = 16  # the least difference between red, green and blue that is a colour: less is noise of JPEG
SIGNATURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
AFTER = 33  # where a PNG goes on behind its size
KINDS = {2: False, 6: True}  # of RGB and RGBA, as PNG numbers them: whether there is alpha
COMPRESSION = 3  # zlib's level: 4 % larger than 6, in a third of the time
KNOWN_S = 60.0  # that what is known of a picture is not asked for again
SIZES_KEPT = 4096  # pictures whose size is kept in memory


def picture_key(ref: PictureRef) -> str:
    """Where the PNG of a picture is stored."""
    return f"pictures/{ref.removeprefix(REF_PREFIX)}.png"


def picture_ref(image: "Image") -> PictureRef:
    """The ref of these pixels (mode RGB or RGBA)."""
    digest = sha256(f"{image.mode} {image.width} {image.height}\n".encode())
    digest.update(image.tobytes())
    return REF_PREFIX + digest.hexdigest()


class Pictures:
    """Keeps pictures by the hash of their pixels. Raises Unavailable as storage does."""

    def __init__(self, storage: Storage, asker: Asker = None) -> None:
        """asker: as whom pictures are looked for by `info`; nobody else's are there."""
        self._storage = storage
        self._asker = asker
        self._holders = PictureHolders(storage)
        self._disposal = Disposal(storage)
        self._known: dict[PictureRef, tuple[float, StoredPicture]] = {}  # until when, and what

    def info(self, ref: PictureRef) -> StoredPicture:
        """Return what is known of a picture; raise NotFound (`image_unknown`) or Unreadable."""
        until, known = self._known.get(ref, (0.0, None))
        if known is None or time.monotonic() > until:  # a part of the hour that a deleted one stays for others
            self._known.pop(ref, None)
            found = self._storage.stream(picture_key(ref), 0, HEAD)
            if found is None or not self.sees(ref):
                raise _unknown(ref)
            if len(self._known) >= SIZES_KEPT:
                self._known.clear()
            known = _read_head(ref, b"".join(found[1])[:HEAD])
            self._known[ref] = (time.monotonic() + KNOWN_S, known)
        return known

    def sees(self, ref: PictureRef) -> bool:
        """Whether a picture, if it is stored, is there for whoever asks."""
        return self._holders.sees(self._asker, ref)

    def known(self, ref: PictureRef) -> None:
        """Raise NotFound where a picture, readable or not, is not there for whoever asks."""
        if not self._storage.exists(picture_key(ref)) or not self.sees(ref):
            raise _unknown(ref)

    def remove(self, ref: PictureRef) -> None:
        """Have a picture no longer be whoever asks'; its bytes go once nothing needs them. Raises NotFound."""
        self.known(ref)
        self._disposal.note(picture_key(ref))
        self._holders.release(self._asker, ref)
        self._known.pop(ref, None)

    def put(self, image: "Image", owner: str = FIRST) -> StoredPicture:
        """Keep a picture (mode RGB or RGBA), unless it is there; return what is known of it.

        Alpha that is opaque everywhere is left out, so that it is the same picture as the one without.
        """
        return self.keep(image, owner)[0]

    def keep(self, image: "Image", owner: str = FIRST) -> tuple[StoredPicture, bool]:
        """As `put`, and say whether it was new to its owner, who is told of nobody else's."""
        if image.mode not in ("RGB", "RGBA"):
            raise ValueError(f"pictures are kept as RGB or RGBA, not {image.mode}")
        if image.mode == "RGBA" and image.getextrema()[3][0] == 255:  # type: ignore[index]
            image = image.convert("RGB")
        if image.info:  # Pillow would write some of it: nothing but pixels is kept
            image = image.copy()
            image.info = {}
        ref = picture_ref(image)
        try:
            self.load(ref)
            new = not self._holders.holds(owner, ref)
        except (NotFound, Unreadable) as error:
            new = isinstance(error, NotFound)
            self._known.pop(ref, None)
            if new:
                self._holders.comes_from(owner, ref)
            self._store(ref, image)
        self._holders.hold(owner, ref)
        if not self._storage.exists(picture_key(ref)):  # it went for unneeded right before (`app/shared/disposal.py`)
            self._store(ref, image)
        self._disposal.needs(picture_key(ref))
        return self.info(ref), new

    def _store(self, ref: PictureRef, image: "Image") -> None:
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=COMPRESSION, pnginfo=_note(image))
        self._storage.put(picture_key(ref), buffer.getvalue())

    def load(self, ref: PictureRef) -> "Image":
        """Return a picture's pixels, mode RGB or RGBA; raise NotFound (`image_unknown`) or Unreadable."""
        from PIL import Image

        data = self._storage.get(picture_key(ref)) or aside(self._storage, picture_key(ref))
        if data is None:
            raise _unknown(ref)
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                image.load()
        except (OSError, ValueError, SyntaxError) as error:
            raise _unreadable(ref, str(error)) from error
        if picture_ref(image) != ref:
            raise _unreadable(ref, "its pixels have another hash")
        return image


def _read_head(ref: PictureRef, head: bytes) -> StoredPicture:
    kind = KINDS.get(head[25]) if len(head) >= 26 and head.startswith(SIGNATURE) and head[24] == 8 else None
    if kind is None:
        raise _unreadable(ref, "it does not begin as a PNG that is kept here")
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    noted = head[AFTER + 4 : AFTER + 8 + int.from_bytes(head[AFTER : AFTER + 4])] if len(head) > AFTER else b""
    light, colours = found.groups() if (found := LIGHTEST.fullmatch(noted)) else (None, None)
    return StoredPicture(
        ref=ref,
        width=width,
        height=height,
        alpha=kind,
        lightest=int(light) if light else None,
        colours=colours == b"colours" if colours else None,
    )


def _note(image: "Image") -> "PngInfo":
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    kind = "colours" if _coloured(image) else "grey"
    info.add_text("lightest", f"{image.convert('L').getextrema()[1]} {kind}")
    return info


def _coloured(image: "Image") -> bool:
    from PIL import ImageChops

    red, green, blue, *_ = image.split()
    return any(ImageChops.difference(one, green).getextrema()[1] >= COLOURED for one in (red, blue))  # type: ignore[operator]


def _unknown(ref: str) -> NotFound:
    return NotFound("image_unknown", f"there is no picture {ref!r} here; `POST /v1/images` gives the ref of one")


def _unreadable(ref: PictureRef, why: str) -> Unreadable:
    key = picture_key(ref)
    message = f"the picture {key!r} in storage cannot be read ({why}): send the same picture again"
    return Unreadable("record_unreadable", message, key=key, why=why)
