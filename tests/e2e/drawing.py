"""Posting and waiting, as every end-to-end test does."""

import io
import json
import time
from typing import Any

import httpx
from PIL import Image, ImageDraw

FAST = {"prompt": "a red apple", "seed": 7, "steps": 3, "guidance_scale": 3.0}
PATIENCE_S = 120.0


def post(http: httpx.Client, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """Have a quick generation accepted."""
    response = http.post("/v1/generations", json=FAST | body, headers=headers)
    assert response.status_code == 202, response.text
    return response.json()


def refused(http: httpx.Client, **body: Any) -> dict[str, Any]:
    """Have a quick generation refused; return the problem."""
    response = http.post("/v1/generations", json=FAST | body)
    assert response.status_code == 422, response.text
    return response.json()


def wait(http: httpx.Client, generation_id: str, *statuses: str) -> dict[str, Any]:
    """Poll until the generation has one of these statuses (by default, an end)."""
    wanted = statuses or ("succeeded", "failed", "canceled")
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        generation = http.get(f"/v1/generations/{generation_id}").json()
        if generation["status"] in wanted:
            return generation
        time.sleep(0.02)
    raise AssertionError(f"still {generation}")


def draw(http: httpx.Client, **body: Any) -> dict[str, Any]:
    """Draw a quick picture."""
    generation = wait(http, post(http, **body)["id"])
    assert generation["status"] == "succeeded", generation["error"]
    return generation


def picture(http: httpx.Client, generation: dict[str, Any], index: int = 0) -> bytes:
    """The PNG bytes of a picture."""
    response = http.get(generation["images"][index]["url"])
    assert response.status_code == 200, response.text
    return response.content


def recipe(png: bytes) -> dict[str, Any]:
    """What a picture was made with, as its file says."""
    return json.loads(Image.open(io.BytesIO(png)).text["radiata"])  # type: ignore[attr-defined]


def upload(http: httpx.Client, data: bytes, name: str, **fields: Any) -> httpx.Response:
    """Upload a file under a name."""
    return http.post("/v1/adapters", files={"file": ("file.safetensors", data)}, data={"name": name, **fields})


def disc(width: int, height: int, mode: str = "RGB") -> bytes:
    """A PNG of a disc."""
    image = Image.new("RGB", (width, height), "black")
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill="white")
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def send_picture(http: httpx.Client, data: bytes) -> str:
    """Have a picture taken; its ref."""
    return http.post("/v1/images", files={"file": ("a.png", data)}).json()["ref"]
