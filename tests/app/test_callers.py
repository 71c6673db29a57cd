"""Keys count within seconds, are kept as hashes, and are known while storage is away, for a minute."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from app.callers import ANYBODY, AWAY_S, FRESH_S, Callers
from app.shared.errors import RadiataError, Unavailable
from app.shared.generation_keys import pending_key
from app.shared.keys import Keyring, Ring, key_key
from app.shared.lifecycle import now
from app.shared.profiles import Profiles
from app.shared.records import PENDING
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.wire.key import SCOPES
from app.shared.wire.webhook import EVENTS, Webhook
from tests.app.conftest import serving
from tests.app.shared.making import profile


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Away(Keyring):
    """Keys whose storage can be away."""

    away = False

    def ring(self) -> Ring:
        if self.away:
            raise Unavailable("storage_unavailable", "storage does not answer at all")
        return super().ring()


@pytest.fixture
def kept(tmp_path: Path) -> Storage:
    return Storage(tmp_path.as_uri())


def code(callers: Callers, key: str | None) -> str:
    """The scopes of whoever shows a key, or the code of the refusal."""
    headers = Headers({"x-api-key": key} if key else {})
    try:
        return ",".join(sorted(asyncio.run(callers.caller(headers)).scopes))
    except RadiataError as error:
        return error.code


def test_a_key_counts_and_ends_within_seconds(kept: Storage) -> None:
    clock, keyring = Clock(), Keyring(kept)
    callers = Callers(keyring, Signer(kept), clock)
    assert asyncio.run(callers.caller(Headers())) is ANYBODY
    key_id, key = keyring.add(["draw"])
    clock.now += FRESH_S
    assert (code(callers, None), code(callers, key)) == ("key_missing", "draw")
    keyring.revoke(key_id)
    clock.now += FRESH_S
    assert (code(callers, None), code(callers, key)) == ("key_missing", "key_revoked")


def test_a_process_that_has_seen_a_key_is_never_open_again(kept: Storage) -> None:
    clock, keyring = Clock(), Keyring(kept)
    callers = Callers(keyring, Signer(kept), clock)
    key_id, key = keyring.add(["draw"])
    assert code(callers, key) == "draw"
    kept.delete(key_key(key_id))
    clock.now += FRESH_S
    assert (code(callers, None), code(callers, key)) == ("key_missing", "key_unknown")


def test_a_key_that_cannot_be_read_opens_nothing_and_closes_the_service(kept: Storage) -> None:
    kept.put(key_key("0" * 12), b"{")
    callers = Callers(Keyring(kept), Signer(kept))
    assert code(callers, None) == "key_missing"
    assert code(callers, "rad_" + "0" * 12 + "_" + "A" * 43) == "key_unknown"


@pytest.mark.parametrize("keys", [False, True])
def test_while_storage_is_away_what_was_known_holds_for_a_minute(kept: Storage, keys: bool) -> None:
    clock, keyring = Clock(), Away(kept)
    callers = Callers(keyring, Signer(kept), clock)
    keyring.away = True
    assert code(callers, None) == "keys_unavailable", "nothing was ever known"
    clock.now += FRESH_S
    keyring.away = False
    key = keyring.add(["draw"])[1] if keys else None
    known = code(callers, key)
    keyring.away = True
    clock.now += AWAY_S
    assert code(callers, key) == known
    clock.now += FRESH_S
    assert code(callers, key) == ("keys_unavailable" if keys else known)
    clock.now += FRESH_S
    keyring.away = False
    assert code(callers, key) == known


@pytest.mark.parametrize("keys", [False, True])
def test_while_storage_hangs_one_request_waits_for_it(
    kept: Storage, keys: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, keyring, answers = Clock(), Keyring(kept), threading.Event()
    key = keyring.add(["draw"])[1] if keys else ""
    callers = Callers(keyring, Signer(kept), clock)
    shown = Headers({"x-api-key": key})

    def hangs() -> Ring:
        answers.wait()
        return Keyring(kept).ring()

    async def asked() -> None:
        known = await callers.caller(shown)
        monkeypatch.setattr(keyring, "ring", hangs)
        clock.now += FRESH_S
        monkeypatch.setattr("app.callers.ANSWER_S", 0.01)
        assert await callers.caller(shown) == known
        monkeypatch.setattr("app.callers.ANSWER_S", 3600.0)
        try:
            async with asyncio.timeout(60):
                assert [await callers.caller(shown) for _ in range(9)] == [known] * 9
        finally:
            answers.set()

    asyncio.run(asked())


def test_nothing_that_is_stored_tells_a_key(kept: Storage) -> None:
    keyring = Keyring(kept)
    _, key = keyring.add(SCOPES, note="mine", expires_at=now() + timedelta(days=1))
    secret = key.split("_", 2)[2]
    assert len(secret) >= 43
    for stored in kept.keys(""):
        assert secret.encode() not in (kept.get(stored) or b"")


@pytest.fixture
def closed(settings: Settings, storage: Storage) -> Iterator[tuple[httpx.Client, str]]:
    """An API that needs a key, and one."""
    _, key = Keyring(storage).add(["draw"])
    with serving(settings) as client:
        yield client, key


def test_a_key_has_a_webhook_for_generations_that_name_none(settings: Settings, storage: Storage) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    own, other = (Webhook(url=f"https://example.org/{one}", events=EVENTS) for one in ("own", "other"))
    with_one, without = Keyring(storage).add(["draw"], webhook=own)[1], Keyring(storage).add(["draw"])[1]
    plain, naming = {"prompt": "a red apple"}, {"prompt": "a red apple", "webhook": other.model_dump()}
    once = {"Idempotency-Key": "once"}
    with serving(settings) as client:

        def told(key: str, body: dict[str, Any], **headers: str) -> Webhook | None:
            answer = client.post("/v1/generations", json=body, headers={"X-API-Key": key, **headers})
            assert "example.org" not in answer.text
            accepted = PENDING.get(storage, pending_key(answer.json()["id"]))
            return accepted.webhook if accepted else None

        assert [told(with_one, plain), told(without, plain), told(with_one, naming)] == [own, None, other]
        # It is no part of what was asked for: another key of the owner's may ask again
        assert told(with_one, plain, **once) == told(without, plain, **once) == own


def test_a_page_makes_a_session_of_a_key_and_ends_it(closed: tuple[httpx.Client, str]) -> None:
    client, key = closed
    assert client.get("/").status_code == 200
    assert client.get("/v1/models").status_code == 401
    assert client.post("/v1/session", json={"key": key[:-1]}).json()["code"] == "key_unknown"
    begun = client.post("/v1/session", json={"key": key})
    said = begun.headers["set-cookie"].lower()
    assert begun.status_code == 201 and begun.json()["scopes"] == ["draw"]
    assert "httponly" in said and "samesite=strict" in said and "path=/" in said and "secure" not in said
    assert key not in said
    assert client.get("/v1/models").status_code == 200, "by its cookie"
    assert client.get("/v1/session").json() == {"owner": "", "scopes": ["draw"]}
    assert client.get("/v1/workers").status_code == 403
    assert client.delete("/v1/session").status_code == 204
    assert client.get("/v1/models").status_code == 401
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/draw"}
    said = client.post("/v1/session", json={"key": key}, headers=forwarded).headers["set-cookie"]
    assert said.startswith("__Secure-radiata=") and "Secure" in said.split("; ") and "Path=/draw" in said


def test_the_password_of_a_proxy_in_front_is_no_key(closed: tuple[httpx.Client, str]) -> None:
    client, key = closed
    proxys, keys = httpx.BasicAuth("me", "open sesame"), httpx.BasicAuth("me", key)
    assert client.get("/v1/models", auth=proxys).json()["code"] == "key_missing"
    assert client.get("/v1/models", auth=proxys, headers={"X-API-Key": key}).status_code == 200
    assert client.get("/v1/models", auth=keys).status_code == 200
    wrong = httpx.BasicAuth("me", f"{key[:-8]}AAAAAAAA")
    assert client.get("/v1/models", auth=wrong).json()["code"] == "key_unknown"
    assert client.post("/v1/session", json={"key": key}).status_code < 300
    assert client.get("/v1/models", auth=proxys).status_code == 200


def test_over_tls_no_cookie_counts_but_one_that_this_host_has_set(closed: tuple[httpx.Client, str]) -> None:
    client, key = closed
    tls = {"X-Forwarded-Proto": "https"}
    said = client.post("/v1/session", json={"key": key}, headers=tls).headers["set-cookie"]
    name, _, value = said.partition(";")[0].partition("=")
    assert (name, "Path=/;" in said, "Secure" in said, "Domain" in said) == ("__Host-radiata", True, True, False)
    client.cookies.clear()
    for sent, status in ((name, 200), ("radiata", 401), ("__Secure-radiata", 401)):
        headers = {"Cookie": f"{sent}={value}", **tls}
        assert client.get("/v1/models", headers=headers).status_code == status, sent
    ended = client.delete("/v1/session", headers=tls).headers["set-cookie"]
    assert ended.startswith(f'{name}="";') and "Path=/;" in ended and "Secure" in ended


def test_probes_are_told_no_more_than_whether(closed: tuple[httpx.Client, str]) -> None:
    client, _ = closed
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz").json()
    assert (ready["ready"], ready["models"], ready["not_ready"], ready["other_bases"]) == (False, [], {}, {})


@pytest.mark.parametrize("header", ["X-Forwarded-For", "x-forwarded-host", "Forwarded", "X-Real-IP", "Via"])
def test_a_service_without_keys_is_not_opened_by_a_proxy(api: httpx.Client, header: str) -> None:
    answer = api.get("/v1/models", headers={header: "192.0.2.1"})
    assert (answer.status_code, answer.json()["code"]) == (403, "proxied_without_key")
    assert api.get("/healthz", headers={header: "192.0.2.1"}).status_code == 200


def test_an_open_service_may_stand_behind_a_proxy(settings: Settings) -> None:
    with serving(settings.model_copy(update={"open": True})) as client:
        assert client.get("/v1/models", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 200


def test_a_service_without_keys_has_no_sessions(api: httpx.Client) -> None:
    assert api.get("/v1/session").json()["scopes"] == sorted(SCOPES)
    answer = api.post("/v1/session", json={"key": "x"})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_keys")
    assert api.get("/v1/models", headers={"Authorization": "Bearer whatever"}).status_code == 200
