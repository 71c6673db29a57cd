"""Both faces against the API itself, with a stand-in for the engine, and the snippets of the page as they stand."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from radiata_client import Canceled, Failed, errors
from radiata_client.models import Preview, Progress
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.shared.making import profile, version
from tests.radiata_client.both import FACES, face

PAGE = Path(__file__).parents[2] / "client" / "README.md"


@pytest.fixture(params=FACES)
def client(
    request: pytest.FixtureRequest, api: httpx.Client, storage: Storage, redis: Redis, settings: Settings
) -> Iterator[Any]:
    Profiles(storage, settings).publish(profile(obeys={"output_format": True, "quality": True}), {"unet": {}})
    for name in ("style", "ink"):
        Catalog(storage, redis).admit(version(name, name.encode()), {})
    with drawing(storage, redis, settings), face(request.param, url=str(api.base_url)) as one:
        yield one


def test_pictures_are_drawn_followed_and_saved(client: Any, tmp_path: Path) -> None:
    job = client.begin("a red apple", adapters={"style": 0.8, "ink": 0.5}, seed=7, steps=4, count=2)
    steps = client.follow(job)
    assert [one.step for one in steps] == sorted(one.step for one in steps) and steps[-1].steps == 8
    assert job.state.status == "succeeded" and job.state.request["seed"] == 7
    assert [one["name"] for one in job.state.request["adapters"]] == ["style", "ink"]
    saved = client.of(job, "save", tmp_path / "new" / "apple.png")
    assert [one.name for one in saved] == ["apple-1.png", "apple-2.png"] and saved[1].read_bytes() == b"picture 1"
    again = client.call("generation", job.id)
    assert client.of(again, "images") == [b"picture 0", b"picture 1"]


def test_previews_come_with_the_progress(client: Any) -> None:
    job = client.begin("a red apple", steps=12)
    told = client.follow(job.with_previews())
    assert {type(one) for one in told} == {Preview, Progress}


def test_a_batch_is_accepted_all_or_none(client: Any, storage: Storage, redis: Redis, settings: Settings) -> None:
    requests = [{"prompt": "a fox", "adapters": {"style": 0.5}, "seed": seed, "steps": 1} for seed in (1, 2)]
    jobs = client.call("draw_all", requests, "one batch")
    assert [client.of(one, "wait").request["seed"] for one in jobs] == [1, 2]
    assert [one.id for one in client.call("draw_all", requests, "one batch")] == [one.id for one in jobs]
    with pytest.raises(errors.Invalid) as refused:
        client.call("draw_all", [requests[0], {"prompt": "a fox", "steps": 0}])
    assert refused.value.pointers == ["/requests/1/steps"]
    assert len(Ledger(storage, redis, settings).list(50, None)[0]) == 2


def test_what_is_wrong_is_told_by_kind(client: Any) -> None:
    for fields, raised, pointer in (
        ({"adapters": {"nobody": 1}}, errors.NotFound, "/adapters/0/ref"),
        ({"steps": 100_000}, errors.Refused, "/steps"),
        ({"surprise": 1}, errors.Invalid, "/surprise"),
    ):
        with pytest.raises(raised) as refused:
            client.begin("a fox", **fields)
        assert refused.value.pointers == [pointer] and refused.value.code, fields
    with pytest.raises(errors.NotFound):
        client.call("generation", "0" * 32)
    with pytest.raises(Failed, match="it has failed") as failed:
        client.of(client.begin(f"{FAILS}out_of_memory"), "wait")
    assert failed.value.code == "out_of_memory"


def test_what_waits_can_be_canceled_once(client: Any) -> None:
    job = client.begin(WAITS)
    assert client.of(job, "cancel").status == "canceled"
    with pytest.raises(Canceled):
        client.of(job, "wait")


def test_the_same_key_is_the_same_picture(client: Any) -> None:
    first = client.begin("a fox", idempotency_key="mine", steps=1)
    assert client.begin("a fox", idempotency_key="mine", steps=1).id == first.id
    with pytest.raises(errors.Conflict):
        client.begin("an owl", idempotency_key="mine", steps=1)


def test_adapters_are_listed_inspected_and_deleted(client: Any) -> None:
    assert {one.name for one in client.call("adapters")} == {"style", "ink"}
    one = client.call("adapter", "style")
    assert one.version == 1 and one.verdict is not None and client.call("adapter", f"sha256:{one.sha256}") == one
    client.call("delete_adapter", "style")
    with pytest.raises(errors.NotFound):
        client.call("adapter", "style")
    assert client.call("models")[0]["name"] == one.fits[0]


def test_a_source_that_may_not_be_asked_is_refused(client: Any) -> None:
    with pytest.raises(errors.Refused) as refused:
        client.call("fetch_adapter", "http://127.0.0.1/a.safetensors", "mine")
    assert refused.value.code == "address_refused"


def test_a_training_begins_with_what_is_there(client: Any) -> None:
    with pytest.raises(errors.Refused) as refused:
        client.call("train", "mine", "dataset:" + "0" * 64, steps=10)
    assert "/dataset" in refused.value.pointers
    with pytest.raises(errors.NotFound):
        client.call("training", "0" * 32)


def test_the_snippets_of_the_page_run(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But those that upload: nobody inspects here."""
    monkeypatch.chdir(tmp_path)
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(found) >= 4
    for text in found:
        if "upload" not in text:
            text = text.replace("http://127.0.0.1:8000", client.one.url).replace("fluent-3d-locon", "style")
            exec(compile(text, str(PAGE), "exec"), {})
    assert {"apple.png", "fox-1.png", "owl.png"} <= {one.name for one in tmp_path.iterdir()}
