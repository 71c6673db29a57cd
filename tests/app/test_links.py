"""A signed address opens the one picture that it is of, for as long as it says; nothing else of it opens anything."""

from collections.abc import Iterator

import httpx
import pytest
from redis import Redis

from app.links import SAME_S, Links
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, Image, Status
from tests.app.conftest import serving
from tests.app.shared.making import request

PNG = b"\x89PNG and so on"


def drawn(storage: Storage, redis: Redis, settings: Settings, owner: str | None) -> Generation:
    """A generation that has a picture."""
    ledger = Ledger(storage, redis, settings, owner)
    one = ledger.accept(request())
    url = f"/v1/images/{one.id}/0.png"
    storage.put(image_key(one.id, 0), PNG)
    image = Image(index=0, url=url, seed=1, width=64, height=64, sha256="0" * 64)
    ledger.finish(one.model_copy(update={"status": Status.SUCCEEDED, "images": [image]}))
    return ledger.get(one.id)


@pytest.fixture
def closed(settings: Settings, storage: Storage) -> Iterator[tuple[httpx.Client, dict[str, str], dict[str, str]]]:
    """A service with two owners, and what each sends along."""
    keys = [Keyring(storage).add(["draw"], owner=owner)[1] for owner in ("ada", "bob")]
    with serving(settings) as client:
        yield client, {"X-API-Key": keys[0]}, {"X-API-Key": keys[1]}


def test_an_address_in_an_answer_opens_its_picture_for_whoever_has_it(
    closed: tuple[httpx.Client, dict[str, str], dict[str, str]], storage: Storage, redis: Redis, settings: Settings
) -> None:
    client, ada, bob = closed
    one, other = (drawn(storage, redis, settings, "ada") for _ in range(2))
    answers = [
        client.get(f"/v1/generations/{one.id}", headers=ada).json(),
        next(
            found for found in client.get("/v1/generations", headers=ada).json()["generations"] if found["id"] == one.id
        ),
    ]
    url = answers[0]["images"][0]["url"]
    assert {answer["images"][0]["url"] for answer in answers} == {url}
    for headers in ({}, ada, bob):
        assert client.get(url, headers=headers).content == PNG
    assert client.head(url).status_code == 200
    bare, _, query = url.partition("?")
    assert client.get(bare).status_code == 401 and client.get(bare, headers=bob).status_code == 404
    forged = [
        f"/v1/images/{other.id}/0.png?{query}",
        f"/v1/generations/{one.id}?{query}",
        f"{bare}?{query[:-1]}{'0' if query[-1] != '0' else '1'}",
        f"{bare}?{query.replace('exp=', 'exp=9')}",
        f"{bare}?sig={query.partition('sig=')[2]}",
        f"{bare}?exp=1&sig=",
    ]
    assert [client.get(address).status_code for address in forged] == [401] * len(forged)
    assert client.delete(f"/v1/generations/{one.id}?{query}").status_code == 401
    placed = client.get(f"/v1/generations/{one.id}", headers=ada | {"X-Forwarded-Prefix": "/draw"}).json()
    below = placed["images"][0]["url"]
    assert below.startswith("/draw/v1/images/")
    assert client.get(below, headers={"X-Forwarded-Prefix": "/draw"}).content == PNG


@pytest.mark.parametrize("lifetime_s", [60, 2 * SAME_S])
def test_an_address_ends(storage: Storage, lifetime_s: int) -> None:
    now = [1_700_000_000.0]
    links = Links(Signer(storage), lifetime_s, lambda: now[0])
    path = "/v1/images/a/0.png"
    query = links.query(path)
    assert Links(Signer(storage), lifetime_s, lambda: now[0]).opens(path, query[1:].encode()), (
        "another process knows it"
    )
    now[0] += lifetime_s
    assert links.opens(path, query[1:].encode())
    now[0] += min(SAME_S, lifetime_s)
    assert not links.opens(path, query[1:].encode())


def test_a_service_without_keys_signs_nothing(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings
) -> None:
    one = drawn(storage, redis, settings, None)
    url = api.get(f"/v1/generations/{one.id}").json()["images"][0]["url"]
    assert url == one.images[0].url
    assert api.get(f"{url}?exp=1&sig=00").content == PNG, "an address of before the keys were gone"
