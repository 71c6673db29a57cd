"""The demo draws with every adapter, and gives a picture to those that read one."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from app.commands import demo

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
NAMES = {"a": "weights", "edges": "control", "words": "embedding", "likeness": "image_prompt"}


class Service:
    """In place of a client: what it is asked is kept, and every picture is the same."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def adapters(self) -> list[dict[str, Any]]:
        return [{"name": name, "kind": kind} for name, kind in NAMES.items()]

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        return {"status": "succeeded", "images": [{"url": "/"}]}

    def image(self, url: str) -> bytes:
        picture = Image.new("RGB", (64, 64), "white")
        picture.paste("red", (0, 0, 30, 30))
        written = io.BytesIO()
        picture.save(written, "PNG")
        return written.getvalue()


def _picture(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def test_every_adapter_is_drawn_with_and_those_that_read_a_picture_are_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, sheets = Service(), set[bool]()
    monkeypatch.setattr(demo, "Client", lambda *_: service)
    monkeypatch.setattr(demo, "PROMPTS", prompts := demo.PROMPTS[:2])
    drawn = service.image
    monkeypatch.setattr(service, "image", lambda url: sheets.add((tmp_path / "sheet.png").exists()) or drawn(url))
    demo._draw("", tmp_path, Console(quiet=True))
    by_name = {use["ref"]: (asked["prompt"], use) for asked in service.asked for use in asked["adapters"]}
    assert set(by_name) == set(NAMES)
    assert len(service.asked) == 5 * len(prompts) and sheets == {False, True}, "it is there after the first row"
    prompt, use = by_name["edges"]
    assert prompt == demo.PROMPTS[-1]
    lines = _picture(use["image"])
    assert WHITE in [lines.getpixel((x, 24)) for x in (43, 44, 45)], "where the mirrored square begins"
    assert {lines.getpixel((x, 24)) for x in range(47, 64)} == {BLACK}
    assert [lines.getpixel((20, y)) for y in (24, 42)] == [BLACK, BLACK], "smaller, and in the corner"
    prompt, use = by_name["likeness"]
    assert prompt not in demo.PROMPTS
    assert _picture(use["image"]).getpixel((2, 2)) == (255, 0, 0)
    assert {f"{name}.png" for name in ("base", "sheet", "given", *NAMES)} <= {file.name for file in tmp_path.iterdir()}
