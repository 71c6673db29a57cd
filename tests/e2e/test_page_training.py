"""The page trains: pictures dropped, captioned, trained on, and drawn with, as one visitor does it."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.supervisor import Service
from tests.e2e.browser import chromium, complaints, drop
from tests.e2e.drawing import disc
from tests.e2e.page import Page

LATE_S = 240.0
FILES = {
    "moon.png": disc(64, 64),
    "moon.txt": b"a white moon",
    "egg.png": disc(64, 48),
    "egg.txt": "a flat egg, süß".encode(),
    "sun.png": disc(48, 64),
    ".DS_Store": b"what a file manager leaves",
}
# While a caption is missing, the dry run says so
FORETOLD = r"/v1/trainings\?dry_run=true - Failed to load resource: the server responded with a status of 422"
OPTIONS = "return [...document.querySelectorAll('#training-options label')].map((one) => one.textContent)"


@pytest.fixture
def page(tmp_path: Path, service: Service) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as browser:
        opened = Page(browser, service.url)
        opened.open()
        opened.one("#train-link").click()
        yield opened
        assert [one for one in complaints(browser) if not re.search(FORETOLD, one)] == []


def test_pictures_become_an_adapter_that_is_drawn_with(page: Page, http: httpx.Client) -> None:
    page.until(lambda: page.all("#training-first .field"), "there is no form")
    assert not page.one("#train").is_enabled(), "there is nothing to train on"
    drop(page.browser, FILES)
    page.until(lambda: len(page.all(".captions li")) == 3, "the pictures are not shown")
    assert page.one("#dataset-facts").text == "3 pictures, 1 without caption"
    assert page.all("#training-default_caption"), "which is of use where a caption is missing"
    page.until(lambda: "1 of 3 pictures" in page.one("#training-cost .problem").text, "it is not said beforehand")
    page.one(".captions .missing textarea").send_keys("a tall sun")
    page.one("#training-name").send_keys("by-page")
    page.until(lambda: "captions kept" in page.one("#dataset-facts").text, "the caption is not kept")
    assert not page.all("#training-default_caption, .captions .missing")
    dataset = http.get(f"/v1/datasets/{page.browser.current_url.rpartition('/')[2]}").json()
    assert sorted(one["caption"] for one in dataset["pictures"]) == ["a flat egg, süß", "a tall sun", "a white moon"]

    page.choose("#training-algorithm", "ia3")
    assert not page.all("#training-rank, #training-alpha") and page.run(OPTIONS) == ["on input"]
    page.choose("#training-algorithm", "lokr")
    for field, value in {"rank": 4, "steps": 3, "checkpoint_every": 2}.items():
        page.type(f"#training-{field}", str(value))
    page.choose("#option-full_matrix", "true")
    page.until(lambda: "3, or 1 epoch" in page.one("#training-cost .facts").text, "it is not said what it costs")
    assert "layers of unet" in page.one("#training-cost").text
    prompt = page.one(".sample input")
    assert prompt.get_attribute("value"), "one of the captions is suggested"
    prompt.clear()
    prompt.send_keys("a moon")
    page.one("#train").click()
    card = page.until(lambda: page.all(".training[open]"), "nothing is trained")[0]
    page.until(lambda: card.find_elements("css selector", ".status.succeeded"), "it has not ended", LATE_S)
    page.until(lambda: len(card.find_elements("css selector", ".checkpoints td .picture img")) == 2, "no samples")
    assert card.find_elements("css selector", ".curve .mean")
    training = card.get_attribute("data-id")
    asked = http.get(f"/v1/trainings/{training}").json()["request"]
    told = {name: asked[name] for name in ("name", "algorithm", "rank", "steps", "samples", "dataset")}
    assert told == {
        **{"name": "by-page", "algorithm": "lokr", "rank": 4, "steps": 3, "dataset": dataset["ref"]},
        "samples": [{"prompt": "a moon", "seed": 0}],
    }
    assert asked["options"]["full_matrix"] is True

    page.one("[aria-label='Publish step 2 of by-page']").click()
    page.until(lambda: page.all(".checkpoints [aria-label='Draw with by-page:2']"), "the checkpoint has no version")
    assert http.get("/v1/adapters/by-page").json()["versions"] == [1, 2]

    page.browser.refresh()
    page.until(lambda: page.all(".captions li"), "the dataset is not there after a reload")
    page.until(lambda: page.all(".training summary"), "the training is not there after a reload")[0].click()
    page.until(lambda: page.all(".training .curve .mean"), "its loss is not told again")
    page.one(".training .buttons .primary").click()  # draw with version 1
    page.until(lambda: page.all("[data-name=by-page].active"), "it is not drawn with")
    page.draw("a moon like that", steps=1)
    assert "by-page" in page.newest("a moon like that").text
    page.one("#train-link").click()
    page.one("[aria-label='Remove by-page']").click()
    page.one("[aria-label='Remove by-page for good']").click()
    page.until(lambda: not page.all(".training"), "it is still listed")
    assert http.get(f"/v1/trainings/{training}").status_code == 410
