"""The face of ComfyUI's second API, proven with its own client as it is installed."""

import io
from collections.abc import Iterator

import comfy_sdk
import httpx
import pytest
from blake3 import blake3
from comfy_sdk import exceptions
from PIL import Image
from redis import Redis

from app.faces.comfy.nodes import SAMPLERS
from app.shared.catalog import Catalog
from app.shared.generations import Ledger
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from tests.app.faces.drawing import FAILS, WAITS, drawing
from tests.app.faces.test_comfy import OBEYED, graph, lora, newest
from tests.app.shared.making import profile, version


@pytest.fixture
def client(
    api: httpx.Client, storage: Storage, redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[comfy_sdk.Comfy]:
    known = profile(obeys=dict.fromkeys(OBEYED, True), samplers=list(SAMPLERS.values()))
    Profiles(storage, settings).publish(known, {"unet": {}})
    Catalog(storage, redis).admit(version("style", b"style"), {})
    monkeypatch.setenv("COMFY_BASE_URL", f"{str(api.base_url).rstrip('/')}/comfy")
    with drawing(storage, redis, settings), comfy_sdk.Comfy() as one:
        yield one


@pytest.fixture
def ledger(storage: Storage, redis: Redis, settings: Settings) -> Ledger:
    return Ledger(storage, redis, settings)


def test_a_job_is_drawn_and_its_outputs_are_files(client: comfy_sdk.Comfy, ledger: Ledger) -> None:
    chain = {"n10": lora("LoraLoader", "style", "4", strength_model=0.8, strength_clip=1.0), "n3": {"model": ["10", 0]}}
    job = client.submit(client.workflows.from_json(graph(**chain)), metadata={"client": "ada"}).result()
    assert [one.to_bytes() for one in job.outputs] == [b"picture 0", b"picture 1"]
    assert {(one.node_id, one.content_type, one.job_id) for one in job.outputs} == {("9", "image/png", job.id)}
    assert httpx.get(job.outputs[0].get_download_url().url).content == b"picture 0"
    assert (job.metadata, job.status, client.jobs.get(job.id).status) == ({"client": "ada"}, "succeeded", "succeeded")
    assert [one.name for one in newest(ledger).request.adapters] == ["style"]
    assert [(one.id, one.metadata) for one in client.list_jobs()] == [(job.id, {"client": "ada"})]


def test_events_come_up_to_the_end(client: comfy_sdk.Comfy) -> None:
    job = client.submit(client.workflows.from_json(graph(n3={"steps": 9}, n5={"batch_size": 1})))
    told = list(job.events())
    kinds = [type(one).__name__ for one in told]
    assert kinds[-1] == "StatusChange" and {"Progress", "Preview", "OutputReady"} <= set(kinds)
    shares = [one.value for one in told if isinstance(one, comfy_sdk.Progress)]
    assert shares == sorted(shares) and 0 < shares[0] < 1


def test_what_cannot_be_honoured_raises_the_clients_own_error(client: comfy_sdk.Comfy) -> None:
    def refused(**changed: dict[str, object]) -> exceptions.ComfyError:
        with pytest.raises(exceptions.ComfyError) as told:
            client.submit(client.workflows.from_json(graph(**changed)))
        return told.value

    unknown = refused(n10=lora("LoraLoader", "nobody", "4"), n3={"model": ["10", 0]})
    assert unknown.code == "invalid_workflow" and "nobody" in str(unknown)
    assert "4096" in str(refused(n5={"width": 4096}))
    assert refused(n77={"class_type": "TomatoSampler", "inputs": {}}).code == "invalid_workflow"
    key = "one key"
    client.submit(client.workflows.from_json(graph()), idempotency_key=key)
    with pytest.raises(exceptions.ComfyError) as again:
        client.submit(client.workflows.from_json(graph()), idempotency_key=key)
    assert again.value.code == "idempotency_key_reuse"
    with pytest.raises(exceptions.NotFound):
        client.jobs.get("f" * 32)


def test_a_failure_and_a_cancel_are_told(client: comfy_sdk.Comfy, ledger: Ledger) -> None:
    with pytest.raises(exceptions.JobFailed) as failed:
        client.submit(client.workflows.from_json(graph(n6={"text": f"{FAILS}engine_error"}))).result()
    assert "it has failed" in str(failed.value.error)
    job = client.submit(client.workflows.from_json(graph(n6={"text": WAITS})))
    assert job.status == "queued" and job.cancel().status == "canceled"
    assert newest(ledger).status is Status.CANCELED
    with pytest.raises(exceptions.JobFailed, match="canceled"):
        job.result()


def test_a_picture_that_was_sent_is_drawn_anew(client: comfy_sdk.Comfy, ledger: Ledger, storage: Storage) -> None:
    """Sent once, by its pixels: here they are there already, and a graph names them as the client writes it."""
    ref = Pictures(storage).put(Image.new("RGB", (64, 64), (9, 0, 0)), "").ref
    digest = ref.removeprefix("image:")
    nodes = {
        "n20": {"class_type": "LoadImage", "inputs": {"image": {"__type": "core/ASSET", "info": {"id": digest}}}},
        "n21": {"class_type": "VAEEncode", "inputs": {"pixels": ["20", 0], "vae": ["4", 2]}},
    }
    sampler = {"latent_image": ["21", 0], "denoise": 0.5}
    client.submit(client.workflows.from_json(graph(n3=sampler, **nodes))).result()
    assert newest(ledger).request.init_image == ref
    base = client._low.base_url
    found = httpx.get(f"{base}/api/v2/assets/{digest}/content").content
    assert Image.open(io.BytesIO(found)).size == (64, 64)


def test_a_file_that_is_not_the_one_expected_is_refused(client: comfy_sdk.Comfy) -> None:
    at, said = f"{client._low.base_url}/api/v2/assets", {"content_type": "image/png", "file_path": "a.png"}
    for expected in (f"blake3:{64 * '0'}", "md5:0", "0"):
        answer = httpx.post(at, data=said | {"expected_hash": expected}, files={"file": b"a file"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "hash_mismatch")
    own = f"blake3:{blake3(b'a file').hexdigest()}"
    assert own in answer.json()["error"]["message"]
    answer = httpx.post(at, data=said | {"expected_hash": own}, files={"file": b"a file"})
    assert answer.json()["error"]["code"] != "hash_mismatch"
