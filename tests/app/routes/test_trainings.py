"""What a training may ask for, and what becomes of one while nobody trains."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from app.shared.catalog import Catalog, file_key
from app.shared.datasets import Datasets, dataset_of
from app.shared.facts import BaseLayer, BaseLayers
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.training_keys import checkpoint_folder, folder_of, manifest_key, sample_key
from app.shared.trainings import Trainings
from app.shared.uploads import Uploads, bytes_key
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from app.shared.wire.training import TrainedAdapter, Training
from tests.app.shared.making import profile, version

PICTURES = [DatasetPicture(ref=f"image:{at:064x}", caption=f"a {at}", width=64, height=64) for at in range(3)]
SAMPLES = [{"prompt": "a"}, {"prompt": "a"}]
MADE = TrainedAdapter(name="style", version=1, sha256="a" * 64, step=300)


def kept(storage: Storage, *pictures: DatasetPicture) -> str:
    dataset = dataset_of(pictures, DatasetReport(), datetime.now(UTC))
    return Datasets(storage).keep(dataset)[0].ref


@pytest.fixture
def dataset(storage: Storage) -> str:
    return kept(storage, *PICTURES)


@pytest.fixture
def trainings(storage: Storage, redis: Redis, settings: Settings) -> Trainings:
    return Trainings(storage, redis, settings)


def body(dataset: str, /, **fields: Any) -> dict[str, Any]:
    return {"name": "style", "dataset": dataset, "algorithm": "lokr"} | fields


def test_what_is_left_open_is_filled_in(api: httpx.Client, dataset: str) -> None:
    answer = api.post("/v1/trainings", json=body(dataset))
    assert answer.status_code == 202, answer.text
    training, request = answer.json(), answer.json()["request"]
    assert answer.headers["location"] == f"/v1/trainings/{training['id']}"
    assert (training["status"], training["progress"]["step"], training["progress"]["steps"]) == ("queued", 0, 300)
    assert (request["model"], request["rank"], request["alpha"], request["options"]["factor"]) == (
        "emoji-64",
        16,
        16,
        8,
    )
    assert (request["learning_rate"], request["checkpoint_every"]) == (1e-4, 30)
    assert api.get(answer.headers["location"]).json() == training
    assert api.get("/v1/trainings").json() == {"trainings": [training], "next": None}


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"rank": 0}, ["/rank"]),
        ({"algorithm": "lokre"}, ["/algorithm"]),
        ({"algorithm": "lora", "options": {"factor": 8}}, ["/options/factor"]),
        ({"options": {"factor": "8", "full_matrix": 1}}, ["/options/factor", "/options/full_matrix"]),
        ({"rank": 5000, "options": {"facto": 8}}, ["/rank", "/options/facto"]),
        ({"misspelt": 1}, ["/misspelt"]),
        ({"lr_warmup_steps": 300}, ["/lr_warmup_steps"]),
        ({"learning_rate": 0}, ["/learning_rate"]),
        ({"default_caption": "a"}, ["/default_caption"]),
        ({"dataset": f"dataset:{'0' * 64}"}, ["/dataset"]),
        (
            {"dataset": f"dataset:{'0' * 64}", "rank": 5000, "lr_warmup_steps": 10, "samples": SAMPLES},
            ["/dataset", "/samples/1", "/rank"],
        ),
        ({"model": "another"}, ["/model"]),
        ({"samples": [{"prompt": " "}]}, ["/samples/0/prompt"]),
        ({"samples": [{"prompt": "a"}, {"prompt": "a", "seed": 1}, {"prompt": "a"}]}, ["/samples/2"]),
        ({"layers": [""]}, ["/layers/0"]),
        ({"text_encoder": 1}, ["/text_encoder"]),
        ({"algorithm": "oft", "rank_dropout": 0.5}, ["/rank_dropout"]),
        ({"module_dropout": 1.0}, ["/module_dropout"]),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_place_by_place(
    api: httpx.Client, dataset: str, storage: Storage, fields: dict[str, Any], places: list[str]
) -> None:
    answer = api.post("/v1/trainings", json=body(dataset, **fields))
    assert answer.status_code in (404, 422), answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == places
    assert list(storage.keys("to-train")) == []


def test_a_dataset_has_several_pictures_and_a_caption_for_each(api: httpx.Client, storage: Storage) -> None:
    alone = kept(storage, PICTURES[0])
    assert api.post("/v1/trainings", json=body(alone)).json()["errors"][0]["code"] == "dataset_too_small"
    silent = kept(storage, *PICTURES[:2], PICTURES[2].model_copy(update={"caption": None, "name": "third.png"}))
    refused = api.post("/v1/trainings", json=body(silent)).json()["errors"][0]
    assert refused["code"] == "caption_missing" and "third.png" in refused["message"]
    assert api.post("/v1/trainings", json=body(silent, default_caption="a drawing")).status_code == 202


def test_it_may_begin_from_an_adapter_of_its_algorithm_and_rank(
    api: httpx.Client, dataset: str, storage: Storage, redis: Redis
) -> None:
    catalog = Catalog(storage, redis)
    for name, sha256, found in (("mine", "1" * 64, {"lokr": 3}), ("other", "2" * 64, {"lora": 3})):
        made = version(name).model_copy(update={"sha256": sha256})
        catalog.admit(made, {"emoji-64": {"algorithms": found, "ranks": [2, 4]}})
    begun = api.post("/v1/trainings", json=body(dataset, start="mine")).json()
    assert begun["request"]["start"] == f"sha256:{'1' * 64}" and begun["request"]["rank"] == 4
    for fields, code, said in (
        ({"start": "other"}, "start_of_another_algorithm", "made of lora, which lokr does not train"),
        ({"start": "mine", "rank": 16}, "start_of_another_rank", "was trained with 2, 4"),
        ({"start": "mime"}, "adapter_unknown", "mine"),
    ):
        (wrong,) = api.post("/v1/trainings", json=body(dataset, **fields)).json()["errors"]
        assert wrong["code"] == code and said in wrong["message"], wrong
    where = f"/v1/trainings/{begun['id']}"
    api.delete(where)
    assert api.post(f"{where}/resume").json()["code"] == "start_deleted"  # not accepted to fail later
    storage.put(file_key("1" * 64), b"sent again")
    assert api.post(f"{where}/resume").status_code == 202


def test_a_dataset_that_a_training_needs_is_not_deleted(api: httpx.Client, dataset: str) -> None:
    where = api.post("/v1/trainings", json=body(dataset)).headers["location"]
    needed = api.delete(f"/v1/datasets/{dataset}")
    assert needed.status_code == 409 and needed.json()["code"] == "dataset_needed"
    api.post(f"{where}/cancel")
    assert api.delete(f"/v1/datasets/{dataset}").status_code == 204


def test_of_a_training_and_the_deletion_of_its_dataset_at_one_moment_neither_is_lost(
    api: httpx.Client, dataset: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, accept = Datasets.delete, Trainings.accept

    def accepted_first(datasets: Datasets, ref: str) -> None:
        api.post("/v1/trainings", json=body(dataset))
        delete(datasets, ref)

    with monkeypatch.context() as patch:
        patch.setattr(Datasets, "delete", accepted_first)
        assert api.delete(f"/v1/datasets/{dataset}").json()["code"] == "dataset_needed"
    assert Datasets(storage).get(dataset)

    def deleted_first(trainings: Trainings, *given: Any) -> Training:
        delete(Datasets(storage), dataset)
        return accept(trainings, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainings, "accept", deleted_first)
        assert api.post("/v1/trainings", json=body(dataset)).status_code == 202
    assert Datasets(storage).get(dataset)


def test_a_dataset_tells_at_which_sizes_it_would_be_trained(api: httpx.Client, storage: Storage) -> None:
    wide = PICTURES[1].model_copy(update={"width": 640, "height": 320, "repeats": 3})
    ref = kept(storage, PICTURES[0], wide)
    buckets = api.get(f"/v1/datasets/{ref}").json()["report"]["buckets"]
    assert buckets["64×64"] == 1 and sum(buckets.values()) == 4 and len(buckets) == 2
    assert api.get(f"/v1/datasets/{ref}", params={"model": "another"}).status_code == 404


def test_a_name_that_cannot_be_is_refused_in_a_sentence(api: httpx.Client, dataset: str) -> None:
    for field, value, word in (("name", "My Style!", "lower-case"), ("dataset", "my-pictures", "POST /v1/datasets")):
        fault = api.post("/v1/trainings", json=body(dataset) | {field: value}).json()["errors"][0]
        assert fault["pointer"] == f"/{field}" and word in fault["message"] and "match pattern" not in fault["message"]


def test_every_algorithm_tells_what_it_takes(api: httpx.Client, dataset: str) -> None:
    found = api.get("/v1/trainings/algorithms").json()["algorithms"]
    assert {"lora", "locon", "lokr"} <= {one["name"] for one in found}
    plain = {"name": "style", "dataset": dataset}
    assert api.post("/v1/trainings", json=plain).json()["request"]["algorithm"] == "lora"  # where none is named
    for one in found:
        answer = api.post("/v1/trainings", json=body(dataset, algorithm=one["name"], rank=4))
        assert (answer.status_code == 202) is (bool(one["rank"]) and not one["untrainable"]), answer.text


def test_an_algorithm_has_the_numbers_of_the_base(api: httpx.Client, storage: Storage, settings: Settings) -> None:
    asked = api.get("/v1/trainings/algorithms").json()
    (lora,) = (one for one in asked["algorithms"] if one["name"] == "lora")
    assert (asked["model"], lora["learning_rate"], lora["default_rank"]) == ("emoji-64", 1e-4, 16)
    assert "1e-4 for LoRA" in lora["why_rate"]
    assert api.get("/v1/trainings/algorithms", params={"model": "another"}).status_code == 404


def test_the_rate_of_loha_follows_its_rank_and_doras_what_it_is_over(api: httpx.Client, dataset: str) -> None:
    asked = [body(dataset, algorithm="loha", rank=rank) for rank in (2, 16)]
    rates = [api.post("/v1/trainings", json=one).json()["request"]["learning_rate"] for one in asked]
    assert rates == [1.6e-4, 2e-5]
    for over, rate in (("lora", 1e-4), ("lokr", 1e-4), ("loha", 1.6e-4)):  # DoRA's is that of what turns the weight
        asked = body(dataset, algorithm="dora", rank=2, options={"over": over})
        assert api.post("/v1/trainings", json=asked).json()["request"]["learning_rate"] == rate


def test_a_dry_run_accepts_nothing(api: httpx.Client, dataset: str, storage: Storage, settings: Settings) -> None:
    asked = {"json": body(dataset, seed=7), "params": {"dry_run": "true"}}
    assert api.post("/v1/trainings", **asked).json()["code"] == "model_not_ready"
    layer = BaseLayer(component="unet", path="down_blocks.0.to_q", kind="linear", shape=(8, 12), bias=True)
    layers = BaseLayers(fingerprint=profile().fingerprint, untrainable="", flow=False, size_bytes=1000, layers=[layer])
    Profiles(storage, settings).publish(profile(), {"unet": {}}, [layers])
    answer = api.post("/v1/trainings", **asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["request"]["seed"] == 7 and answer.json()["parameters"] > 0
    assert list(storage.keys("to-train")) == []


def test_an_adapter_that_is_written_wrong_is_told_how(api: httpx.Client, dataset: str) -> None:
    (error,) = api.post("/v1/trainings", json=body(dataset, start="A b")).json()["errors"]
    assert error["pointer"] == "/start" and error["message"].startswith("an adapter is named as `name`")


def test_one_key_means_one_training(api: httpx.Client, dataset: str) -> None:
    key = {"Idempotency-Key": "key"}
    first, again = (api.post("/v1/trainings", json=body(dataset), headers=key).json()["id"] for _ in range(2))
    assert first == again
    assert api.post("/v1/trainings", json=body(dataset, rank=4), headers=key).status_code == 409


def test_it_is_canceled_and_gone_on_with(api: httpx.Client, dataset: str, trainings: Trainings) -> None:
    where = api.post("/v1/trainings", json=body(dataset, seed=7)).headers["location"]
    assert api.post(f"{where}/resume").status_code == api.post(f"{where}/extend", json={"steps": 5}).status_code == 409
    assert api.delete(where, params={"keep": True}).json()["code"] == "nothing_learned"
    canceled = api.delete(where).json()
    assert canceled["status"] == "canceled" and api.post(f"{where}/cancel").json() == canceled
    resumed = api.post(f"{where}/resume").json()
    assert resumed["request"] == canceled["request"] | {"continues": canceled["id"]}
    trainings.end_with(trainings.get(resumed["id"]), MADE)
    ended = api.get(f"/v1/trainings/{resumed['id']}").json()
    assert ended["status"] == "succeeded" and ended["adapter"]["name"] == "style"
    assert api.post(f"/v1/trainings/{resumed['id']}/cancel").json()["training"] == ended
    extended = api.post(f"/v1/trainings/{resumed['id']}/extend", json={"steps": 5}).json()
    assert extended["request"] == ended["request"] | {"continues": ended["id"], "steps": 305}


def test_one_key_means_one_going_on(api: httpx.Client, dataset: str, trainings: Trainings) -> None:
    where = api.post("/v1/trainings", json=body(dataset)).headers["location"]
    api.post(f"{where}/cancel")
    key = {"Idempotency-Key": "resume"}
    first, again = (api.post(f"{where}/resume", headers=key).json()["id"] for _ in range(2))
    assert first == again
    trainings.end_with(trainings.get(first), MADE)
    longer, key = f"/v1/trainings/{first}/extend", {"Idempotency-Key": "extend"}
    one, same, other = (api.post(longer, json={"steps": steps}, headers=key) for steps in (5, 5, 6))
    assert one.json()["id"] == same.json()["id"]
    assert other.status_code == 409 and other.json()["code"] == "idempotency_key_reused"


def test_a_checkpoint_is_published_whatever_became_of_its_training(
    api: httpx.Client, dataset: str, trainings: Trainings, redis: Redis, settings: Settings, storage: Storage
) -> None:
    training = api.post("/v1/trainings", json=body(dataset)).json()["id"]
    trainings.courses.saved(training, 30, 0.5, b"adapter of step 30")
    storage.put(sample_key(training, 30, 0), b"png")
    trainings.show(training, trainings.drawn(training))
    trainings.fail(trainings.get(training), "training_diverged", "the loss is nan at step 31")
    shown = api.get(f"/v1/trainings/{training}").json()
    assert [(one["step"], one["loss"]) for one in shown["checkpoints"]] == [(30, 0.5)]
    assert shown["checkpoints"][0]["samples"] == shown["pictures"] != []
    where, headers = f"/v1/trainings/{training}/publish", {"Prefer": "respond-async", "Idempotency-Key": "p"}
    published = [api.post(where, json={"step": 30}, headers=headers) for _ in range(2)]
    assert [one.status_code for one in published] == [202, 202] and published[0].json() == published[1].json()
    upload = Uploads(storage, redis, settings).get(published[0].json()["id"])
    assert (upload.name, storage.get(bytes_key(upload.id))) == ("style", b"adapter of step 30")
    unknown = api.post(where, json={"step": 31}).json()
    assert unknown["code"] == "checkpoint_unknown" and "30" in unknown["detail"]


def test_what_has_ended_is_removed_with_all_that_is_its_own(
    api: httpx.Client, dataset: str, trainings: Trainings, storage: Storage
) -> None:
    where = api.post("/v1/trainings", json=body(dataset)).headers["location"]
    training = where.rpartition("/")[2]
    trainings.courses.saved(training, 30, 0.5, b"adapter")
    storage.put(f"{checkpoint_folder(folder_of(training))}/0000030-{'e' * 16}.safetensors", b"checkpoint")
    assert api.delete(where).json()["status"] == "canceled"
    resumed = api.post(f"{where}/resume").headers["location"]
    needed = api.delete(where)
    assert needed.status_code == 409 and needed.json()["code"] == "training_needed"
    assert api.delete(resumed, params={"keep": True}).status_code == 200  # it has what the one before has learned
    api.post(f"{resumed}/cancel")
    assert api.delete(where).status_code == 204 and api.get(where).json()["code"] == "training_deleted"
    assert list(storage.keys(folder_of(training))) == [manifest_key(training)]


def test_what_another_base_has_begun_is_not_gone_on_with(
    api: httpx.Client, dataset: str, storage: Storage, settings: Settings
) -> None:
    where = api.post("/v1/trainings", json=body(dataset)).headers["location"]
    api.delete(where)
    Profiles(storage, settings).publish(profile(fingerprint="1" * 64), {"unet": {}})
    until = time.monotonic() + 20
    while (answer := api.post(f"{where}/resume")).status_code == 202:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert answer.json()["code"] == "base_changed"


def test_its_events_end_with_it(api: httpx.Client, dataset: str, trainings: Trainings, redis: Redis) -> None:
    training = api.post("/v1/trainings", json=body(dataset)).json()["id"]
    trainings.cancel(training)
    assert '"canceled"' in api.get(f"/v1/trainings/{training}/events").text
    redis.flushall()
    assert '"canceled"' in api.get(f"/v1/trainings/{training}/events").text
    assert api.get(f"/v1/trainings/{'0' * 32}/events").status_code == 404


def test_a_sample_is_a_picture_or_not_there(api: httpx.Client, storage: Storage) -> None:
    storage.put(f"{folder_of('0' * 32)}/samples/0000030-1.png", b"png")
    assert api.get(f"/v1/trainings/{'0' * 32}/samples/30-1.png").content == b"png"
    for path in ("30-0.png", "31-1.png", "x-1.png", "30-1.jpg"):
        assert api.get(f"/v1/trainings/{'0' * 32}/samples/{path}").status_code in (404, 422)


def test_a_record_that_cannot_be_read_is_cleared_away(
    api: httpx.Client, dataset: str, storage: Storage, redis: Redis
) -> None:
    training = api.post("/v1/trainings", json=body(dataset)).json()["id"]
    storage.put(f"to-train/{training}.json", b"{")
    redis.flushall()
    assert api.get("/v1/trainings").json()["trainings"] == []
    assert api.get(f"/v1/trainings/{training}").status_code == 502
    assert api.delete(f"/v1/trainings/{training}").status_code == 204
    assert api.get(f"/v1/trainings/{training}").status_code == 410
