"""Every route has its rule, and whoever does not meet it learns nothing there."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.callers import COOKIE, Callers
from app.http.permissions import ADMIN, RULES, Permissions, methods_of
from app.main import create_app
from app.shared.keys import Keyring
from app.shared.lifecycle import now
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.wire.key import SCOPES

NOBODYS = "rad_" + "0" * 12 + "_" + "A" * 43


class Gate:
    """The whole application over a folder of keys, with nothing behind its routes."""

    def __init__(self, folder: Path) -> None:
        self.app = create_app(Settings(data_dir=folder, redis_url="redis://127.0.0.1:1/0"))  # type: ignore[arg-type, call-arg]
        storage = Storage(folder.as_uri() + "/store")
        self.keyring = Keyring(storage)
        self.of = {scope: self.keyring.add([scope])[1] for scope in SCOPES}
        _, self.expired = self.keyring.add(SCOPES, expires_at=now() - timedelta(seconds=1))
        revoked, self.revoked = self.keyring.add(SCOPES)
        self.keyring.revoke(revoked)
        signer, later = Signer(storage), "9999999999"
        self.session = f"{revoked}.{later}.{signer.sign(COOKIE, revoked, later)}"
        self.over = f"{revoked}.1.{signer.sign(COOKIE, revoked, '1')}"
        limits = SimpleNamespace(request=self._unlimited)
        service = SimpleNamespace(callers=Callers(self.keyring, signer), limits=limits, scripts=None)
        service.seen_by = lambda _: service
        self.app.state.service = service

    async def _unlimited(self, _: object) -> None:
        """No limit is set."""

    async def ask(self, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=headers)


def code_of(answer: httpx.Response) -> str:
    """The code of a problem, in whichever shape it is told."""
    told = answer.json()
    inner = told.get("error")
    return (inner if isinstance(inner, dict) else told).get("code") or told.get("error_type") or told["error"]


@pytest.fixture
def anyio_backend() -> str:
    """That of the service."""
    return "asyncio"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("keys"))


def routes(app: Any) -> Iterator[tuple[str, str]]:
    for one in app.routes:
        yield from ((method, one.path) for method in methods_of(one))


def test_every_route_has_a_rule_and_every_rule_a_route(gate: Gate) -> None:
    assert {f"{method} {path}" for method, path in routes(gate.app)} == set(RULES)


def test_a_route_without_a_rule_is_for_admins(gate: Gate) -> None:
    new = SimpleNamespace(path="/v1/new", path_regex=re.compile("^/v1/new$"), methods={"GET"})
    assert Permissions([new]).rule("GET", "/v1/new") is ADMIN


@pytest.mark.anyio
@pytest.mark.parametrize("route", RULES)
async def test_who_does_not_meet_the_rule_is_turned_away(gate: Gate, route: str) -> None:
    method, template = route.split()
    path = re.sub(r"\{[^}]*\}", "0" * 32, template)
    rule = RULES[route]
    strangers = {
        "key_missing": {},
        "key_unknown": {"Authorization": f"Bearer {NOBODYS}"},
        "key_expired": {"X-API-Key": gate.expired},
        "key_revoked": {"Authorization": f"bearer {gate.revoked}"},
        "key_twice": {"Authorization": f"Bearer {gate.of['admin']}", "X-API-Key": gate.of["draw"]},
        "session_over": {"Cookie": f"{COOKIE}={gate.over}"},
    }
    others = [
        {"Authorization": "Basic YTpi"},
        {"X-API-Key": gate.of["draw"][:-1] + ("A" if gate.of["draw"][-1] != "A" else "B")},
        {"Cookie": f"{COOKIE}={gate.session}"},
        {"Cookie": f"{COOKIE}={gate.session[:-1]}0"},
        {"Cookie": f"{COOKIE}={gate.of['draw']}"},
    ]
    for code, headers in [*strangers.items(), *(("", one) for one in others)]:
        answer = await gate.ask(method, path, headers)
        if rule is None:
            assert answer.status_code != 401, headers
            continue
        assert answer.status_code == 401, (headers, answer.text)
        assert code in ("", code_of(answer))
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for scope, key in gate.of.items():
        answer = await gate.ask(method, path, {"Authorization": f"Bearer {key}"})
        meets = rule is None or scope in rule
        assert (answer.status_code not in (401, 403)) == meets, (scope, answer.status_code)
        if not meets:
            assert code_of(answer) == "scope_missing"


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/nowhere", "/v1/generations/", "//v1/models", "/static", "/v1/session/x"])
async def test_what_is_not_there_is_told_to_nobody_without_a_key(gate: Gate, path: str) -> None:
    assert (await gate.ask("GET", path, {})).status_code == 401
    known = await gate.ask("GET", path, {"X-API-Key": gate.of["draw"]})
    assert known.status_code in (404, 307)


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "TRACE"])
async def test_no_other_method_gets_around_it(gate: Gate, method: str) -> None:
    assert (await gate.ask(method, "/v1/generations", {})).status_code == 401
