"""The wire is strict by construction: every field known, said once, and read in one way only."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import UploadFile
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, TypeAdapter

from app.http.routing import StrictRoute, parameters
from app.main import create_app
from app.shared.settings import Settings
from app.shared.storage import Storage

JSON = {"content-type": "application/json"}
LOOSE = {"/healthz", "/readyz", "/metrics"}  # probes send what they like, and nothing there obeys a field
NUMBERS = {"int", "float", "bool", "decimal"}


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[APIRoute]:
    folder = tmp_path_factory.mktemp("api")
    app = create_app(Settings(data_dir=folder, redis_url="redis://127.0.0.1:1/0"))  # type: ignore[arg-type, call-arg]
    found = [context.original_route for context in iter_route_contexts(app.routes)]
    return [one for one in found if isinstance(one, APIRoute) and one.include_in_schema and one.path not in LOOSE]


def schemas(inner: Any) -> Iterator[dict[str, Any]]:
    """Every schema of pydantic's core in another."""
    if isinstance(inner, dict):
        if "type" in inner:
            yield inner
        for key, value in inner.items():
            if key not in ("metadata", "serialization", "cls"):
                yield from schemas(value)
    elif isinstance(inner, list | tuple):
        for value in inner:
            yield from schemas(value)


def loose(core: Any) -> list[str]:
    """What of a type would be read as something else than was said; core: pydantic's schema of it."""
    found = [one["type"] for one in schemas(core) if one["type"] in NUMBERS and not one.get("strict")]
    fields = [one for one in schemas(core) if one["type"] in ("model-fields", "typed-dict", "dataclass-args")]
    models = [one for one in schemas(core) if one["type"] == "model"]
    forbidding = [one for one in models if one.get("config", {}).get("extra_fields_behavior") == "forbid"]
    return found + ["extra fields"] * (len(fields) - len(forbidding))


def test_every_route_is_strict(routes: list[APIRoute]) -> None:
    assert len(routes) > 10
    assert [one.path for one in routes if not isinstance(one, StrictRoute)] == []


@pytest.mark.parametrize("part", ["query", "header", "path", "body"])
def test_whatever_a_route_takes_is_read_in_one_way(routes: list[APIRoute], part: str) -> None:
    fields = [(route.path, one) for route in routes for one in parameters(route.dependant, part)]
    assert fields
    for path, one in fields:
        if one.field_info.annotation is not UploadFile:
            assert loose(one._type_adapter.core_schema) == [], f"{path} takes {one.alias} in more than one way"


def test_what_is_loose_is_seen() -> None:
    class Inner(BaseModel):
        size: int

    kinds: list[Any] = [Inner, int | None, str]
    found = [loose(TypeAdapter(kind).core_schema) for kind in kinds]
    assert found == [["int", "extra fields"], ["int"], []]


def faults(answer: httpx.Response, status: int = 422) -> dict[str, str]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return {one["pointer"]: one["code"] for one in answer.json()["errors"]}


QUERIES = [
    ("limt=1", {"/query/limt": "extra_forbidden"}),
    ("limit=1&limit=2", {"/query/limit": "said_twice"}),
    ("limit=1&LIMIT=2&limit=3", {"/query/limit": "said_twice", "/query/LIMIT": "extra_forbidden"}),
    ("limit=%201_0%20", {"/query/limit": "int_type"}),
    ("limit=+5", {"/query/limit": "int_type"}),
    ("limit=1.0", {"/query/limit": "int_type"}),
    ("limit=%D9%A3", {"/query/limit": "int_type"}),
    ("limit=201", {"/query/limit": "less_than_equal"}),
    ("limit=0x10", {"/query/limit": "int_type"}),
    ("limit", {"/query": "not_a_query"}),
    ("limit=%ff", {"/query": "not_a_query"}),
    ("limit=true", {"/query/limit": "int_type"}),
]


def test_a_query_is_obeyed_or_refused(api: httpx.Client) -> None:
    for query, places in QUERIES:
        assert faults(api.get(f"/v1/generations?{query}")) == places, query


def test_the_nearest_name_is_told_and_the_allowed_ones(api: httpx.Client) -> None:
    (one,) = api.get("/v1/generations?limt=1").json()["errors"]
    assert "did you mean 'limit'" in one["message"] and {"before", "limit"} <= {*one["allowed"]}
    (one,) = api.get("/v1/generations?limit=0").json()["errors"]
    assert one["allowed"] == {"type": "integer", "minimum": 1, "maximum": 200}
    (one,) = api.post("/v1/generations", json={"prompt": "a", "smapler": "x"}).json()["errors"]
    assert "did you mean 'sampler'" in one["message"] and "sampler" in one["allowed"]


def test_no_route_drops_a_query(api: httpx.Client, routes: list[APIRoute]) -> None:
    for route in routes:
        for method in route.methods or ():
            path = route.path_format.format_map(dict.fromkeys(route.param_convertors, "x"))
            assert "/query/surprise" in faults(api.request(method, f"{path}?surprise=1")), f"{method} {path}"


def test_a_header_is_sent_once(api: httpx.Client) -> None:
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    assert faults(api.post("/v1/generations", json={"prompt": "a"}, headers=headers)) == {
        "/header/idempotency-key": "said_twice"
    }


def test_json_is_said_to_be_json(api: httpx.Client) -> None:
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"):
        headers = {} if kind is None else {"content-type": kind}
        assert faults(api.post("/v1/generations", content=b'{"prompt": "a"}', headers=headers), 415) == {"": "not_json"}
    for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"):
        answer = api.post("/v1/generations", content=b'{"prompt": "a"}', headers={"content-type": kind})
        assert answer.status_code == 202, kind


MISREAD = [
    *(
        (field, text)
        for field in ("seed", "count", "steps", "width")
        for text in ("true", '"1"', '" 1_0 "', "1.5", "[8]", "1e400")
    ),
    *(("guidance_scale", text) for text in ("true", '"1"', "[1]", "{}", "1e999")),
    *(("prompt", text) for text in ("1", "true", '["a"]')),
]


def test_no_value_is_read_as_another(api: httpx.Client, storage: Storage) -> None:
    for field, text in MISREAD:
        body = json.dumps({"prompt": "a", field: "here"}).replace('"here"', text)
        answer = api.post("/v1/generations", content=body, headers=JSON)
        assert list(faults(answer)) == [f"/{field}"], body
    assert list(storage.keys("pending")) == []


def test_a_whole_number_may_be_written_with_a_point(api: httpx.Client) -> None:
    answer = api.post("/v1/generations", content='{"prompt": "a", "steps": 2.0, "seed": 7e0}', headers=JSON)
    assert (answer.json()["request"]["steps"], answer.json()["request"]["seed"]) == (2, 7)


def form(api: httpx.Client, parts: list[tuple[str, Any]]) -> httpx.Response:
    return api.post("/v1/adapters", files=parts)


NAME, FILE = ("name", (None, b"a")), ("file", ("x", b"bytes"))


FORMS = [
    ([NAME, FILE, ("descripton", (None, b"x"))], {"/descripton": "extra_forbidden"}),
    ([NAME, NAME, FILE], {"/name": "said_twice"}),
    ([NAME, FILE, FILE], {"/file": "said_twice"}),
    ([NAME, ("file", (None, b"bytes"))], {"/file": "not_a_file"}),
    ([("name", ("x", b"a")), FILE], {"/name": "not_text"}),
    ([FILE], {"/name": "missing"}),
    ([NAME], {"/file": "missing"}),
    ([NAME, FILE, ("ignore", (None, "\u200b".encode()))], {"/ignore/0": "blank"}),
    ([NAME, FILE, ("ignore", (None, b"a")), ("ignore", (None, b"\xc2\x9b"))], {"/ignore/1": "control_characters"}),
    ([NAME, FILE, ("description", (None, b"\xc2\x85"))], {"/description": "control_characters"}),
]


def test_a_form_is_obeyed_or_refused(api: httpx.Client, storage: Storage) -> None:
    for parts, places in FORMS:
        assert faults(form(api, parts)) == places, parts
    assert list(storage.keys("uploads")) == []


def test_a_list_of_a_form_may_be_said_more_than_once(api: httpx.Client) -> None:
    answer = form(api, [NAME, FILE, ("ignore", (None, b"b")), ("ignore", (None, b"a"))])
    assert (answer.status_code, answer.json()["ignore"]) == (202, ["a", "b"])


def test_a_form_is_utf_8_and_said_to_be_one(api: httpx.Client) -> None:
    for part in (("name", (None, b"\xe4")), ("description", (None, b"\xff"))):
        assert faults(form(api, [FILE, part]), 400) == {"": "bad_request"}
    forms = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x; charset=latin-1")
    for kind in ("text/plain", *forms):  # JSON names a source
        answer = api.post("/v1/adapters", content=b"name=a", headers={"content-type": kind})
        assert faults(answer, 415) == {"": "not_a_form"}, kind
