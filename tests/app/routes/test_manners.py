"""HEAD, 304 and 206: the same as GET without its body, without what is known, or only in part."""

import random
import re
from collections.abc import Iterator
from hashlib import sha256

import httpx
import pytest
from redis import Redis

from app.routes.page import FOLDER, site
from app.shared.catalog import Catalog, file_key
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Status
from tests.app.shared.making import request, version

DATA = bytes(range(256)) * 9000  # more than one chunk of a stream


@pytest.fixture
def paths(api: httpx.Client, storage: Storage, redis: Redis, settings: Settings) -> Iterator[dict[str, str]]:
    """A picture, a file of an adapter, and a generation that goes on."""
    ledger = Ledger(storage, redis, settings)
    generation = ledger.accept(request())
    storage.put(image_key(generation.id, 0), DATA)
    one, _ = Catalog(storage, redis).admit(version("a", DATA), {})
    storage.put(file_key(one.sha256), DATA)
    yield {
        "picture": f"/v1/images/{generation.id}/0.png",
        "file": "/v1/adapters/a/file",
        "generation": f"/v1/generations/{generation.id}",
        "events": f"/v1/generations/{generation.id}/events",
    }
    ledger.finish(generation.model_copy(update={"status": Status.CANCELED}))


def test_head_says_what_get_says(api: httpx.Client, paths: dict[str, str]) -> None:
    static = f"/static/{site().version}/main.js"
    plain = [
        "/",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/healthz",
        "/readyz",
        static,
        "/v1/models",
        "/v1/adapters/nobody",
    ]
    for path in [
        *plain,
        "/v1/generations",
        "/v1/adapters",
        *(paths[name] for name in ("picture", "file", "generation")),
    ]:
        get, head = api.get(path), api.head(path)
        told = [dict(answer.headers) for answer in (get, head)]
        for headers in told:
            for its_own in ("date", "x-request-id"):
                headers.pop(its_own)
        assert (head.status_code, told[1], head.content) == (get.status_code, told[0], b""), path
        assert "content-length" in head.headers, path
    assert api.head("/metrics").status_code == 200


def test_head_of_a_stream_ends(api: httpx.Client, paths: dict[str, str]) -> None:
    answer = api.head(paths["events"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize("name", ["picture", "file"])
def test_what_is_known_is_not_sent_again(api: httpx.Client, paths: dict[str, str], name: str) -> None:
    tag = api.get(paths[name]).headers["etag"]
    assert tag == f'"{sha256(DATA).hexdigest()}"'
    for said in (tag, f"W/{tag}", f'"x", {tag}', "*", f'"a,b" ,{tag}'):
        answer = api.get(paths[name], headers={"If-None-Match": said})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag), said
    for said in ('"x"', tag.strip('"'), "", f'"{tag[1:-2]}"'):
        assert api.get(paths[name], headers={"If-None-Match": said}).status_code == 200, said


@pytest.mark.parametrize("name", ["picture", "file"])
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("Bytes = 5-", 5, len(DATA)),
        ("bytes=-7", len(DATA) - 7, len(DATA)),
        (f"bytes=-{10**18}", 0, len(DATA)),
        (f"bytes=1048570-{10**18}", 1048570, len(DATA)),
    ],
)
def test_a_part_is_that_part(
    api: httpx.Client, paths: dict[str, str], name: str, asked: str, start: int, end: int
) -> None:
    tag = api.head(paths[name]).headers["etag"]
    for more in ({}, {"If-Range": tag}):
        answer = api.get(paths[name], headers={"Range": asked} | more)
        assert (answer.status_code, answer.content) == (206, DATA[start:end])
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
        assert answer.headers["content-length"] == str(end - start)
    changed = api.get(paths[name], headers={"Range": asked, "If-Range": '"another"'})
    assert (changed.status_code, len(changed.content)) == (200, len(DATA))


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=5-2", "bytes=-", "items=0-1", "bytes=a-b", "x", "bytes=²-3"])
def test_a_range_that_is_not_served_gets_all(api: httpx.Client, paths: dict[str, str], asked: str) -> None:
    answer = api.get(paths["picture"], headers={"Range": asked.encode()})  # type: ignore[dict-item]
    assert (answer.status_code, answer.content) == (200, DATA)


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", f"bytes={10**18}-{10**18}", "bytes=-0"])
def test_a_range_beyond_the_end_is_a_416(api: httpx.Client, paths: dict[str, str], asked: str) -> None:
    for name in ("picture", "file"):
        answer = api.get(paths[name], headers={"Range": asked})
        assert (answer.status_code, answer.json()["code"]) == (416, "out_of_range")
        assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_a_download_that_breaks_off_anywhere_is_fetched_on(api: httpx.Client, paths: dict[str, str]) -> None:
    chance = random.Random(7)
    for _ in range(20):
        at = chance.randrange(len(DATA))
        end = chance.randrange(at, len(DATA))
        answer = api.get(paths["file"], headers={"Range": f"bytes={at}-{end}"})
        assert answer.content == DATA[at : end + 1]


def test_the_page_names_its_version_of_every_file(api: httpx.Client) -> None:
    page = api.get("/")
    assert page.headers["cache-control"] == "no-cache"
    assert api.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert not [link for link in links if link.startswith("/")], "they are relative"
    modules = {path.name for path in FOLDER.glob("*.js")}
    preloaded = re.findall(r'rel="modulepreload" href="static/[0-9a-f]+/([^"]+)"', page.text)
    assert set(preloaded) == modules and len(preloaded) == len(modules)
    for link in links:
        answer = api.get(f"/{link}")
        assert answer.status_code == 200, link
        if link.startswith("static/"):
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    kinds = {name: api.get(f"/static/{site().version}/{name}").headers["content-type"] for name in site().files}
    assert {kind.partition(";")[0] for kind in kinds.values()} == {"text/javascript", "text/css", "image/svg+xml"}


@pytest.mark.parametrize("path", ["0000000000000000/main.js", "main.js", "{}/index.html", "{}/..%2fmain.py", "{}/"])
def test_a_file_of_another_version_is_not_there(api: httpx.Client, path: str) -> None:
    answer = api.get(f"/static/{path.format(site().version)}")
    assert answer.status_code == 404 and "immutable" not in answer.headers.get("cache-control", "")


def test_scripts_of_the_documentation_are_named_one_by_one(api: httpx.Client) -> None:
    for path in ("/docs", "/docs/oauth2-redirect"):
        scripts = re.search(r"script-src ([^;]+);", api.get(path).headers["content-security-policy"])
        assert scripts and "sha256-" in scripts[1] and "unsafe" not in scripts[1], path
    assert "unsafe" not in api.get("/").headers["content-security-policy"]
