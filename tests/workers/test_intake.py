"""A file is judged once, in a process that may die: the worker lives on and says what happened."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image
from redis import Redis
from safetensors.torch import load as safetensors_load
from safetensors.torch import save

from app.accepting.generations import resolve
from app.deps import Service
from app.shared.catalog import Catalog, file_key
from app.shared.errors import AdapterRefused, BadRequest, Conflict, Newer, Unavailable
from app.shared.lifecycle import now
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.queue import INTAKE
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import CANCELED, Uploads, end_key
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.upload import Upload, UploadStatus
from lycoris import read
from tests.app.shared.making import profile, upload
from tests.workers import toy
from tests.workers.control.tiny_preprocessors import save_detector, save_dpt, save_vitpose
from workers import intake as module
from workers.adapters import uploaded
from workers.intake import Intake

PATIENCE_S = 240  # torch is loaded by a process of its own, on a machine that may be busy


def stage(uploads: Uploads, folder: Path, data: bytes, upload_id: str = "0" * 32) -> Upload:
    file = folder / "file"
    file.write_bytes(data)
    one = upload(upload_id, data)
    uploads.stage(one, file)
    return one


def test_what_fits_gets_its_name(
    intake: Intake, uploads: Uploads, storage: Storage, redis: Redis, tmp_path: Path
) -> None:
    data = toy.adapter(0)
    one = stage(uploads, tmp_path, data)
    intake.run(one.id)
    settled = uploads.get(one.id)
    assert (settled.status, settled.new, settled.version) == (UploadStatus.ADMITTED, True, 1)
    record = Catalog(storage, redis).record("something")
    assert (record.sha256, record.fits) == (hashlib.sha256(data).hexdigest(), ["emoji-64"])
    assert storage.get(file_key(record.sha256)) == data
    assert list(storage.keys("uploads")) == []


def test_a_map_of_a_hub_that_is_away_is_refused_and_others_do_not_wait(
    settings: Settings, storage: Storage, redis: Redis, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("workers.control.preprocessors.snapshot_download", away)
    monkeypatch.setattr(module, "limit_memory", lambda _: None)  # it is for forks
    ref = Pictures(storage).put(Image.new("RGB", (64, 64))).ref
    wanted = {"image": ref, "width": 64, "height": 64, "preprocess": "depth"}
    one = upload(content=(data := json.dumps(wanted).encode())).model_copy(update={"kind": "map"})
    uploads.stage(one, data)
    Intake(storage, redis, settings.model_copy(update={"preprocessors": {"depth": "owner/name"}})).run(one.id)
    settled = uploads.get(one.id)
    assert (settled.status, settled.code) == (UploadStatus.REFUSED, "preprocess_unavailable")
    assert "cannot be had right now" in (settled.message or "") and "ask again later" in (settled.message or "")


def test_a_model_that_a_fork_has_loaded_is_loaded_once_for_all_that_follow(
    settings: Settings, storage: Storage, redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved = {"depth": save_dpt, "person": save_detector, "pose": save_vitpose}
    named = {name: str(save(tmp_path / name)) for name, save in saved.items()}
    intake = Intake(storage, redis, settings.model_copy(update={"preprocessors": named}))
    # Storage has threads of its own, which a fork of this process has not
    monkeypatch.setattr(Pictures, "load", lambda *_: Image.new("RGB", (64, 64)))
    monkeypatch.setattr(Pictures, "keep", lambda *_: (None, True))
    asked = {"image": f"image:{'0' * 64}", "width": 64, "height": 64, "preprocess": "depth"}
    maps: Any = intake._maps  # pyright: ignore[reportPrivateUsage]

    def forked(call: Callable[[], object]) -> int:
        if (pid := os.fork()) == 0:
            status = 1
            with contextlib.suppress(BaseException):
                call()
                status = 0
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def make() -> None:
        intake._map(upload(), json.dumps(asked).encode())  # pyright: ignore[reportPrivateUsage]

    intake.prepare()
    assert forked(make) == 0 and not maps._models._held
    intake.prepare()
    assert [*maps._models._held] == ["depth"]
    monkeypatch.setitem(named, "depth", "nowhere")
    assert forked(make) == 0, "it was not loaded again"
    assert forked(lambda: maps.load("pose")) == 0, "after all that its parent has loaded, a fork loads another"


def test_an_upload_that_is_canceled_while_it_is_judged_gets_no_name(
    intake: Intake, uploads: Uploads, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = stage(uploads, tmp_path, toy.adapter(0))
    really = Intake._judge  # pyright: ignore[reportPrivateUsage]

    def judge(self: Intake, *given: Any) -> Any:
        uploads.cancel(one.id)
        return really(self, *given)

    monkeypatch.setattr(Intake, "_judge", judge)
    intake.run(one.id)
    assert uploads.get(one.id).status is UploadStatus.CANCELED
    assert [*storage.keys("names"), *storage.keys("uploads"), *storage.keys("adapters")] == []


@pytest.mark.parametrize(
    ("record", "ends"),
    [(b'{"format": 99}', Newer), (b"spoilt", None), (None, Unavailable)],
    ids=["newer", "spoilt", "gone"],
)
def test_where_no_model_can_be_read_a_file_is_not_judged(
    intake: Intake, uploads: Uploads, storage: Storage, tmp_path: Path, record: bytes | None, ends: type | None
) -> None:
    """It waits for a machine that can read one; what nobody can read is said."""
    one = stage(uploads, tmp_path, toy.adapter(0))
    storage.delete("models/emoji-64.json")
    if record is not None:
        storage.put("models/emoji-64.json", record)
    with pytest.raises(ends) if ends else contextlib.nullcontext():
        intake.run(one.id)
    found = uploads.get(one.id)
    expected = (UploadStatus.INSPECTING, None) if ends else (UploadStatus.REFUSED, "record_unreadable")
    assert (found.status, found.code) == expected


class Interrupted(Storage):
    """A storage that does something once, right before one of the calls that change it or look into it."""

    def __init__(self, inner: Storage, at: int, act: Callable[[], None]) -> None:
        self._wrapped, self._left, self._act = inner, at, act
        self.url = inner.url

    def __getattribute__(self, name: str) -> Any:
        if name not in ("put", "create", "get", "flush", "delete", "entries", "keys", "size", "copy", "take"):
            return super().__getattribute__(name)
        self._left -= 1
        if self._left == -1:
            self._act()
        return getattr(self._wrapped, name)


def test_a_cancel_at_any_moment_is_true_or_refused(
    uploads: Uploads,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is told that it was canceled finds no name and no upload; who is told that it is too late finds the name."""
    monkeypatch.setattr(module, "limit_memory", lambda _: None)
    answers: list[UploadStatus | None] = []

    def cancel() -> None:
        try:
            answers.append(uploads.cancel(one.id).status)
        except Conflict:
            answers.append(None)

    for moment in range(1000):
        one = stage(uploads, tmp_path, toy.adapter(moment), f"{moment:032x}")
        Intake(Interrupted(storage, moment, cancel), redis, settings).run(one.id)
        if len(answers) == moment:
            break  # it was over before
        named, settled = bool(list(storage.keys("names"))), uploads.get(one.id).status
        expected = (False, UploadStatus.CANCELED) if answers[-1] else (True, UploadStatus.ADMITTED)
        assert (named, settled) == expected, f"canceled before call {moment}"
        assert list(storage.keys("uploads")) == []
        if named:
            Catalog(storage, redis).delete("something")
            storage.delete("names/something/deleted.json")
    assert None in answers and UploadStatus.CANCELED in answers


def test_a_cancel_whose_api_died_half_way_is_one(
    intake: Intake, uploads: Uploads, storage: Storage, tmp_path: Path
) -> None:
    one = stage(uploads, tmp_path, toy.adapter(0))
    assert storage.create(end_key(one.id), CANCELED)
    assert uploads.get(one.id).status is UploadStatus.INSPECTING
    intake.run(one.id)
    assert uploads.get(one.id).status is UploadStatus.CANCELED
    assert [*storage.keys("names"), *storage.keys("uploads")] == []


def test_an_inspection_that_died_on_its_last_word_is_done_again(
    intake: Intake, uploads: Uploads, storage: Storage, tmp_path: Path
) -> None:
    one = stage(uploads, tmp_path, toy.adapter(0))
    assert uploads.to_be_named(one.id)
    with pytest.raises(Conflict, match="gets its name just now"):
        uploads.cancel(one.id)
    intake.run(one.id)
    assert uploads.get(one.id).status is UploadStatus.ADMITTED and list(storage.keys("uploads")) == []


def test_a_file_that_brings_embeddings_is_applied_whole_or_not_at_all(intake: Intake, uploads: Uploads) -> None:
    """The toy has no text encoder that could read them."""
    data = save(safetensors_load(toy.adapter(0)) | {"bundle_emb.word.string_to_param.*": torch.ones(1, toy.WIDTH)})
    with pytest.raises(AdapterRefused) as caught:
        intake.admit(data, "with-words", "", [], now())
    assert [(one["code"], one["subject"]) for one in caught.value.reasons] == [("no_component", "bundle_emb.word")]
    taken, _ = intake.admit(data, "with-words", "", ["bundle_emb.*"], now())
    assert taken.ignore == ["bundle_emb.*"]


def test_every_reason_is_given_at_once_of_layers_and_of_embeddings(intake: Intake, uploads: Uploads) -> None:
    layer = {"lora_unet_nowhere.diff": torch.ones(1, 1), "odd.tensor": torch.ones(1)}
    data = save(
        layer | {"bundle_emb.word.clip_l": torch.ones(1, toy.WIDTH), "bundle_emb.a.clip_l": torch.ones(1, 1, 1)}
    )
    with pytest.raises(AdapterRefused) as caught:
        intake.admit(data, "all-wrong", "", [], now())
    codes = sorted(str(one["code"]) for one in caught.value.reasons)
    assert codes == ["bad_shape", "no_component", "no_module", "unknown_tensor"]


def test_a_file_is_read_once_for_all_models(
    intake: Intake, storage: Storage, settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it fits just those that have the text encoder its embeddings are for."""
    layer = {"block.to_q.weight": [toy.WIDTH, toy.WIDTH]}
    names = {f"model-{width}": width for width in (4, toy.WIDTH, 16)}
    many = settings.model_copy(update={"models": dict.fromkeys(names, "bundled:emoji-64")})
    for name, width in names.items():
        shapes = {"unet": layer, "text_encoder": {"embeddings.token_embedding.weight": [9, width]}}
        Profiles(storage, many).publish(profile(name=name, components=["unet", "text_encoder"]), shapes)
    times = 0

    def counted(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        return read(*arguments)

    monkeypatch.setattr(uploaded, "read", counted)
    data = save(safetensors_load(toy.adapter(0)) | {"bundle_emb.word.clip_l": torch.ones(1, toy.WIDTH)})
    version, _ = Intake(storage, redis, many).admit(data, "with-words", "", [], now())
    assert (version.fits, times) == ([f"model-{toy.WIDTH}"], 1)


@pytest.mark.parametrize("names", [("of-unet", "of-transformer"), ("of-transformer", "of-unet")])
def test_a_verdict_belongs_to_a_file_and_a_model(
    storage: Storage, settings: Settings, redis: Redis, names: tuple[str, str]
) -> None:
    """A request for the one is not judged by the other, whichever was judged last, or is away when both are known."""
    many = settings.model_copy(update={"models": dict.fromkeys(names, "bundled:emoji-64")})
    profiles = {name: profile(name=name, components=[name.removeprefix("of-")]) for name in names}
    layer = {"block.to_q.weight": [toy.WIDTH, toy.WIDTH]}
    for one in profiles.values():
        Profiles(storage, many).publish(one, {one.components[0]: layer})
    components = {name: profiles[name].components for name in names}
    catalog = Catalog(storage, redis)
    for known in (many, many.model_copy(update={"models": {names[1]: "bundled:emoji-64"}})):
        Intake(storage, redis, known).admit(toy.adapter(0), "both", "", [], now())
        version, record = catalog.resolve("both"), catalog.record("both")
        assert version.components_of == components and version.components == ["transformer", "unet"]
        assert {name: list(one["components"]) for name, one in record.verdicts.items()} == components
        assert record.verdict == record.verdicts[names[0]]
    parts = {"settings": many, "profiles": Profiles(storage, many), "catalog": catalog, "pictures": Pictures(storage)}
    service = cast(Service, SimpleNamespace(**parts, may_hurry=True, liveness=SimpleNamespace(require=lambda _: None)))
    for name in names:
        for component in ("unet", "transformer"):
            use = {"ref": "both", "strengths": {component: 0.5}}
            body = GenerationRequest.model_validate({"prompt": "a", "model": name, "adapters": [use]})
            if name == f"of-{component}":
                assert resolve(service, body).adapters[0].strengths == {component: 0.5}
            else:
                with pytest.raises(BadRequest, match=f"does not change {component}, only {name[3:]}"):
                    resolve(service, body)


def test_an_inspection_that_is_done_again_admits_once(
    intake: Intake, uploads: Uploads, storage: Storage, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fork died between giving the name and saying so."""
    one = stage(uploads, tmp_path, toy.adapter(0))

    class Died(BaseException):
        pass

    def die(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Uploads, "settle", die)
        intake.run(one.id)
    intake.run(one.id)
    assert uploads.get(one.id).version == 1
    assert Catalog(storage, redis).record("something").versions == [1]


@pytest.mark.parametrize("data", [b"", b"no", toy.adapter(0)[:-1], toy.adapter(0).replace(b"to_q", b"to_k")])
def test_what_does_not_fit_leaves_nothing_but_the_reasons(
    intake: Intake, uploads: Uploads, storage: Storage, tmp_path: Path, data: bytes
) -> None:
    one = stage(uploads, tmp_path, data)
    before = set(storage.keys("adapters"))
    intake.run(one.id)
    settled = uploads.get(one.id)
    assert (settled.status, settled.code) == (UploadStatus.REFUSED, "adapter_refused")
    assert settled.reasons and settled.message
    assert set(storage.keys("adapters")) == before
    assert list(storage.keys("uploads")) == list(storage.keys("names")) == []


def test_bytes_that_are_gone_are_asked_for_again(
    intake: Intake, uploads: Uploads, storage: Storage, tmp_path: Path
) -> None:
    one = stage(uploads, tmp_path, toy.adapter(0))
    storage.delete(f"uploads/{one.id}.safetensors")
    intake.run(one.id)
    assert uploads.get(one.id).code == "upload_lost"


# What came with a model


# The real worker, on files that are too much for it

GREEDY = """
import sys, torch, workers.intake, workers.__main__ as program
really = workers.intake.opened
def opened(data, *arguments):
    if b"greedy" in data: bytearray(64 << 30)
    if b"tensor" in data: torch.empty(64 << 30, dtype=torch.uint8)
    if b"crash" in data: __import__("os").abort()
    return really(data, *arguments)
workers.intake.opened = opened
program.cli(["intake"])
"""


def test_a_file_that_kills_its_inspection_is_refused_and_the_worker_lives(
    uploads: Uploads, storage: Storage, redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    names = ("greedy", "tensor", "crash", "")
    staged = [
        stage(uploads, tmp_path, toy.adapter(0) if not name else name.encode(), str(number) * 32)
        for number, name in enumerate(names)
    ]
    assert settings.redis_url is not None
    environment = {
        **os.environ,
        "RADIATA_REDIS_URL": settings.redis_url.get_secret_value(),
        "RADIATA_DATA_DIR": str(settings.data_dir),
        "RADIATA_SWEEP_EVERY_S": "1",
        "RADIATA_LOG_LEVEL": "error",
    }
    worker = subprocess.Popen([sys.executable, "-c", GREEDY], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + PATIENCE_S
        while any(uploads.get(one.id).status is UploadStatus.INSPECTING for one in staged):
            assert worker.poll() is None, worker.stderr and worker.stderr.read()
            assert time.monotonic() < until, [uploads.get(one.id).status for one in staged]
            time.sleep(0.05)
    finally:
        worker.terminate()
        worker.communicate(timeout=20)
    codes = [uploads.get(one.id).code for one in staged]
    assert codes == ["inspection_died", "inspection_died", "inspection_died", None]
    assert uploads.get(staged[-1].id).status is UploadStatus.ADMITTED
    assert list(storage.keys("uploads")) == []
    assert uploads.queues.of(INTAKE).count == 0
