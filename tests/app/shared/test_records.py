"""A record that cannot be read is told apart, and is read nowhere but in one place."""

import ast
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis import Redis

from app.shared.accepted import Accepted, AcceptedTraining
from app.shared.errors import Unreadable
from app.shared.records import KINDS, PENDING, PROFILE, VERSION, Kind, tell
from app.shared.wire.generation import Generation, Progress, Status
from app.shared.wire.training import Training, TrainingProgress
from app.shared.wire.upload import Download
from app.shared.wire.webhook import EVENTS, Delivery, StoredDelivery
from tests.app.shared.making import profile, request, training_request, upload, version

ROOT = Path(__file__).parents[3]
ID, SHA = "0" * 32, "0" * 64
GENERATION = Generation(
    id=ID, status=Status.QUEUED, progress=Progress(steps=3), request=request(), created_at=upload().created_at
)
ACCEPTED = Accepted(generation=GENERATION).model_dump_json()
TRAINING = Training(
    id=ID,
    status=Status.QUEUED,
    progress=TrainingProgress(steps=40),
    request=training_request(),
    created_at=upload().created_at,
)
TO_TRAIN = AcceptedTraining(training=TRAINING).model_dump_json()
DELIVERY = StoredDelivery(
    url="https://example.org/", delivery=Delivery(id=ID, event=EVENTS[0], url="", created_at=upload().created_at)
).model_dump_json()
WHOLE = {  # one of every kind
    f"pending/{ID}.json": ACCEPTED,
    f"generations/{ID}/manifest.json": ACCEPTED,
    f"deleted/{ID}.json": f'{{"id": "{ID}", "created_at": "2026-01-01T00:00:00Z", '
    '"deleted_at": "2026-01-01T00:00:00Z"}',
    f"to-train/{ID}.json": TO_TRAIN,
    f"trainings/{ID}/manifest.json": TO_TRAIN,
    f"trainings/{ID}/course.json": '{"steps": [{"step": 5, "loss": 0.5, "size_bytes": 3}], "notes": ["cut"]}',
    f"used/trainings/{ID}.json": f'{{"id": "{ID}", "used": {{"day": "2026-11-26", "steps": 40}}}}',
    "names/a/deleted.json": '{"last_version": 3}',
    "names/a/1.json": version("a").model_dump_json(),
    f"adapters/{SHA}.json": '{"models": {"a": {"components": {}}}}',
    f"adapters/{SHA}.facts.json": '{"ranked": true, "on": {}}',
    f"uploads/{ID}.json": upload().model_dump_json(),
    f"settled/{ID}.json": upload().model_dump_json(),
    f"fetching/{ID}.json": Download(upload=upload(), source="hf:owner/one").model_dump_json(),
    f"resumable/{ID}.json": f'{{"id": "{ID}", "owner": "", "kind": "adapter", "size_bytes": 4, "said": {{}}, '
    '"created_at": "2026-01-01T00:00:00Z"}',
    f"webhooks/due/{ID}.json": DELIVERY,
    f"webhooks/done/{ID}.json": DELIVERY,
    f"models/{profile().name}.shapes.json": '{"unet": {"weight": [1, 2]}}',
    f"models/{profile().name}.tokenizers.json": '{"fingerprint": "f", "tokenizers": []}',
    f"models/{profile().name}.sites.json": '{"fingerprint": "f", "sites": {"unet": {}}}',
    f"models/{profile().name}.layers.json": '{"fingerprint": "f", "untrainable": "", "flow": false, "size_bytes": 8, '
    '"layers": [{"component": "unet", "path": "a", "kind": "linear", "shape": [2, 2], "bias": true}]}',
    f"models/{profile().name}.denoiser.json": '{"fingerprint": "f", "component": "unet", "made": "U", "config": {}, '
    '"pixels": 8}',
    f"models/{profile().name}.json": profile().model_dump_json(),
    f"datasets/{SHA}.json": f'{{"ref": "dataset:{SHA}", "pictures": [], "created_at": "2026-01-01T00:00:00Z"}}',
    f"datasets/sent/{SHA}.json": f'{{"ref": "dataset:{SHA}"}}',
    "store.json": f'{{"id": "{ID}"}}',
    f"keys/{ID[:12]}.json": f'{{"id": "{ID[:12]}", "digest": "{SHA}", "scopes": ["draw"], '
    '"created_at": "2026-01-01T00:00:00Z"}',
    "secret.json": f'{{"secret": "{SHA}"}}',
    "audit/2026-11-26/1795733757000-0a1b2c3d.json": '{"at": "2026-11-26T00:00:00Z", "action": "key.added", '
    '"subject": "0a1b2c3d4e5f"}',
    "audit/settings.json": '{"settings": {"port": "8000"}}',
}
SPOILT = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"some": "other"}', b"[" * 100_000, b'"\xed\xa0\x80"', b"1e999"]
SPOILT += [b'{"wearing":' + b"[" * depth + b"]" * depth + b"}" for depth in (500, 100_000)]
LAX = f"adapters/{SHA}.json"  # a verdict may hold any field


def kind_of(key: str) -> Kind[object]:
    """The one kind that has such keys."""
    return next(kind for kind in KINDS if kind.keys.fullmatch(key))


def test_there_is_one_of_every_kind_here_and_each_is_read() -> None:
    assert [kind_of(key) for key in WHOLE] == list(KINDS)
    for key, text in WHOLE.items():
        assert kind_of(key).read(key, text) == kind_of(key).read(key, text.encode())


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("data", SPOILT, ids=lambda data: repr(data[:20]))
def test_what_is_no_record_is_unreadable_and_says_what_to_do(key: str, data: bytes) -> None:
    if key == LAX and data.startswith(b'{"some'):
        return
    with pytest.raises(Unreadable) as error:
        kind_of(key).read(key, data)
    assert error.value.key == key and repr(key) in error.value.message
    assert error.value.code == "record_unreadable"
    assert any(word in error.value.message for word in ("DELETE", "upload", "start a worker", "remove it", "revoke"))


@pytest.mark.parametrize("key", WHOLE)
@given(cut=st.floats(0, 1), at=st.floats(0, 1), byte=st.integers(0, 255))
@example(cut=1.0, at=0.0, byte=0)
def test_however_it_is_spoilt_it_is_read_or_unreadable(key: str, cut: float, at: float, byte: int) -> None:
    data = bytearray(WHOLE[key].encode())
    data[int(at * (len(data) - 1))] = byte
    for spoilt in (bytes(data), bytes(data[: int(cut * len(data))])):
        try:
            kind_of(key).read(key, spoilt)
        except Unreadable:
            continue


def test_a_record_of_another_is_unreadable() -> None:
    for kind, key, text in (
        (PENDING, f"pending/{'1' * 32}.json", ACCEPTED),
        (VERSION, "names/b/1.json", version("a").model_dump_json()),
        (VERSION, "names/a/2.json", version("a").model_dump_json()),
        (PROFILE, "models/another.json", profile().model_dump_json()),
    ):
        with pytest.raises(Unreadable, match="it says that it is"):
            kind.read(key, text)


def test_it_is_told_once_by_all_processes(redis: Redis, told: list[str]) -> None:
    error = Unreadable("record_unreadable", "the record cannot be read", key="pending/x.json", why="0 bytes")
    for _ in range(3):
        tell(redis, error)
    assert told == ["pending/x.json"]


def test_who_expects_that_a_text_is_no_json_expects_that_it_is_nested_too_deep() -> None:
    """`json.loads` raises RecursionError for 100 kB of brackets, which is no ValueError."""
    careless = []
    for path in [file for part in ("app", "workers", "lycoris") for file in (ROOT / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Try):
                caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
            elif isinstance(node, ast.With) and "suppress(" in ast.unparse(node.items[0]):
                caught = ast.unparse(node.items[0])
            else:
                continue
            read = "\n".join(map(ast.unparse, node.body))
            if ("json.loads(" in read or ".json()" in read) and "RecursionError" not in caught:
                careless.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not careless


def test_stored_json_is_parsed_nowhere_else() -> None:
    """`json.loads(storage.get(…))` would answer 500 to everybody for one empty file."""
    kinds = {"Accepted", "AdapterVersion", "Upload", "ModelProfile"}
    by_hand_at = []
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            call = ast.unparse(node)
            by_hand = node.func.attr in ("model_validate_json", "validate_json") and call.split(".")[0] in kinds
            if by_hand or (node.func.attr == "loads" and "storage" in call):
                by_hand_at.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not by_hand_at
