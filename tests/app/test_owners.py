"""Nobody sees what is another's: it is answered as what nobody has, on every route; lists have one's own."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image
from redis import Redis

from app.http.permissions import OPEN, RULES
from app.shared.catalog import Catalog, file_key
from app.shared.datasets import Datasets, dataset_of
from app.shared.downloads import download_key
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.keys import Keyring
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.records import DOWNLOAD
from app.shared.resumables import Resumables
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.training_keys import sample_key
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads
from app.shared.webhooks import Webhooks, webhook_secret
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from app.shared.wire.generation import Status
from app.shared.wire.key import SCOPES
from app.shared.wire.resumable import Resumable
from app.shared.wire.upload import Download, UploadKind, UploadStatus
from app.shared.wire.webhook import EVENTS, Webhook
from tests.app.conftest import serving
from tests.app.owned_requests import NOTHING, Belongings, drawn, requests
from tests.app.shared.making import MODEL, profile, request, training_request, upload, version

OWNERS = ("", "ada", "bob")


class Owned:
    """A service with keys, and an owner's things for each."""

    client: httpx.Client

    def __init__(self, storage: Storage, redis: Redis, settings: Settings) -> None:
        self.storage, self.redis, self.settings = storage, redis, settings
        self.keys = {owner: Keyring(storage).add(SCOPES, owner=owner)[1] for owner in OWNERS}
        self.of = {owner: self._things(number, owner) for number, owner in enumerate(OWNERS)}

    def ask(self, owner: str, method: str, path: str, **sent: Any) -> httpx.Response:
        """Ask as one owner; a stream is left as soon as it begins."""
        headers = {"X-API-Key": self.keys[owner], **sent.pop("headers", {})}
        with self.client.stream(method, path, headers=headers, **sent) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                answer.read()
            return answer

    def _things(self, number: int, owner: str) -> Belongings:
        parts, owns = (self.storage, self.redis, self.settings), owner or "first"
        ledger, trainings, uploads = Ledger(*parts, owner), Trainings(*parts, owner), Uploads(*parts, owner)
        ended = ledger.accept(request())
        ledger.finish(ended.model_copy(update={"status": Status.SUCCEEDED}))
        self.storage.put(image_key(ended.id, 0), b"\x89PNG")
        picture = Pictures(self.storage).put(Image.new("RGB", (64, 64), (number, 0, 0)), owner).ref
        entries = [DatasetPicture(ref=picture, caption=f"{owns} {at}", width=64, height=64) for at in range(2)]
        dataset = Datasets(self.storage, owner).keep(dataset_of(entries, DatasetReport(), datetime.now(UTC)))[0].ref
        training = trainings.accept(training_request(dataset=dataset)).id
        self.storage.put(sample_key(training, 1, 0), b"\x89PNG")
        trained = trainings.accept(training_request(dataset=dataset)).id
        trainings.cancel(trained)
        hook = Webhook(url="https://127.0.0.1:9/x", events=EVENTS)
        Webhooks(self.storage, self.redis).begin(ledger.get(ended.id), hook)
        fetching = f"{number}8" + "0" * 30
        fetched = upload(fetching).model_copy(update={"status": UploadStatus.FETCHING, "owner": owner})
        record = Download(upload=fetched, source="https://127.0.0.1:9/x")
        self.storage.put(download_key(fetching), DOWNLOAD.write(record))
        facts = {"kind": "adapter", "size_bytes": 4, "said": {"name": "a"}, "created_at": datetime.now(UTC)}
        parts = Resumable(id=f"{number}7" + "0" * 30, owner=owner, **facts)
        Resumables(self.storage).begin(parts)
        waiting: dict[UploadKind, str] = {}
        for at, kind in enumerate(("adapter", "picture", "dataset", "recipe")):
            one = upload(f"{number}{at}" + "0" * 30).model_copy(update={"kind": kind, "owner": owner})
            uploads.stage(one, b"bytes")
            waiting[kind] = one.id
        data = owns.encode()
        self.storage.put(file_key(version("x", data).sha256), data)
        one, _ = Catalog(self.storage, self.redis).admit(version("xqz"[number] * 9, data, owner=owner), {})
        return Belongings(
            ledger.accept(request()).id,
            ended.id,
            picture,
            dataset,
            training,
            trained,
            fetching,
            parts.id,
            waiting,
            one.name,
            one.sha256,
        )


@pytest.fixture
def owned(storage: Storage, redis: Redis, settings: Settings) -> Iterator[Owned]:
    """The service."""
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    owned = Owned(storage, redis, settings)
    with serving(settings) as owned.client:
        yield owned


def asked(owned: Owned, owner: str, route: str, which: str, sent: dict[str, Any]) -> httpx.Response:
    method, template = route.split()
    if "{" in template:
        first, rest = template.split("{", 1)
        path = first + which + rest.partition("}")[2].replace("{name}", "1-0.png").replace("{app}", MODEL)
    else:
        path = template + which
    return owned.ask(owner, method, path, **sent)


def ids(of: Belongings) -> list[str]:
    plain = [*vars(of).values(), *of.uploads.values()]
    return sorted({one for one in plain if isinstance(one, str)}, key=len, reverse=True)


def test_every_route_is_in_the_table() -> None:
    docs = ("/docs", "/redoc", "/openapi.json", "/static-offline-docs")
    own = {route for route, rule in RULES.items() if rule is not OPEN and not route.split()[1].startswith(docs)}
    assert own == set(requests(NOTHING))


def test_what_is_anothers_is_answered_as_what_nobody_has(owned: Owned) -> None:
    nothing = requests(NOTHING)
    for owner in ("ada", ""):
        of = owned.of[owner]
        strangers = [other for other in OWNERS if other != owner]
        for route, cases in requests(of).items():
            for at, (which, sent) in enumerate(cases):
                for other in strangers:
                    answer = asked(owned, other, route, which, sent)
                    void = asked(owned, other, route, *nothing[route][at])
                    assert answer.status_code == void.status_code >= 400, (route, which, other, answer.text)
                    assert neutral(answer, of) == neutral(void, NOTHING), (route, which, other)
    ends = ("DELETE", "POST /v1/generations/{generation_id}/cancel")
    for route, cases in sorted(requests(owned.of["ada"]).items(), key=lambda one: one[0].startswith(ends)):
        for which, sent in cases:
            answer = asked(owned, "ada", route, which, sent)
            assert answer.status_code not in (404, 410) or "checkpoint_unknown" in answer.text, (route, which)


@pytest.mark.parametrize("name", ["\u00d4\x02\u00e6", "../..", "%", "a b", "\ufdd0", "x" * 300])
def test_what_is_no_id_becomes_no_key(owned: Owned, name: str) -> None:
    same = quote(name, safe="")
    strange = Belongings(*[same] * 8, uploads=dict.fromkeys(NOTHING.uploads, same), adapter=same, sha256=same)
    for route, cases in requests(strange).items():
        for which, sent in cases:
            answer = asked(owned, "ada", route, which, sent)
            assert 400 <= answer.status_code < 500, (route, which, answer.text)


def neutral(answer: httpx.Response, of: Belongings) -> Any:
    """An answer without the ids that were asked for."""
    text = answer.text
    for one in ids(of):
        text = text.replace(one, "ID")
    body = json.loads(text)
    # As another API's face tells it, or as we do
    if "error_type" in body:
        return body
    return body.get("error") or {name: body[name] for name in ("status", "code", "title", "detail", "errors")}


def test_each_owner_has_a_secret_of_webhooks(owned: Owned) -> None:
    said = {owner: owned.ask(owner, "GET", "/v1/webhooks/secret").json()["secret"] for owner in OWNERS}
    assert len(set(said.values())) == len(OWNERS)
    assert said == {owner: webhook_secret(Signer(owned.storage), owned.settings, owner) for owner in OWNERS}


def test_lists_have_ones_own_alone(owned: Owned) -> None:
    Catalog(owned.storage, owned.redis).admit(version("bundled", b"bundled", owner="radiata"), {})
    for owner, emptied in product(OWNERS, (False, True)):
        of = owned.of[owner]
        if emptied:  # and so they are when they are made again
            owned.redis.flushdb()
        generations = owned.ask(owner, "GET", "/v1/generations").json()["generations"]
        assert {one["id"] for one in generations} == {of.generation, of.ended}
        assert {one["owner"] for one in generations} == {owner}
        trainings = owned.ask(owner, "GET", "/v1/trainings?limit=1").json()
        assert [one["id"] for one in trainings["trainings"]] == [of.trained]
        following = owned.ask(owner, "GET", f"/v1/trainings?before={trainings['next']}").json()
        assert ([one["id"] for one in following["trainings"]], following["next"]) == ([of.training], None)
        datasets = owned.ask(owner, "GET", "/v1/datasets").json()["datasets"]
        assert [one["ref"] for one in datasets] == [of.dataset]
        deliveries = owned.ask(owner, "GET", "/v1/webhooks").json()["deliveries"]
        assert [one["id"] for one in deliveries] == [of.ended]
        adapters = owned.ask(owner, "GET", "/v1/adapters").json()["adapters"]
        assert {(one["name"], one["owner"]) for one in adapters} == {(of.adapter, owner), ("bundled", "radiata")}


def test_a_name_is_ones_own_or_else_the_bundled_one(owned: Owned) -> None:
    catalog = Catalog(owned.storage, owned.redis)
    for owner, data in (("radiata", b"r"), ("ada", b"a")):
        catalog.admit(version("style", data, owner=owner), {})
    found = {one: owned.ask(one, "GET", "/v1/adapters/style").json() for one in OWNERS}
    assert {one: known["owner"] for one, known in found.items()} == {"": "radiata", "ada": "ada", "bob": "radiata"}
    catalog.admit(version("style", b"f"), {})
    found = {one: owned.ask(one, "GET", "/v1/adapters/style").json() for one in OWNERS}
    assert {one: (known["owner"], known["versions"]) for one, known in found.items()} == {
        "": ("", [1, 2]),
        "ada": ("ada", [1]),
        "bob": ("radiata", [1]),
    }
    assert owned.ask("bob", "DELETE", "/v1/adapters/style").status_code == 404
    assert owned.ask("", "DELETE", "/v1/adapters/style").json()["code"] == "adapter_bundled"
    assert owned.ask("ada", "DELETE", "/v1/adapters/style").status_code == 204
    answer = owned.ask("ada", "POST", "/v1/generations", **drawn(adapters=[{"ref": "radiata/style"}]))
    assert answer.status_code == 202 and answer.json()["request"]["adapters"][0]["version"] == 1


SEEN = [("private", 404, 0), ("shared", 200, 0), ("public", 200, 1)]


def test_what_is_shared_is_used_by_its_owners_name(owned: Owned) -> None:
    for owner, (visibility, status, listed) in product(("", "ada"), SEEN):
        catalog, said = Catalog(owned.storage, owned.redis), owner or "first"
        known, _ = catalog.admit(version("gift", b"gift", owner=owner, visibility=visibility), {})
        owned.storage.put(file_key(known.sha256), b"gift")
        assert owned.ask("bob", "GET", "/v1/adapters/gift").status_code == 404
        assert owned.ask("bob", "GET", f"/v1/adapters/gift?owner={said}").status_code == status
        assert owned.ask("bob", "GET", f"/v1/adapters/gift/file?owner={said}").status_code == status
        asked_for = drawn(adapters=[{"ref": f"{said}/gift"}])
        assert owned.ask("bob", "POST", "/v1/generations", **asked_for).status_code == (202 if status == 200 else 404)
        adapters = owned.ask("bob", "GET", "/v1/adapters").json()["adapters"]
        assert [one["owner"] for one in adapters if one["name"] == "gift"] == [said] * listed
        assert owned.ask("bob", "DELETE", "/v1/adapters/gift").status_code == 404
        catalog.admit(version("gift", b"gift", owner=owner), {})  # the same bytes, of which no more is said
        assert owned.ask("bob", "GET", f"/v1/adapters/gift?owner={said}").status_code == status
        patched = owned.ask(owner, "PATCH", "/v1/adapters/gift", json={"visibility": "private"})
        assert (patched.status_code, patched.json()["visibility"]) == (200, "private")
        assert owned.ask("bob", "GET", f"/v1/adapters/gift?owner={said}").status_code == 404


def test_the_cover_of_what_is_public_is_seen_by_all_who_see_it(owned: Owned) -> None:
    cover = owned.of["ada"].picture
    covered = version("covered", b"covered", owner="ada", cover=cover, visibility="public")
    Catalog(owned.storage, owned.redis).admit(covered, {})
    listed = owned.ask("bob", "GET", "/v1/adapters").json()["adapters"]
    urls = {one["name"]: one["cover_url"] for one in listed}
    assert urls.pop("covered") == owned.ask("bob", "GET", "/v1/adapters/covered?owner=ada").json()["cover_url"] != ""
    assert set(urls.values()) == {""}
    assert owned.ask("bob", "GET", f"/v1/images/{cover}").status_code == 404
    url = next(one["cover_url"] for one in listed if one["name"] == "covered")
    assert owned.client.get(url).headers["content-type"] == "image/png"
    assert owned.client.get(url.replace(cover, owned.of[""].picture)).status_code == 401


def test_the_same_key_and_the_same_bytes_of_two_owners_are_two(owned: Owned) -> None:
    key = {"Idempotency-Key": "once"}
    asked_for = drawn(seed=7) | {"headers": key}
    first = {owner: owned.ask(owner, "POST", "/v1/generations", **asked_for).json()["id"] for owner in OWNERS}
    again = {owner: owned.ask(owner, "POST", "/v1/generations", **asked_for).json()["id"] for owner in OWNERS}
    assert first == again and len(set(first.values())) == 3
    pictures = Pictures(owned.storage)
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    assert [pictures.keep(image, owner)[1] for owner in (*OWNERS, *OWNERS)] == [True] * 3 + [False] * 3
    other = Image.new("RGB", (8, 8), (3, 2, 1))
    ref = pictures.put(other, "ada").ref
    assert owned.ask("", "GET", f"/v1/images/{ref}").status_code == 404
    assert pictures.keep(other, "")[1] is True
    assert owned.ask("", "GET", f"/v1/images/{ref}").status_code == 200
    assert len([one for one in owned.storage.keys("pictures") if ref.removeprefix("image:") in one]) == 1
