"""The page offers what a model obeys, within its limits: profiles of bases that nobody has to load."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis
from selenium.webdriver import Chrome
from selenium.webdriver.support.select import Select

from app.shared.catalog import Catalog
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.conftest import serving
from tests.app.shared.making import profile, version
from tests.e2e.browser import chromium, complaints
from tests.e2e.page import Page

OBEYS = dict.fromkeys(("prompt", "negative_prompt", "width", "height", "steps", "guidance_scale"), True)
MODELS: dict[str, dict[str, Any]] = {
    "free": {
        "obeys": OBEYS | {"eta": True},
        "samplers": ["ddim", "euler"],
        "sampler_sigmas": {"own": [], "euler": ["karras"]},
        "eta_samplers": ["ddim"],
        "size_multiple": 16,
        "negative_over": 1.0,
        "sampler_steps": {"ddim": 9},
    },
    "fixed": {
        "obeys": OBEYS | {"guidance_scale": False, "negative_prompt": False},
        "sizes": [(64, 64), (128, 64)],
        "max_steps": 50,
    },
    "inpainting": {"obeys": OBEYS | {"init_image": True, "mask_image": True}, "inpaint": "native"},
    "editing": {"obeys": OBEYS | {"reference_images": True}, "max_references": 3, "min_references": 2},
}
PLAIN = {"algorithms": {"lora": 1}, "triggers": []}
ADAPTERS = {
    "canny-lora": ("weights", PLAIN | {"reads_picture": True}),
    "union": ("control", PLAIN | {"modes": ["scribble", "depth"]}),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(browser: Chrome, settings: Settings, storage: Storage, redis: Redis) -> Iterator[Page]:
    served = settings.model_copy(update={"models": dict.fromkeys(MODELS, "nowhere")})
    for name, facts in MODELS.items():
        Profiles(storage, served).publish(profile(name=name, max_edge=256, steps=9, **facts), {"unet": {}})
    for name, (kind, verdict) in ADAPTERS.items():
        Catalog(storage, redis).admit(version(name, name.encode(), kind=kind, fits=["free"]), {"free": verdict})
    with serving(served) as api:
        opened = Page(browser, str(api.base_url))
        opened.open()
        opened.one("#more summary").click()
        yield opened
        browser.get("about:blank")
        assert complaints(browser) == []


def shown(page: Page, selector: str) -> bool:
    return page.one(selector).is_displayed()


def test_a_model_is_asked_for_what_it_obeys_and_nothing_else(page: Page) -> None:
    assert all(shown(page, f"#{one}") for one in ("width", "height", "guidance", "negative")) and not shown(
        page, "#size"
    )
    assert page.one("#width").get_attribute("step") == "16"
    page.choose("#model", "fixed")
    assert not any(shown(page, f"#{one}") for one in ("width", "height", "guidance", "negative"))
    assert [one.text for one in Select(page.one("#size")).options] == ["64 × 64", "128 × 64"]
    assert page.one("#steps").get_attribute("max") == "50"
    page.choose("#size", "128×64")
    assert "128 wide" in page.one("#more summary").text
    page.choose("#model", "free")
    assert shown(page, "#width") and "wide" not in page.one("#more summary").text
    assert page.one("#steps").get_attribute("max") == ""


def test_a_field_is_offered_where_the_sampler_has_it(page: Page) -> None:
    found = {name: page.all(f"#further-{name}") for name in ("sigmas", "eta", "apply", "clip_skip")}
    assert {name: len(some) for name, some in found.items()} == {"sigmas": 0, "eta": 0, "apply": 1, "clip_skip": 0}
    page.choose("#sampler", "euler")
    page.choose("#further-sigmas", "karras")
    assert page.one("#more summary").text == "More: euler, sigmas karras"
    page.choose("#sampler", "ddim")
    assert page.all("#further-eta") and not page.all("#further-sigmas")
    assert page.one("#more summary").text == "More: ddim", "what is not offered is not asked for"
    assert page.one("#steps").get_attribute("max") == "9"


def test_a_negative_prompt_is_taken_where_it_is_read(page: Page) -> None:
    page.type("#negative", "blue")
    assert "negative prompt" in page.one("#more summary").text
    page.type("#guidance", "1")
    assert not page.one("#negative").is_enabled() and "negative prompt" not in page.one("#more summary").text
    assert "over 1" in str(page.one("#negative").get_attribute("placeholder"))


def test_an_adapter_that_reads_a_picture_has_a_place_for_it(page: Page) -> None:
    for name in ADAPTERS:
        page.one(f"[data-name={name}] input").click()
    for name in ADAPTERS:
        page.until(lambda name=name: page.all(f"[data-name={name}] .reads .slot"), f"{name} has no place for a picture")
        kinds = Select(page.one(f"[data-name={name}] .maps select")).options
        assert [one.get_attribute("value") for one in kinds] == ["none", "canny"], "no model makes another map here"
    modes = Select(page.one("[data-name=union] .named select"))
    assert [one.text for one in modes.options] == ["scribble", "depth"]
    assert not page.all("[data-name=canny-lora] .named")


def test_an_editing_model_is_shown_as_many_pictures_as_it_needs(page: Page) -> None:
    page.choose("#model", "editing")
    assert page.one("#references h3").text == "Shown to the model (2 to 3)"
    page.draw("a hat on both")
    assert "without 2 pictures" in page.one("#references [role=alert]").text, "nothing was posted"
    assert page.run("return document.activeElement.textContent") == "Add…"


def test_a_model_that_draws_nothing_without_a_mask_asks_for_a_picture_and_a_mask(page: Page) -> None:
    assert not shown(page, "#start-picture")
    page.choose("#model", "inpainting")
    assert "choose one, and paint where" in page.one("#start-picture .hint").text
    page.draw("a hat")
    assert page.run("return document.activeElement.textContent") == "Choose a picture…", "nothing was posted"
    page.choose("#model", "free")
    assert not shown(page, "#start-picture")


def test_a_prompt_may_be_typed_before_any_model_is_ready(browser: Chrome, settings: Settings) -> None:
    with serving(settings.model_copy(update={"models": {"late": "nowhere"}})) as api:
        opened = Page(browser, str(api.base_url))
        browser.get(opened.url)  # it takes no prompts yet
        opened.one("#prompt").send_keys("a red apple")
        browser.get("about:blank")
        assert complaints(browser) == []
