"""What draws in tests of faces: an engine that takes each generation, tells of previews and steps, and stores files.

It decodes the pictures that requests bring, too, and takes every adapter.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from threading import Event, Thread
from typing import Any

from PIL import Image as Pillow
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.errors import PictureRefused
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.owners import FIRST
from app.shared.pictures import Pictures
from app.shared.previews import DATA_URL, Preview, send
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, bytes_key
from app.shared.wire.generation import Generation, Image, Status
from app.shared.wire.upload import Upload, UploadStatus
from tests.app.shared.making import version
from workers.decoding import decode, mask_of

FAILS = "fail:"  # how the prompt of one that is to fail begins; its code follows
WAITS = "never"  # the prompt of one that nobody draws


File = Callable[[Generation, int], bytes]  # of a picture of a generation


def words(_: Generation, index: int) -> bytes:
    """A file that no reader takes for a picture."""
    return f"picture {index}".encode()


def picture(one: Generation, index: int) -> bytes:
    """A file as it was asked for."""
    file = BytesIO()
    Pillow.new("RGB", (one.request.width, one.request.height), (index, 9, 9)).save(file, one.request.output_format)
    return file.getvalue()


@contextmanager
def drawing(
    storage: Storage, redis: Redis, settings: Settings, file: File = words, owner: str = FIRST
) -> Iterator[None]:
    """Have everything of an owner drawn that is accepted meanwhile."""
    ledger, uploads, over = Ledger(storage, redis, settings, owner), Uploads(storage, redis, settings), Event()

    def work() -> None:
        while not over.wait(0.05):
            for one in ledger.list(50, None)[0]:
                if one.status is Status.QUEUED and one.request.prompt != WAITS:
                    _draw(ledger, storage, redis, one, file)
            _judge(uploads, storage, redis)

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


def _judge(uploads: Uploads, storage: Storage, redis: Redis) -> None:
    for one in list(uploads.records.waiting()):
        upload, data = uploads.waiting(one), storage.get(bytes_key(one))
        if not upload or upload.kind not in ("picture", "mask", "adapter") or not data:
            continue
        try:
            facts = _admitted(upload, data, storage, redis)
        except PictureRefused as error:
            uploads.refuse(upload, error.code, error.message)
        else:
            uploads.settle(upload.model_copy(update={"status": UploadStatus.ADMITTED, **facts}))


def _admitted(upload: Upload, data: bytes, storage: Storage, redis: Redis) -> dict[str, Any]:
    if upload.kind == "adapter":
        known, new = Catalog(storage, redis).admit(version(upload.name, data, owner=upload.owner), {})
        return {"version": known.version, "new": new}
    image = decode(data).image
    kept, new = Pictures(storage).keep(mask_of(image) if upload.kind == "mask" else image, upload.owner)
    return {"picture": kept, "new": new}


def _draw(ledger: Ledger, storage: Storage, redis: Redis, one: Generation, file: File) -> None:
    if ledger.start(one.id) is None:
        return
    if one.request.prompt.startswith(FAILS):
        ledger.fail(one, one.request.prompt.removeprefix(FAILS), "it has failed")
        return
    images, of_one = [], one.progress.steps // one.request.count
    for index in range(one.request.count):
        for step in range(1, of_one + 1):
            taken = index * of_one + step
            send(redis, one.id, Preview(index=index, step=taken, width=8, height=8, data=f"{DATA_URL}AAA{step % 10}"))
            ledger.step(one.id, taken, one.progress.steps)
            time.sleep(0.06)  # longer than the hub collects events
        data, kind = file(one, index), one.request.output_format
        storage.put(image_key(one.id, index, kind), data)
        url, size = f"/v1/images/{one.id}/{index}.{kind}", {"width": one.request.width, "height": one.request.height}
        images.append(Image(index=index, url=url, seed=index, sha256=sha256(data).hexdigest(), **size))
    ledger.finish(one.model_copy(update={"status": Status.SUCCEEDED, "images": images}))
