"""Rubbish of every kind: a problem with a stable code each time, and the next request works."""

import json
import pickle
import socket
import struct
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save

from app.shared.settings import MIB, Settings
from app.supervisor import Service
from tests import samples
from tests.e2e.drawing import FAST, draw, upload

BODIES: list[tuple[str, dict[str, Any], int, str]] = [
    ("empty prompt", {"prompt": ""}, 422, "invalid_request"),
    ("blank prompt", {"prompt": "  \n"}, 422, "invalid_request"),
    ("control characters", {"prompt": "a\x00b"}, 422, "invalid_request"),
    ("prompt too long", {"prompt": "apple " * 1000}, 422, "prompt_too_long"),
    ("unknown field", {"promt": "a"}, 422, "invalid_request"),
    ("width not of 8", {"width": 65}, 422, "invalid_request"),
    ("width zero", {"width": 0}, 422, "invalid_request"),
    ("too wide", {"width": 4096}, 422, "size_over_limit"),
    ("no steps", {"steps": 0}, 422, "invalid_request"),
    ("too many steps", {"steps": 100000}, 422, "steps_over_limit"),
    ("too many pictures", {"count": 1000}, 422, "count_over_limit"),
    ("negative seed", {"seed": -1}, 422, "invalid_request"),
    ("unknown sampler", {"sampler": "magic"}, 422, "sampler_unknown"),
    ("unknown model", {"model": "sdxl"}, 404, "model_unknown"),
    ("model as a path", {"model": "../../etc"}, 422, "invalid_request"),
    ("unknown adapter", {"adapters": [{"ref": "nobody"}]}, 404, "adapter_unknown"),
    ("unknown hash", {"adapters": [{"ref": "sha256:" + "0" * 64}]}, 404, "adapter_unknown"),
    ("unknown version", {"adapters": [{"ref": "bad-input:99"}]}, 404, "adapter_unknown"),
    ("adapter as a path", {"adapters": [{"ref": "../x"}]}, 422, "invalid_request"),
    ("same adapter twice", {"adapters": [{"ref": "bad-input"}, {"ref": "bad-input:1"}]}, 422, "adapter_twice"),
    ("huge strength", {"adapters": [{"ref": "bad-input", "strength": 1e30}]}, 422, "invalid_request"),
    ("strength in words", {"adapters": [{"ref": "bad-input", "strength": "much"}]}, 422, "invalid_request"),
    ("not its component", {"adapters": [{"ref": "bad-input", "strengths": {"unett": 1}}]}, 422, "component_unknown"),
    ("no such component", {"adapters": [{"ref": "bad-input", "strengths": {"vae": 1}}]}, 422, "component_unknown"),
    *(
        (what, {"adapters": [{"ref": "bad-input", **use}]}, 422, code)
        for what, use, code in (
            ("a schedule that begins late", {"schedule": [[0.1, 1.0]]}, "invalid_request"),
            ("a schedule that falls back", {"schedule": [[0.0, 1.0], [0.6, 0.5], [0.3, 1.0]]}, "invalid_request"),
            ("a step twice", {"schedule": [[0.0, 1.0], [0.0, 0.5]]}, "invalid_request"),
            ("a step after the last", {"schedule": [[0.0, 1.0], [1.0, 0.5]]}, "invalid_request"),
            ("a step that is no pair", {"schedule": [[0.0, 1.0, 2.0]]}, "invalid_request"),
            ("a schedule in words", {"schedule": "slowly"}, "invalid_request"),
            ("a huge strength at a step", {"schedule": [[0.0, 1e9]]}, "invalid_request"),
            ("too many steps of a strength", {"schedule": [[k / 999, 1.0] for k in range(99)]}, "invalid_request"),
            ("a schedule and a strength", {"schedule": [[0.0, 1.0]], "strengths": {"unet": 1.0}}, "invalid_request"),
            ("a block as a path", {"blocks": {"../down": 1.0}}, "invalid_request"),
            ("a block without a name", {"blocks": {"": 1.0}}, "invalid_request"),
            ("a block in words", {"blocks": {"down": "half"}}, "invalid_request"),
            ("a huge factor", {"blocks": {"down": 1e9}}, "invalid_request"),
            ("too many blocks", {"blocks": {f"up.{k}": 1.0 for k in range(99)}}, "invalid_request"),
            ("no ranks", {"rank": 0}, "invalid_request"),
            ("half a rank", {"rank": 1.5}, "invalid_request"),
            ("absurd ranks", {"rank": 10**6}, "invalid_request"),
            ("a block that the model lacks", {"blocks": {"middle": 1.0}}, "block_unknown"),
            ("a block beyond the last", {"blocks": {"down.9": 1.0}}, "block_unknown"),
        )
    ),
    ("an unknown way", {"apply": "loosely"}, 422, "invalid_request"),
]


@pytest.fixture(autouse=True)
def _an_adapter(http: httpx.Client) -> None:
    response = upload(http, samples.file("lora"), "bad-input")
    assert response.is_success, response.text


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    assert len(body["detail"]) > 10, "says what to do"
    return body


@pytest.mark.parametrize(("body", "status", "code"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_bad_request_is_refused_in_words(http: httpx.Client, body: dict[str, Any], status: int, code: str) -> None:
    problem(http.post("/v1/generations", json=FAST | body), status, code)


def test_a_refusal_of_a_block_lists_those_that_there_are(http: httpx.Client) -> None:
    adapters = [{"ref": "bad-input", "blocks": {"middle": 1.0}}]
    response = http.post("/v1/generations", json=FAST | {"adapters": adapters})
    assert "down.1, up" in problem(response, 422, "block_unknown")["detail"]


def test_steps_of_what_only_reads_the_prompt_are_refused(http: httpx.Client) -> None:
    only_text = {name: tensor for name, tensor in samples.tensors("lora").items() if name.startswith("lora_te")}
    assert upload(http, save(only_text), "only-text").is_success
    response = http.post("/v1/generations", json=FAST | {"adapters": [{"ref": "only-text", "schedule": [[0.0, 1.0]]}]})
    problem(response, 422, "schedule_without_denoiser")


def test_what_the_engine_would_refuse_is_refused_at_once(http: httpx.Client) -> None:
    assert upload(http, samples.file("loha"), "no-form").is_success
    cases: list[tuple[dict[str, Any], str, str, str]] = [
        ({"adapters": [{"ref": "no-form"}], "apply": "bypass"}, "bypass_impossible", "/apply", "resnets.1.conv2"),
        (
            {"adapters": [{"ref": "bad-input"}, {"ref": "no-form"}], "apply": "bypass", "stack_mode": "sequential"},
            "bypass_impossible",
            "/apply",
            "sequence",
        ),
        ({"adapters": [{"ref": "no-form", "rank": 2}]}, "rank_impossible", "/adapters/0/rank", "first 2 ranks"),
        (
            {"adapters": [{"ref": "bad-input", "blocks": {"down.0": 0.5}}]},
            "block_without_change",
            "/adapters/0/blocks/down.0",
            "down.0",
        ),
        ({"prompt": "apple " * 100}, "prompt_too_long", "/prompt", "tokens"),
        ({"negative_prompt": "apple " * 100}, "prompt_too_long", "/negative_prompt", "tokens"),
    ]
    for fields, code, place, said in cases:
        found = problem(http.post("/v1/generations", json=FAST | fields), 422, code)
        assert [one["pointer"] for one in found["errors"]] == [place] and said in found["detail"], found


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_strength_is_finite(http: httpx.Client, number: str) -> None:
    text = json.dumps(FAST | {"adapters": [{"ref": "bad-input", "strength": 0.5}]}).replace("0.5", number)
    response = http.post("/v1/generations", content=text, headers={"content-type": "application/json"})
    problem(response, 422, "invalid_request")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_a_request_is_refused(http: httpx.Client, content: bytes) -> None:
    response = http.post("/v1/generations", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)
    problem(response, response.status_code, response.json()["code"])


def test_a_huge_body_is_refused_before_it_is_read(http: httpx.Client) -> None:
    cap = Settings.model_fields["max_image_mb"].default * 4 // 3 + 2  # MiB, and more: a picture may be brought
    response = http.post("/v1/generations", json=FAST | {"prompt": "a" * (cap * MIB)})
    problem(response, 413, "too_large")
    sent_in_pieces = http.post("/v1/generations", content=(b"a" * MIB for _ in range(cap)))
    problem(sent_in_pieces, 413, "too_large")


def _with_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


GOOD = samples.tensors("lora")
UP = next(name for name in GOOD if name.endswith("lora_up.weight"))

FILES: list[tuple[str, bytes, str]] = [
    ("empty", b"", "upload_empty"),
    ("seven bytes", b"1234567", "adapter_refused"),
    ("cut short", samples.file("lora")[:-100], "adapter_refused"),
    ("one byte more", samples.file("lora") + b"x", "adapter_refused"),
    ("a pickle", pickle.dumps({"a": [1, 2, 3]}), "adapter_refused"),
    ("a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "adapter_refused"),
    ("absurd header length", _with_header(b"{}", 2**62), "adapter_refused"),
    ("header is no JSON", _with_header(b"{not json}"), "adapter_refused"),
    ("no tensors", _with_header(b"{}"), "adapter_refused"),
    ("NaN", save(GOOD | {UP: torch.full_like(GOOD[UP], float("nan"))}), "adapter_refused"),
    ("infinite", save(GOOD | {UP: torch.full_like(GOOD[UP], float("inf"))}), "adapter_refused"),
    ("an unknown tensor", save(GOOD | {"surprise": torch.zeros(2)}), "adapter_refused"),
    ("another shape", save(GOOD | {UP: torch.zeros(77, samples.RANK)}), "adapter_refused"),
    ("half a pair", save({name: t for name, t in GOOD.items() if name != UP}), "adapter_refused"),
    ("a path for a name", save({"../../etc/passwd.lora_up.weight": torch.zeros(2, 2)}), "adapter_refused"),
]


@pytest.mark.parametrize(("data", "code"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_bad_file_is_refused_and_leaves_nothing(http: httpx.Client, data: bytes, code: str) -> None:
    body = problem(upload(http, data, "bad-file"), 422, code)
    if code == "adapter_refused":
        assert body["errors"], "every reason is named"
    assert http.get("/v1/adapters/bad-file").status_code == 404


@pytest.mark.parametrize(
    "name", ["../x", "..", "a/b", "A", "", " ", "a\nb", "<b>bold</b>", "a" * 65, "-x", "sha256:aa", "a\x00b", "é"]
)
def test_a_name_is_a_plain_word(http: httpx.Client, name: str) -> None:
    problem(upload(http, samples.file("lora"), name), 422, "invalid_request")


def test_a_file_over_the_cap_is_refused(service: Service) -> None:
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 80)) as raw:
        raw.sendall(b"POST /v1/adapters HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/generations/nobody",
        "/v1/generations/" + "0" * 32,
        "/v1/generations/..%2f..%2fetc/events",
        "/v1/images/" + "0" * 32 + "/0.png",
        "/v1/images/../../etc/passwd",
        "/v1/images/%2e%2e/%2e%2e/pending.png",
        "/v1/adapters/uploads/" + "0" * 32,
        "/static/../main.py",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_a_404(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    problem(response, 404, response.json()["code"])


def test_after_all_that_the_next_request_works(http: httpx.Client) -> None:
    assert draw(http)["status"] == "succeeded"
