"""A picture that is deleted is there for nobody who deleted it, and for as long as somebody needs it, stored."""

from datetime import UTC, datetime, timedelta

import httpx
from PIL import Image
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.datasets import Datasets, dataset_of
from app.shared.disposal import Disposal
from app.shared.generation_keys import pending_key
from app.shared.generations import begun
from app.shared.pictures import Pictures, picture_key
from app.shared.records import PENDING
from app.shared.storage import Storage
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from tests.app.shared.making import request, version


def later(storage: Storage, hours: int) -> None:
    Disposal(storage, lambda: datetime.now(UTC) + timedelta(hours=hours)).run()


def test_it_goes_once_nothing_needs_it(api: httpx.Client, storage: Storage) -> None:
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    ref = Pictures(storage).put(image).ref
    accepted = begun("1" * 32, request(init_image=ref, denoise=0.5), "normal", None)
    storage.put(pending_key(accepted.id), PENDING.write(accepted))
    assert api.get(f"/v1/images/{ref}").status_code == 200
    assert [api.delete(f"/v1/images/{ref}").status_code for _ in range(2)] == [204, 404]
    assert api.get(f"/v1/images/{ref}").status_code == 404
    later(storage, 2)
    assert Pictures(storage).load(ref).size == (8, 8)
    storage.delete(pending_key(accepted.id))
    later(storage, 4)
    assert not storage.exists(picture_key(ref))
    assert Pictures(storage).keep(image)[1] is True  # and may come again
    later(storage, 9)
    assert api.get(f"/v1/images/{ref}").status_code == 200


def test_an_owner_deletes_for_themselves_alone(storage: Storage) -> None:
    image, owners = Image.new("RGB", (8, 8), (4, 5, 6)), ("ada", "bob", "")
    for owner in owners:
        ref = Pictures(storage).put(image, owner).ref
    for at, owner in enumerate(owners):
        Pictures(storage, owner).remove(ref)
        later(storage, 2 * at + 2)
        assert [Pictures(storage, one).sees(ref) for one in owners] == [one > at for one in range(3)]
        assert storage.exists(picture_key(ref)) is (at < 2)


def test_what_a_dataset_shows_is_not_deleted(api: httpx.Client, storage: Storage) -> None:
    ref = Pictures(storage).put(Image.new("RGB", (8, 8))).ref
    pictures = [DatasetPicture(ref=ref, caption="a", width=8, height=8)]
    Datasets(storage).keep(dataset_of(pictures, DatasetReport(), datetime.now(UTC)))
    answer = api.delete(f"/v1/images/{ref}")
    assert (answer.status_code, answer.json()["code"]) == (409, "image_needed")


def test_what_any_version_of_an_adapter_shows_is_not_deleted(api: httpx.Client, storage: Storage, redis: Redis) -> None:
    refs = [Pictures(storage).put(Image.new("RGB", (8, 8), (number, 0, 0))).ref for number in range(3)]
    catalog = Catalog(storage, redis)
    for number, ref in enumerate(refs[:2], 1):
        admitted = version("style", version=number, sha256=str(number) * 64, cover=ref)
        catalog.admit(admitted, {})
    for number, ref in enumerate(refs[:2], 1):
        answer = api.delete(f"/v1/images/{ref}")
        assert (answer.status_code, answer.json()["code"]) == (409, "image_needed")
        assert f"style:{number}" in answer.json()["detail"]
    assert api.delete(f"/v1/images/{refs[2]}").status_code == 204
