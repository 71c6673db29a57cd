"""Pictures that a request brings along as data URLs: each becomes the ref of a picture that is stored.

It happens before a request is judged, and after its body was compared with that of its idempotency key: what is
accepted names pictures by their refs alone.
"""

import asyncio
import binascii
from base64 import b64decode

from app.deps import Service
from app.http.faults import fault, pointer, refused
from app.http.receiving import settled, stage_bytes
from app.shared.errors import Unavailable
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.picture import DATA_PREFIX, Place, pictures_of, with_pictures
from app.shared.wire.upload import Upload

CUT_OFF = ("image_not_readable", "what follows base64, is not whole base64; four characters stand for three bytes")


async def with_refs(service: Service, body: GenerationRequest) -> GenerationRequest:
    """Return a request that names its pictures by refs; raise BadRequest with each that is refused, or Unavailable."""
    brought: dict[str, Place] = {}
    for place, named in pictures_of(body):
        if named.startswith(DATA_PREFIX):
            brought.setdefault(named, place)
    if not brought:
        return body
    uploads = await asyncio.gather(*(_received(service, url) for url in brought))
    faults, refs = [], {}
    for (url, place), upload in zip(brought.items(), uploads, strict=True):
        if isinstance(upload, Upload) and upload.picture:
            refs[url] = upload.picture.ref
        elif isinstance(upload, Upload) and not upload.status.ended:
            message = "the picture is not decoded yet; try again, or send it to POST /v1/images and name its ref"
            raise Unavailable(
                "image_not_decoded", message, reasons=[fault(pointer(place), "image_not_decoded", message)]
            )
        else:
            code, message = (upload.code, upload.message) if isinstance(upload, Upload) else upload
            faults.append(fault(pointer(place), code or "upload_canceled", message or "the picture was canceled"))
    if faults:
        raise refused(faults, faults[0]["code"])
    return with_pictures(body, refs)


async def _received(service: Service, url: str) -> Upload | tuple[str, str]:
    """Return what became of a picture, or code and sentence of why it was not even looked at."""
    try:
        data = b64decode(url.partition(",")[2], validate=True)
    except binascii.Error:
        return CUT_OFF
    staged = await stage_bytes(service, "picture", data)
    return await settled(service, staged.id, _stays)


async def _stays() -> bool:
    return False
