"""What draws in tests of faces: an engine that takes each generation, tells of previews and steps, and stores files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from threading import Event, Thread

from redis import Redis

from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.previews import DATA_URL, Preview, send
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Image, Status

FAILS = "fail:"  # how the prompt of one that is to fail begins; its code follows
WAITS = "never"  # the prompt of one that nobody draws


@contextmanager
def drawing(storage: Storage, redis: Redis, settings: Settings) -> Iterator[None]:
    """Have everything drawn that is accepted meanwhile."""
    ledger, over = Ledger(storage, redis, settings), Event()

    def work() -> None:
        while not over.wait(0.05):
            for one in ledger.list(50, None)[0]:
                if one.status is Status.QUEUED and one.request.prompt != WAITS:
                    _draw(ledger, storage, redis, one)

    thread = Thread(target=work, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join(10)


def _draw(ledger: Ledger, storage: Storage, redis: Redis, one: Generation) -> None:
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
        data, kind = f"picture {index}".encode(), one.request.output_format
        storage.put(image_key(one.id, index, kind), data)
        url, size = f"/v1/images/{one.id}/{index}.{kind}", {"width": one.request.width, "height": one.request.height}
        images.append(Image(index=index, url=url, seed=index, sha256=sha256(data).hexdigest(), **size))
    ledger.finish(one.model_copy(update={"status": Status.SUCCEEDED, "images": images}))
