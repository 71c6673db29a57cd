"""Files that bring embeddings, over the running service: their triggers mean something while they are applied."""

import io
from typing import Any

import httpx
import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from tests import samples
from tests.e2e.drawing import FAST, draw, picture, refused, upload
from tests.e2e.test_adapters import by_hand
from workers.models.sources import find

WIDTH = 128
PROMPTS = {"prompt": "a red zorp", "negative_prompt": "blue zorp"}


def vectors(count: int = 2, width: int = WIDTH, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.3


def uploaded(http: httpx.Client, name: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    response = upload(http, save(tensors), name)
    assert response.status_code in (200, 201), response.text
    record = response.json()
    assert record["verdict"]["embeddings"] == sorted(
        {tensor.split(".")[1] for tensor in tensors if tensor.startswith("bundle_emb.")}
    )
    return {"ref": f"sha256:{record['sha256']}"}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def by_plain_diffusers(embedding: Tensor, kind: str | None = None) -> np.ndarray:
    """The picture of PROMPTS, of the bundled model that has the embedding, and a sample of this kind merged into it."""
    folder = find("bundled:emoji-64")
    pipeline: Any = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    torch.set_num_threads(1)
    for weight, change in by_hand(pipeline, kind) if kind else ():
        weight.data = (weight.data.double() + change.reshape(weight.shape)).float()
    pipeline.load_textual_inversion({"zorp": embedding})
    drawn: Any = pipeline(
        **PROMPTS,
        num_inference_steps=FAST["steps"],
        guidance_scale=FAST["guidance_scale"],
        generator=torch.Generator("cpu").manual_seed(FAST["seed"]),
    )
    return np.asarray(drawn.images[0]).astype(int)


def test_a_lora_with_its_words_draws_what_plain_diffusers_draws(http: httpx.Client) -> None:
    plain = picture(http, draw(http, **PROMPTS))
    one = uploaded(http, "with-words", samples.tensors("lora") | {"bundle_emb.zorp.string_to_param.*": vectors()})
    ours = pixels(picture(http, draw(http, **PROMPTS, adapters=[one])))
    difference = np.abs(ours - by_plain_diffusers(vectors(), "lora")).max()
    assert difference <= 1, f"largest difference {difference} of 255"  # one rounding of a float at the edge of a step
    without = uploaded(http, "without-words", samples.tensors("lora"))
    assert np.abs(ours - pixels(picture(http, draw(http, **PROMPTS, adapters=[without])))).max() > 8
    assert picture(http, draw(http, **PROMPTS)) == plain, "afterwards the trigger means nothing"
    nothing = pixels(picture(http, draw(http, **PROMPTS, adapters=[one | {"strength": 0}])))
    assert np.array_equal(nothing, pixels(plain)), "nor where nothing of it is applied"


def test_embeddings_alone_are_an_adapter_too(http: httpx.Client) -> None:
    one = uploaded(http, "words-alone", {"bundle_emb.zorp.clip_l": vectors(3)})
    ours = pixels(picture(http, draw(http, **PROMPTS, adapters=[one | {"strength": 0.2}])))
    difference = np.abs(ours - by_plain_diffusers(vectors(3))).max()
    assert difference == 0, f"largest difference {difference} of 255: they are not scaled"


def test_one_trigger_in_two_adapters_is_refused_with_both_named(http: httpx.Client) -> None:
    pair = [uploaded(http, f"twin-{seed}", {"bundle_emb.zorp.clip_l": vectors(1, seed=seed)}) for seed in (1, 2)]
    problem = refused(http, adapters=pair)
    assert problem["code"] == "trigger_twice" and problem["errors"][0]["pointer"] == "/adapters/1/ref"
    assert all(one["ref"] in problem["detail"] for one in pair)


def test_the_vectors_of_a_word_count_as_tokens(http: httpx.Client) -> None:
    """The bundled model reads 24, two of which are the marks of beginning and end."""
    one = uploaded(http, "long-word", {"bundle_emb.zorp.clip_l": vectors(11)})
    assert draw(http, prompt="zorp zorp", adapters=[one])["images"]
    assert refused(http, prompt="zorp zorp apple", adapters=[one])["code"] == "prompt_too_long"


def test_an_embedding_that_the_model_cannot_read_is_refused_or_ignored(http: httpx.Client) -> None:
    data = save(samples.tensors("lora") | {"bundle_emb.zorp.clip_l": vectors(1, 768)})
    refused = upload(http, data, "sd-words")
    assert refused.status_code == 422
    assert [(one["code"], one["subject"]) for one in refused.json()["errors"]] == [("misfit", "bundle_emb.zorp")]
    assert "768" in refused.json()["errors"][0]["message"]
    taken = upload(http, data, "sd-words", ignore="bundle_emb.*")
    assert taken.is_success and taken.json()["verdict"]["embeddings"] == []


def test_a_pickle_is_refused_with_what_to_do(http: httpx.Client) -> None:
    buffer = io.BytesIO()
    torch.save(samples.tensors("lora"), buffer)
    refused = upload(http, buffer.getvalue(), "a-pickle")
    assert refused.status_code == 422
    assert "safetensors.torch.save_file(" in refused.json()["errors"][0]["message"]
