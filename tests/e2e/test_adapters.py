"""Uploading adapters and drawing with them, over the running service: laws 1, 2 and 3 as a user sees them."""

import hashlib
import io
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save

from tests import samples
from tests.e2e.drawing import FAST, draw, picture, recipe, upload
from workers.models.sources import find


@pytest.fixture(params=samples.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def adapter(http: httpx.Client, kind: str) -> dict[str, Any]:
    response = upload(http, samples.file(kind), f"sample-{kind}")
    assert response.status_code in (200, 201), response.text
    return response.json()


def test_a_new_adapter_is_judged_and_listed(http: httpx.Client, adapter: dict[str, Any], kind: str) -> None:
    assert adapter["sha256"] == hashlib.sha256(samples.file(kind)).hexdigest()
    assert adapter["fits"] == ["emoji-64"]
    assert adapter["verdict"]["algorithms"]
    assert adapter["name"] in [one["name"] for one in http.get("/v1/adapters").json()["adapters"]]
    assert http.get(f"/v1/adapters/sha256:{adapter['sha256']}").json()["sha256"] == adapter["sha256"]
    assert http.get(f"/v1/adapters/{adapter['name']}/file").content == samples.file(kind)


def test_the_same_bytes_again_are_the_same_version(http: httpx.Client, adapter: dict[str, Any], kind: str) -> None:
    again = upload(http, samples.file(kind), f"sample-{kind}")
    assert (again.status_code, again.json()["version"]) == (200, adapter["version"])
    other = upload(http, samples.file(kind, seed=1), f"sample-{kind}")
    assert other.json()["version"] > adapter["version"]
    first = http.get(f"/v1/adapters/{adapter['name']}:{adapter['version']}").json()
    assert first["sha256"] == adapter["sha256"]


def test_a_picture_holds_exactly_what_the_algebra_says(http: httpx.Client, adapter: dict[str, Any], kind: str) -> None:
    """Merged here by the plain formulas in float64, drawn by plain diffusers."""
    generation = draw(http, adapters=[{"ref": f"sha256:{adapter['sha256']}", "strength": 0.7}])
    pipeline = StableDiffusionPipeline.from_pretrained(
        find("bundled:emoji-64"), dtype=torch.float32, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    torch.set_num_threads(1)
    for weight, change in by_hand(pipeline, kind):
        weight.data = (weight.data.double() + 0.7 * change.reshape(weight.shape)).float()
    drawn: Any = pipeline(
        FAST["prompt"],
        num_inference_steps=FAST["steps"],
        guidance_scale=FAST["guidance_scale"],
        generator=torch.Generator("cpu").manual_seed(FAST["seed"]),
    )
    ours = np.asarray(Image.open(io.BytesIO(picture(http, generation)))).astype(int)
    difference = np.abs(ours - np.asarray(drawn.images[0]).astype(int)).max()
    plain = np.asarray(Image.open(io.BytesIO(picture(http, draw(http))))).astype(int)
    assert difference <= 1, f"largest difference {difference} of 255"  # one rounding of a float at the edge of a step
    assert np.abs(ours - plain).max() > 8, "the adapter changed nothing that can be seen"


def by_hand(pipeline: Any, kind: str) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    t = {name: tensor.double() for name, tensor in samples.tensors(kind).items()}
    conv = pipeline.unet.up_blocks[1].resnets[1].conv2.weight
    name = samples.CONV[0]
    if kind == "lora":
        query = pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight
        text = pipeline.text_encoder.get_parameter(
            next(n for n, _ in pipeline.text_encoder.named_parameters() if "layers.0.self_attn.q_proj.weight" in n)
        )
        return [
            (query, _product(t, samples.ATTENTION[0])),
            (text, _product(t, samples.TEXT[0])),
        ]
    if kind == "locon":
        return [(conv, _product(t, name))]
    gain = 2.0 / samples.RANK
    if kind == "loha":
        left, right = (t[f"{name}.hada_w{n}_a"] @ t[f"{name}.hada_w{n}_b"] for n in (1, 2))
        return [(conv, gain * left * right)]
    right = (t[f"{name}.lokr_w2_a"] @ t[f"{name}.lokr_w2_b"]).reshape(16, 16, 3, 3)
    left = t[f"{name}.lokr_w1"][:, :, None, None]
    return [(conv, gain * torch.kron(left, right))]


def _product(t: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    up, down = t[f"{name}.lora_up.weight"].flatten(1), t[f"{name}.lora_down.weight"].flatten(1)
    return (2.0 / samples.RANK) * (up @ down)


def test_no_order_and_no_history_changes_a_byte(http: httpx.Client) -> None:
    for kind in samples.KINDS:
        assert upload(http, samples.file(kind), f"sample-{kind}").is_success
    plain = picture(http, draw(http))
    uses = [{"ref": f"sample-{kind}:1", "strength": 0.4} for kind in samples.KINDS]
    forwards = picture(http, draw(http, adapters=uses))
    picture(http, draw(http, adapters=uses[:1]))
    backwards = picture(http, draw(http, adapters=uses[::-1]))
    assert forwards == backwards
    assert forwards != plain
    assert picture(http, draw(http)) == plain


def test_adapters_can_be_applied_one_on_another(http: httpx.Client) -> None:
    for kind in ("locon", "loha"):
        assert upload(http, samples.file(kind), f"sample-{kind}").is_success
    uses = [{"ref": f"sample-{kind}:1", "strength": 0.4} for kind in ("locon", "loha")]
    summed, sequential = (draw(http, adapters=uses, stack_mode=mode) for mode in ("sum", "sequential"))
    ours, theirs = (np.asarray(Image.open(io.BytesIO(picture(http, one)))).astype(int) for one in (summed, sequential))
    difference = np.abs(ours - theirs).max()
    assert difference <= 1, f"additive adapters agree in both modes: largest difference {difference}"
    assert recipe(picture(http, sequential))["stack_mode"] == "sequential"


def test_a_component_can_have_a_strength_of_its_own(http: httpx.Client) -> None:
    upload(http, samples.file("lora"), "sample-lora")
    half = {"ref": "sample-lora:1", "strength": 1.0, "strengths": {"text_encoder": 0.0}}
    only_unet = picture(http, draw(http, adapters=[half]))
    whole = picture(http, draw(http, adapters=[half | {"strengths": {}}]))
    assert only_unet != whole


def test_strength_zero_is_the_base_to_the_pixel(http: httpx.Client) -> None:
    upload(http, samples.file("loha"), "sample-loha")
    nothing = picture(http, draw(http, adapters=[{"ref": "sample-loha:1", "strength": 0}]))
    without, at_zero = (np.asarray(Image.open(io.BytesIO(png))) for png in (picture(http, draw(http)), nothing))
    assert (without == at_zero).all()


def test_a_deleted_name_is_gone_and_its_numbers_are_not_used_again(http: httpx.Client) -> None:
    upload(http, samples.file("lora", seed=5), "short-lived")
    accepted = draw(http, adapters=[{"ref": "short-lived"}])
    assert http.delete("/v1/adapters/short-lived").status_code == 204
    for response in (
        http.post("/v1/generations", json=FAST | {"adapters": [{"ref": "short-lived"}]}),
        http.get("/v1/adapters/short-lived"),
        http.delete("/v1/adapters/short-lived"),
    ):
        assert (response.status_code, response.json()["code"]) == (410, "adapter_deleted")
    assert http.get(f"/v1/generations/{accepted['id']}").json()["status"] == "succeeded"
    assert upload(http, samples.file("lora", seed=5), "short-lived").json()["version"] == 2


def test_what_an_uploader_gives_up_is_named(http: httpx.Client) -> None:
    extra = samples.tensors("lora") | {"lora_unet_no_such_place.lora_up.weight": torch.zeros(4, 4)}
    data = save(extra)
    refused = upload(http, data, "with-extra")
    assert refused.status_code == 422
    assert "no_such_place" in refused.text
    taken = upload(http, data, "with-extra", ignore=["lora_unet_no_such_place*"])
    assert taken.status_code == 201, taken.text
    assert "lora_unet_no_such_place.lora_up.weight" in str(taken.json()["verdict"]["ignored"])
    assert draw(http, adapters=[{"ref": "with-extra"}])["request"]["adapters"][0]["ignore"]
