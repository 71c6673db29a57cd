"""The main job over real HTTP, Valkey and processes."""

import hashlib
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image

from tests.e2e.drawing import FAST, draw, picture, post, recipe, refused, wait
from workers.models.sources import find


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_picture_is_what_plain_diffusers_draws(http: httpx.Client) -> None:
    generation = draw(http, prompt="purple car", seed=11, steps=4, guidance_scale=2.5, negative_prompt="blue")
    pipeline = StableDiffusionPipeline.from_pretrained(
        find("bundled:emoji-64"), dtype=torch.float32, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    torch.set_num_threads(1)
    drawn: Any = pipeline(
        prompt="purple car",
        negative_prompt="blue",
        num_inference_steps=4,
        guidance_scale=2.5,
        generator=torch.Generator("cpu").manual_seed(11),
    )
    difference = np.abs(pixels(picture(http, generation)).astype(int) - np.asarray(drawn.images[0]).astype(int)).max()
    assert difference == 0, f"largest difference {difference}"


def test_the_generation_says_all_that_the_wire_promises(http: httpx.Client) -> None:
    generation = draw(http, count=2)
    assert (
        generation["request"] | {"prompt": "a red apple", "model": "emoji-64", "seed": 7, "steps": 3, "count": 2}
        == (generation["request"])
    )
    assert generation["progress"] == {"step": 6, "steps": 6}
    assert [image["seed"] for image in generation["images"]] == [7, 8]
    assert generation["created_at"] <= generation["started_at"] <= generation["finished_at"]
    assert set(generation["timings_ms"]) == {"queued", "load", "swap", "sample", "store", "total"}
    for index, image in enumerate(generation["images"]):
        data = picture(http, generation, index)
        assert hashlib.sha256(data).hexdigest() == image["sha256"]
        assert Image.open(io.BytesIO(data)).size == (image["width"], image["height"]) == (64, 64)


def test_a_picture_carries_its_recipe(http: httpx.Client) -> None:
    png = picture(http, draw(http))
    made = recipe(png)
    assert made["prompt"] == "a red apple"
    assert made["seed"] == 7
    assert made["versions"]["torch"] == torch.__version__


def test_the_second_picture_is_the_first_of_the_next_seed(http: httpx.Client) -> None:
    both = draw(http, count=2)
    alone = draw(http, seed=8)
    assert picture(http, both, 1) == picture(http, alone, 0)


@pytest.mark.parametrize("sampler", ["ddim", "euler", "euler_a", "dpmpp_2m", "unipc"])
def test_every_sampler_draws_the_same_twice(http: httpx.Client, sampler: str) -> None:
    first, second = (picture(http, draw(http, sampler=sampler)) for _ in range(2))
    assert first == second


def test_events_tell_the_whole_story_and_resume(http: httpx.Client) -> None:
    generation = post(http, steps=4)
    url = f"/v1/generations/{generation['id']}/events"
    told = list(events(http, url))
    assert [kind for _, kind, _ in told] == ["status", "status", *["progress"] * 4, "image", "status"]
    assert [data["step"] for _, kind, data in told if kind == "progress"] == [1, 2, 3, 4]
    assert told[-1][2]["status"] == "succeeded"
    again = list(events(http, url, after=told[3][0]))
    assert again == told[4:]


def events(http: httpx.Client, url: str, after: str | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    headers = {"Last-Event-ID": after} if after else {}
    found, current = [], {"id": "", "event": "", "data": ""}
    with http.stream("GET", url, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field in current:
                current[field] = value
            elif not line and current["data"]:
                found.append((current["id"], current["event"], json.loads(current["data"])))
                current = {"id": "", "event": "", "data": ""}
    return found


def test_an_idempotency_key_is_one_generation(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "the same apple"}
    first = post(http, headers, seed=None)
    second = post(http, headers, seed=None)
    assert first["id"] == second["id"]
    assert first["request"]["seed"] == second["request"]["seed"]
    wait(http, first["id"])
    assert post(http, headers, seed=None)["status"] == "succeeded"
    other = http.post("/v1/generations", json=FAST | {"prompt": "a pear"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_cancel_while_queued_and_between_steps(http: httpx.Client) -> None:
    running = post(http, steps=150)
    queued = post(http, steps=150)
    wait(http, running["id"], "running")
    assert http.get(f"/v1/generations/{queued['id']}").json()["queue_position"] == 0
    for generation in (queued, running):
        answer = http.post(f"/v1/generations/{generation['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    after = draw(http)  # the worker is free again
    assert after["timings_ms"]["queued"] < 30_000
    for generation in (queued, running):
        assert wait(http, generation["id"])["images"] == []
        again = http.post(f"/v1/generations/{generation['id']}/cancel")
        assert again.json()["status"] == "canceled"
    late = http.post(f"/v1/generations/{after['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "already_ended")
    assert late.json()["generation"] == after


def test_the_list_is_newest_first_and_pages(http: httpx.Client) -> None:
    made = [post(http, seed=seed)["id"] for seed in range(3)]
    seen, cursor = [], None
    while True:
        page = http.get("/v1/generations", params={"limit": 2} | ({"before": cursor} if cursor else {})).json()
        seen += [one["id"] for one in page["generations"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen[:3] == made[::-1]
    assert len(seen) == len(set(seen))
    for generation_id in made:
        wait(http, generation_id)


def test_a_prompt_that_the_model_cannot_read_whole_is_refused_in_words(http: httpx.Client) -> None:
    assert refused(http, prompt="an apple and " * 20)["code"] == "prompt_too_long"


def test_figures_and_readiness(http: httpx.Client) -> None:
    draw(http)
    assert http.get("/readyz").json()["ready"] is True
    text = http.get("/metrics").text
    assert "radiata_generations_succeeded_total" in text
    assert 'radiata_jobs_waiting{queue="generate.emoji-64"} 0.0' in text
    assert "radiata_workers 3.0" in text
