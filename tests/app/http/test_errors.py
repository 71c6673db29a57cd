"""Every error a caller can meet has a stable code and says what to do."""

import ast
import re
from pathlib import Path

import httpx
import pytest
from redis.exceptions import RedisError

from app.shared import errors
from app.shared.errors import RadiataError

ROOT = Path(__file__).parents[3]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RadiataError)]


def raised() -> list[tuple[str, str, str]]:
    """(place, code, message) of every error of ours that a source file makes with a literal code."""
    firsts = {kind.__name__: 0 for kind in KINDS} | {"_wrong": 2}  # where the code stands
    found = []
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in firsts:
                code, message, *_ = [*node.args[firsts[node.func.id] :], None, None]
                if isinstance(code, ast.Constant) and message is not None:
                    found.append((f"{path.name}:{node.lineno}", str(code.value), ast.unparse(message)))
    return found


@pytest.mark.parametrize(("place", "code", "message"), raised(), ids=lambda value: value[:40])
def test_a_code_is_a_word_and_a_message_is_a_sentence(place: str, code: str, message: str) -> None:
    assert code == "moderated" or re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", code), f"{place}: {code}"
    assert message.startswith("str(") or message.isidentifier() or len(message.split()) >= 4, (
        f"{place}: {message} says too little"
    )


def test_the_sources_were_read() -> None:
    assert len(raised()) > 20


def test_a_queue_that_fails_in_the_middle_is_a_503_and_not_a_bug(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RedisError("gone")

    monkeypatch.setattr("app.shared.catalog.Catalog.newest", fails)
    answer = api.get("/v1/adapters")
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")


def test_a_bug_tells_nothing_of_the_inside(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("the password is hunter2")

    monkeypatch.setattr("app.shared.catalog.Catalog.newest", fails)
    answer = api.get("/v1/adapters")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "hunter2" not in answer.text and "Zero" not in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/generations", 405)])
def test_what_is_not_here_is_a_problem_too(api: httpx.Client, method: str, path: str, status: int) -> None:
    answer = api.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
