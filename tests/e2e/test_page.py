"""The page, in a real browser against the whole service: what a visitor does, from a prompt to a refused file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save, save_file
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from app.shared.wire.adapter import TAKEN_BY, AdapterUse, ResolvedAdapter
from app.shared.wire.generation import FIRST_FIELDS, GenerationRequest, Picture
from app.supervisor import Service
from tests import samples
from tests.e2e.browser import chromium, complaints, drop
from tests.e2e.drawing import disc, draw, picture, post, recipe, send_picture, upload, wait
from tests.e2e.page import Page

ROOT = Path(__file__).parents[2]
WEB = ROOT / "app" / "web"
MARKUP = "<img src=x>"

REFUSED = (
    r"/v1/(adapters(/uploads/[0-9a-f]{32})?|generations) - "
    r"Failed to load resource: the server responded with a status of 422"
)
OFFLINE = r"net::ERR_INTERNET_DISCONNECTED"
NO_STREAM = r"/v1/no-such-stream - Failed to load resource: the server responded with a status of 404"

# What the page said about its progress, as it said it
CUT = """
window.parts = [];
const send = window.fetch;
window.fetch = (path, given) => {
  if (given?.method !== "PATCH") return send(path, given);
  window.parts.push(Number(given.headers["Upload-Offset"]));
  return window.parts.length === 3 ? Promise.reject(new TypeError("cut")) : send(path, given);
};
"""
WATCH = """
window.said = [];
new MutationObserver(() => {
  for (const text of document.querySelectorAll(".blank p")) {
    if (text.textContent !== window.said.at(-1)) window.said.push(text.textContent);
  }
}).observe(document.getElementById("gallery"), { childList: true, subtree: true, characterData: true });
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def page(browser: Chrome, service: Service) -> Iterator[Page]:
    """The page, freshly opened; the console must stay silent but for what a test expects."""
    opened = Page(browser, service.url)
    opened.open()
    yield opened
    browser.get("about:blank")
    unexpected = [text for text in complaints(browser) if not any(re.search(one, text) for one in opened.expected)]
    assert not unexpected, "\n".join(unexpected)


def test_a_prompt_becomes_a_picture_with_progress_and_survives_a_reload(page: Page) -> None:
    page.run(WATCH)
    page.set("seed", 7)
    page.set("steps", 100)  # long enough for a browser on a busy machine to hear of one while it is drawn
    page.type("#prompt", "one green apple")
    page.one("#prompt").send_keys(Keys.CONTROL, Keys.ENTER)
    sheet = page.newest("one green apple")

    steps = [int(found[1]) for text in page.run("return window.said") if (found := re.match(r"Step (\d+) of", text))]
    assert steps and steps == sorted(steps), f"progress was told as {steps}"
    assert "seed 7" in sheet.text and "no adapter" in sheet.text

    page.open()
    sheet = page.newest("one green apple")
    assert "seed 7" in sheet.text and "★" not in sheet.text
    page.one("#search [name=q]").send_keys("apple nobodysword")
    page.until(lambda: "Nothing found" in page.one(".gallery").text, "that nothing is found")
    page.one("#search [name=q]").send_keys(Keys.BACKSPACE * len(" nobodysword"))
    page.until(lambda: "one green apple" in page.one("#gallery").text, "what was looked for")
    page.one("#search [name=adapter]").send_keys("fluent-3d-lora", Keys.ENTER)
    page.until(lambda: "one green apple" not in page.one("#gallery").text, "other adapters to be left out")
    page.one("#search [name=adapter]").send_keys(Keys.BACKSPACE * len("fluent-3d-lora"), Keys.ENTER)
    sheet = page.newest("one green apple")
    sheet.find_element(By.CSS_SELECTOR, "button.picture").click()
    page.one("#picture button[aria-pressed=false]").click()
    page.until(lambda: "★" in page.newest("one green apple").text, "its star")
    page.all("#picture .actions > button")[-1].click()
    page.one("#picture .actions button.primary").click()  # for sure
    page.until(lambda: "one green apple" not in page.one("#gallery").text, "it to be gone")
    page.open()
    assert "one green apple" not in page.one("#gallery").text


def test_an_uploaded_adapter_is_judged_used_and_compared(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "Wörn <b>at the page.safetensors"
    save_file(
        samples.tensors("lora"),
        file,
        metadata={"ss_tag_frequency": f'{{"all": {{"{MARKUP}": 3}}}}'},
    )
    page.choose_file(file, description=MARKUP)
    page.until(lambda: page.all("#upload .verdict"), "no verdict")
    name = page.one("#upload-title").text.split()[0]
    assert re.fullmatch("[a-z0-9][a-z0-9._-]*", name), "the name was not made from the file's"
    verdict = page.one("#upload .verdict").text
    assert "LoRA" in verdict and "unet (1)" in verdict and "text_encoder (1)" in verdict and MARKUP in verdict

    page.one("#upload button.primary").click()  # use it
    row = page.one(f"[data-name='{name}']")
    strength = row.find_element(By.CSS_SELECTOR, "input[type=number]")
    strength.clear()
    strength.send_keys("0.5")
    assert float(row.find_element(By.CSS_SELECTOR, "input[type=range]").get_attribute("value") or "nan") == 0.5

    page.type("#prompt", "a green apple")
    page.set("seed", 11)
    page.one("#compare").click()
    sheet = page.newest("a green apple", pictures=2)
    captions = [caption.text.replace("\u00a0", " ") for caption in sheet.find_elements(By.TAG_NAME, "figcaption")]
    assert captions == ["no adapter", f"{name} × 0.5"]
    shown = [image.get_attribute("src") for image in sheet.find_elements(By.CSS_SELECTOR, ".picture img")]
    bare, with_it = (page.run("return fetch(arguments[0]).then((got) => got.text())", url) for url in shown)
    assert bare != with_it, "the adapter changed nothing"

    page.one(f"[aria-label='About {name}']").click()
    page.until(lambda: page.all("#adapter .verdict"), "nothing about the adapter")
    assert "of 1 worker, active on" in page.one("#adapter").text
    assert not page.all("img[src=x]"), "a name became markup"
    page.one("#adapter .actions button").click()
    page.one("#adapter .actions button.primary").click()  # yes, delete
    page.until(lambda: not page.all(f"[data-name='{name}']"), "the adapter is still listed")


def test_a_large_file_comes_in_parts_and_survives_a_cut(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "large.safetensors"
    padding = {f"padding.{number}": torch.zeros(7 << 20) for number in range(2)}
    save_file(samples.tensors("lora") | padding, file)
    page.run(CUT)
    page.one("#adapters-file").send_keys(str(file))
    page.run("document.querySelector('#upload details').open = true")
    page.type("#upload-ignore", "padding.*")
    page.one("#upload button.primary").click()
    page.until(lambda: page.all("#upload .verdict"), "no verdict")
    assert "padding" in page.one("#upload .verdict").text
    sent = page.run("return window.parts")
    assert len(sent) == len(set(sent)) + 1 and sent == sorted(sent), "one part was sent again, and no other"
    page.close_dialog()


def test_hostile_files_are_refused_with_every_reason(page: Page, tmp_path: Path) -> None:
    page.expected.append(REFUSED)
    drop(page.browser, {"pickle.safetensors": bytes([0x80, 0x04, 0x95, *bytes(200)])})
    page.one("#upload button.primary").click()
    problem = page.until(lambda: page.all("#upload .problem"), "no refusal")[0].text
    assert "refused" in problem and "pickle" in problem
    page.close_dialog()

    broken = samples.tensors("lora") | {"stray": torch.zeros(3), "another": torch.full((2, 2), float("nan"))}
    save_file(broken, tmp_path / "broken.safetensors")
    page.choose_file(tmp_path / "broken.safetensors")
    page.until(lambda: page.all("#upload .problem"), "no refusal")
    reasons = [reason.text for reason in page.all("#upload .problem li")]
    assert all(any(reason.startswith(f"{name}:") for reason in reasons) for name in ("stray", "another")), reasons
    page.close_dialog()
    assert not page.all("[data-name='broken']") and not page.all("[data-name='pickle']")


def test_markup_in_a_prompt_stays_text(page: Page) -> None:
    page.draw(MARKUP, steps=1)
    sheet = page.newest(MARKUP)
    sheet.find_element(By.CSS_SELECTOR, ".picture").click()
    assert page.one("#picture-title").text == MARKUP
    assert not page.all("img[src=x]")


def test_a_picture_gives_its_settings_back(page: Page) -> None:
    page.draw("a yellow star", seed=41, steps=3, guidance=2.5, count=2, negative="blue")
    page.newest("a yellow star", pictures=2).find_elements(By.CSS_SELECTOR, ".picture")[1].click()
    assert "42" in page.one("#picture .facts").text
    page.open()
    page.newest("a yellow star", pictures=2).find_elements(By.CSS_SELECTOR, ".picture")[1].click()
    page.one("#picture button.primary").click()
    values = {name: page.one(f"#{name}").get_attribute("value") for name in ("prompt", "negative", "seed", "count")}
    assert values == {"prompt": "a yellow star", "negative": "blue", "seed": "42", "count": "1"}
    assert [page.one(f"#{name}").get_attribute("value") for name in ("steps", "guidance")] == ["3", "2.5"]


LISTEN = """
window.posted = [];
const really = window.fetch;
window.fetch = (path, options) => {
  if (options?.method === "POST") window.posted.push(JSON.parse(options.body));
  return really(path, options);
};
"""


def everything(http: httpx.Client) -> dict[str, Any]:
    """A request with every field that the model obeys away from its default; its adapters are not in order of names."""
    for name, kind, seed in (("reused-b", "lora", 3), ("reused-a", "lora", 4)):
        assert upload(http, samples.file(kind, seed), name).is_success
    hashed = http.get("/v1/adapters/reused-a").json()["sha256"]
    return {
        "prompt": "a reused apple ",
        "negative_prompt": "blue\ngreen",
        "model": "emoji-64",
        "adapters": [
            {
                **{"ref": "reused-b:1", "strength": 0.7, "strengths": {"text_encoder": 0.35}, "blocks": {"mid": 0.85}},
                **{"schedule": [[0.0, 0.25], [0.5, 1.5]], "rank": 2},
            },
            {"ref": f"sha256:{hashed}", "strength": -0.55, "strengths": {"text_encoder": 1.25}},
        ],
        "stack_mode": "sequential",
        "apply": "merge",
        "width": 72,
        "height": 56,
        "steps": 4,
        "guidance_scale": 2.3,
        "sampler": "ddim",
        "sigmas": "simple",
        "eta": 0.5,
        "clip_skip": 1,
        "guidance_rescale": 0.3,
        "seed": 2**53 - 9,
        "count": 2,
        "priority": "high",
        "init_image": send_picture(http, disc(72, 56)),
        "denoise": 0.55,
        "mask_image": send_picture(http, disc(72, 56, "1")),
        "mask_blur": 2,
        "fit": "crop",
        "inpaint_area": "masked",
        "inpaint_padding": 8,
    }


def test_a_request_with_every_field_away_from_its_default_is_drawn_again_byte_for_byte(
    page: Page, http: httpx.Client
) -> None:
    asked = everything(http)
    plain = GenerationRequest.model_validate({"prompt": "a"}).model_dump()
    (model,) = http.get("/v1/models").json()["models"]
    # Weighted prompts are refused beside clip_skip, a second pass beside a mask; the others are part of no pixel
    apart = ("prompt_syntax", "upscale", "webhook", "metadata", "start_within_s", "output_format", "quality")
    later = Picture.model_fields.keys() - FIRST_FIELDS  # of which a profile has to say that they are obeyed
    names = [one for one in GenerationRequest.model_fields if one not in apart]
    obeyed = [one for one in names if model["obeys"].get(one, one not in later)]
    assert not [field for field in obeyed if asked.get(field, plain[field]) == plain[field]]
    bare = AdapterUse.model_validate({"ref": "a"}).model_dump(mode="json")
    of_weights = [field for field in bare if "weights" in TAKEN_BY.get(field, ("weights",)) and "mask" not in field]
    assert not [field for field in of_weights if asked["adapters"][0].get(field, bare[field]) == bare[field]]

    first = draw(http, **asked)
    page.open()
    page.newest(asked["prompt"].strip(), pictures=2).find_elements(By.CSS_SELECTOR, ".picture")[1].click()
    page.one("#picture button.primary").click()
    told = page.one("#more summary").text
    assert "sequential" in told and "merge" in told and "high" in told, "what is kept is told"
    page.run(LISTEN)
    page.one("#draw").click()
    page.until(lambda: page.run("return window.posted.length"), "nothing was posted")
    (posted,) = page.run("return window.posted")

    stack = [
        bare | use | {"ref": ref} for use, ref in zip(asked["adapters"], ("reused-b:1", "reused-a:1"), strict=True)
    ]
    assert posted == asked | {"adapters": stack, "seed": asked["seed"] + 1, "count": 1}
    again = page.until(lambda: newer(http, first["id"]), "it was not drawn again")
    drawn, before = picture(http, again), picture(http, first, 1)
    assert recipe(drawn) == recipe(before)
    assert drawn == before
    page.one("#more summary").click()
    page.one("#reset").click()
    assert "sequential" not in page.one("#more summary").text and not page.all("#start-picture .view")


def newer(http: httpx.Client, than: str) -> dict[str, Any] | None:
    """The newest generation once it has succeeded, if it is another one."""
    newest = http.get("/v1/generations?limit=1").json()["generations"][0]
    return newest if newest["id"] != than and newest["status"] == "succeeded" else None


def test_what_acceptance_says_of_an_adapter_is_known_to_the_page() -> None:
    """`setStack` of adapters.js leaves these out when an adapter's settings are reused."""
    said = {"name", "version", "sha256", "ignore", "kind", "boxes", "maps", "image_encoder"}
    assert set(ResolvedAdapter.model_fields) - set(AdapterUse.model_fields) == said


def test_blocks_and_steps_are_typed_checked_and_given_back(page: Page, tmp_path: Path) -> None:
    save_file(samples.tensors("lora"), tmp_path / "in-parts.safetensors")
    page.choose_file(tmp_path / "in-parts.safetensors")
    page.until(lambda: page.all("#upload .verdict"), "no verdict")
    page.one("#upload button.primary").click()  # use it
    page.one("[data-name='in-parts'] summary").click()
    field = "[aria-label='Blocks and schedule of in-parts']"
    page.type(field, "down=half")
    page.draw("a green leaf", steps=2, seed=5)
    assert "down=half" in (page.one(field).get_attribute("validationMessage") or "")
    page.type(field, "mid=0.5 0:0.25 0.5:1.5")
    page.one("#draw").click()
    page.newest("a green leaf").find_element(By.CSS_SELECTOR, ".picture").click()
    told = page.one("#picture .facts").text
    assert "mid × 0.5" in told and "0.25 from 0 %" in told and "1.5 from 50 %" in told
    page.one("#picture button.primary").click()  # these settings again
    assert page.one(field).get_attribute("value") == "mid=0.5 0:0.25 0.5:1.5"
    page.one("[data-name='in-parts'] input[type=checkbox]").click()
    page.one("#draw").click()
    sheet = page.newest("a green leaf", pictures=2)
    captions = [found.text.replace("\u00a0", " ") for found in sheet.find_elements(By.TAG_NAME, "figcaption")]
    assert captions[0].startswith("in-parts × 1 (mid=0.5 0:0.25 0.5:1.5)") and captions[1].startswith("no adapter")


def test_a_running_generation_can_be_canceled(page: Page) -> None:
    page.draw("a blue car", steps=150, count=4)
    page.until(lambda: page.all(".sheet .blank button:not([hidden])"), "nothing to cancel")[0].click()
    page.until(lambda: page.one(".sheet .blank").text.startswith("Canceled"), "it was not canceled")


def test_a_long_error_stays_in_its_tile(page: Page, http: httpx.Client) -> None:
    # What no acceptance can know: numbers that are finite each, and not together
    huge = {name: tensor * (1e30 if "lora_" in name else 1) for name, tensor in samples.tensors("lora").items()}
    assert upload(http, save(huge), "overflowing").is_success
    request = {"prompt": "told at length", "adapters": [{"ref": "overflowing"}], "apply": "merge"}
    assert wait(http, post(http, **request)["id"])["status"] == "failed"
    page.browser.refresh()
    page.until(lambda: page.all(".blank.over p"), "no error")
    text, tile = page.one(".blank.over p"), page.one(".blank.over")
    assert "not finite" in text.text
    assert text.rect["y"] >= tile.rect["y"]
    assert text.rect["y"] + text.rect["height"] <= tile.rect["y"] + tile.rect["height"]


def test_a_problem_is_shown_until_dismissed(page: Page) -> None:
    page.expected.append(REFUSED)
    page.draw("a red apple", steps=100_000)
    notice = page.until(lambda: page.all(".notice"), "no notice")[0]
    assert "steps" in notice.text and notice.get_attribute("role") == "alert"
    notice.find_element(By.TAG_NAME, "button").click()
    assert not page.all(".notice")


def test_a_prompt_typed_while_the_service_is_away_is_drawn_when_it_is_back(page: Page) -> None:
    page.expected.append(OFFLINE)
    page.browser.set_network_conditions(offline=True, latency=0, throughput=-1)
    page.draw("a purple grape", steps=1)
    page.until(lambda: page.one("#connection").is_displayed(), "no banner")
    page.browser.delete_network_conditions()
    page.until(lambda: not page.one("#connection").is_displayed(), "the banner stays")
    page.newest("a purple grape")


def test_without_an_event_stream_it_polls(page: Page) -> None:
    page.expected.append(NO_STREAM)
    page.run("window.EventSource = class extends EventSource { constructor() { super('/v1/no-such-stream') } }")
    page.draw("a white cloud", steps=1)
    page.newest("a white cloud")
    assert any(re.search(NO_STREAM, text) for text in complaints(page.browser)), "there was a stream"


@pytest.mark.parametrize("sink", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc"])
def test_no_script_of_the_page_parses_markup(sink: str) -> None:
    assert [file.name for file in WEB.glob("*.js") if sink in file.read_text()] == []


def test_the_page_asks_nothing_of_other_hosts_and_has_nothing_inline() -> None:
    for file in WEB.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), f"{file.name} names another host"
    html = (WEB / "index.html").read_text()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=", html), "inline code or style"
