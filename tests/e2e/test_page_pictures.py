"""The page draws from pictures: taken in, put to a use, masked by painting, given back."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from diffusers.models.adapter import T2IAdapter
from PIL import Image
from safetensors.torch import save
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from app.supervisor import Service
from tests.e2e.browser import chromium, complaints
from tests.e2e.drawing import disc, recipe, upload
from tests.e2e.page import Page

PASTE = """
const carried = new DataTransfer();
carried.items.add(new File([new Uint8Array(arguments[0])], "any", { type: "image/png" }));
window.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true }));
"""
PAINTED = """
const canvas = document.getElementById("mask-canvas");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return data.filter((value, at) => at % 4 === 3 && value > 127).length / (canvas.width * canvas.height);
"""


@pytest.fixture
def page(tmp_path: Path, service: Service) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as browser:
        opened = Page(browser, service.url)
        opened.open()
        yield opened
        assert complaints(browser) == []


def start_from_it(page: Page) -> None:
    """Say what a picture is for: there are adapters that would read it, too."""
    page.until(lambda: page.all("#use[open] .settings button"), "nothing is asked")[0].click()


def test_a_picture_is_given_to_an_adapter_that_reads_one(page: Page, http: httpx.Client) -> None:
    torch.manual_seed(1)
    net = T2IAdapter(3, [128, 160], 1, 8)
    assert upload(http, save(net.state_dict()), "shapes").is_success
    page.open()
    page.until(lambda: page.all("[data-name=shapes]"), "the adapter is not listed")
    page.run(PASTE, list(disc(160, 120)))
    choices = page.until(lambda: page.all("#use[open] .settings button"), "nothing is asked")
    assert [one.text for one in choices][:1] == ["Start from it"]
    next(one for one in choices if one.text.endswith(": shapes")).click()
    page.until(lambda: page.all("[data-name=shapes] .thumb img"), "it has no picture")
    assert page.one("#further-fit").get_attribute("value") == "crop" and not page.all("#start-picture .view")
    assert not page.one("[data-name=shapes] .maps button").is_displayed(), "it is read as it is"
    page.one("[data-name=shapes] .maps select option[value=canny]").click()
    page.one("[data-name=shapes] .maps button").click()
    shown = page.until(lambda: page.all("[data-name=shapes] .map img"), "no map is shown")[0].get_attribute("src")
    page.draw("a moon of its shape", steps=2, seed=3)
    page.newest("a moon of its shape").find_element(By.CSS_SELECTOR, ".picture").click()
    asked = http.get("/v1/generations?limit=1").json()["generations"][0]["request"]
    assert asked["adapters"][0]["image"].startswith("image:") and asked["init_image"] is None
    assert asked["adapters"][0]["preprocess"] == "canny"
    (image,) = http.get("/v1/generations?limit=1").json()["generations"][0]["images"]
    read = recipe(http.get(image["url"]).content)["adapters"][0]["image"]
    assert shown and shown.endswith(read), "what is shown is what is read"
    assert len(page.all("#picture .thumb img")) == 1
    page.open()
    page.newest("a moon of its shape").find_element(By.CSS_SELECTOR, ".picture").click()
    page.one("#picture button.primary").click()
    page.until(lambda: page.all("[data-name=shapes] .thumb img"), "it is not given back")
    assert page.one("#further-fit").get_attribute("value") == "crop"
    assert page.one("[data-name=shapes] .maps select").get_attribute("value") == "canny"
    assert http.delete("/v1/adapters/shapes").is_success


def test_a_pasted_picture_is_drawn_from_where_a_mask_is_painted(page: Page, http: httpx.Client) -> None:
    page.run(PASTE, list(disc(160, 120)))
    start_from_it(page)
    page.until(lambda: page.all("#start-picture .view img"), "there is no start picture")
    assert [page.one(f"#{side}").get_attribute("value") for side in ("width", "height")] == ["72", "56"]
    assert page.one("#further-fit").get_attribute("value") == "crop", "its shape is not quite the drawing's"

    page.one("#start-picture .buttons button").click()
    page.until(lambda: page.all("#mask-canvas"), "the editor does not open")
    undo, invert, *_ = page.all("#mask .tools button")
    canvas = page.one("#mask-canvas")
    ActionChains(page.browser).move_to_element(canvas).click_and_hold().move_by_offset(40, 0).release().perform()
    stroke = page.run(PAINTED)
    assert 0.003 < stroke < 0.2
    invert.click()
    assert page.run(PAINTED) == pytest.approx(1 - stroke, abs=0.01)
    undo.click()
    assert page.run(PAINTED) == stroke
    canvas.send_keys(Keys.ARROW_DOWN * 8, Keys.SPACE, Keys.ARROW_RIGHT * 4, Keys.SPACE, Keys.ARROW_LEFT)
    assert 1.2 * stroke < page.run(PAINTED) < 3 * stroke, "a second stroke, without a pointer"
    undo.click()
    assert page.run(PAINTED) == stroke
    page.one("#mask .actions .primary").click()
    page.until(lambda: page.all("#start-picture .masked"), "the mask is not used")

    page.draw("a white moon", steps=4, seed=3)
    page.newest("a white moon").find_element(By.CSS_SELECTOR, ".picture").click()
    assert len(page.all("#picture .thumb img")) == 2
    asked = http.get("/v1/generations?limit=1").json()["generations"][0]["request"]
    mask = Image.open(io.BytesIO(http.get(f"/v1/images/{asked['mask_image']}").content))
    assert mask.size == (160, 120) and {value for _, value in mask.getcolors() or []} == {(0, 0, 0), (255, 255, 255)}
    page.all("#picture .actions button")[1].click()  # draw from it
    start_from_it(page)
    page.until(lambda: page.one("#further-fit").get_attribute("value") == "", "its own size is drawn")
    assert not page.all("#start-picture .masked"), "a mask is of one size"

    page.set("upscale-scale", 1.5)
    page.draw("a white moon, larger", steps=4)
    page.newest("a white moon, larger").find_element(By.CSS_SELECTOR, ".picture").click()
    (image,) = http.get("/v1/generations?limit=1").json()["generations"][0]["images"]
    assert (image["width"], image["height"]) == (112, 80)
    page.open()
    page.newest("a white moon, larger").find_element(By.CSS_SELECTOR, ".picture").click()
    page.one("#picture button.primary").click()
    page.until(lambda: page.all("#start-picture .view img"), "the start picture is not given back")
    assert page.one("#upscale-scale").get_attribute("value") == "1.5"
