"""Every field of a request is obeyed and is in the recipe: a field that is added is tried here by itself.

A value other than usual is found by the field's JSON Schema; where it takes knowledge to choose one, it stands below.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from PIL import Image
from redis import Redis

from app.shared.catalog import file_key
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.pictures import Pictures, picture_ref
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.adapter import TAKEN_BY, AdapterSettings, AdapterUse
from app.shared.wire.generation import FIRST_FIELDS, GenerationRequest, Picture, ResolvedRequest, Status
from tests.app.shared.making import profile, request
from tests.families import stable_diffusion
from tests.lycoris import zoo
from tests.workers.drawing.pictures import gradient, spot
from tests.workers.training import toys
from workers.drawing.engine import Engine
from workers.models.loading import LoadedModel
from workers.models.obeys import max_clip_skip, obeyed
from workers.models.sampler_trial import offer

# diffusers' own schedulers, with the newest numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_v"
PINNED = {"base", "preprocessors"}  # others are not this engine's to draw
NOT_HERE = {"reference_images", "drawn"}  # an editing model's, and what follows from the others
OF_THE_FILE = {"output_format", "quality"}  # test_encoding.py has these
UNSEEN = {"model", "count"}  # names and numbers of pictures: no pixel of the first one, and no word of its recipe
ROUNDING = {"apply"}  # the recipe says which way was taken; the pixels may be the same
PICTURES = {
    "init_image": gradient(64, 64),
    "mask_image": spot(64, 64, (0, 0), 0.125),
    "wide": gradient(96, 64),
    "other": gradient(64, 64, 1),
}
VALUES: dict[str, Any] = {
    "sampler": "ddpm",
    "apply": "bypass",
    "adapters": [],
    "model": "another-name",
    "sigmas": "karras",
    "clip_skip": 1,
    "prompt_2": "blue square",
    "negative_prompt_2": "blue square",
    "guidance_rescale": 0.7,
    "eta": 0.5,
    "original_size": [32, 48],
    "target_size": [48, 32],
    "crops_coords_top_left": [0, 16],
    "denoise": 0.4,
    "mask_blur": 6,
    "fit": "crop",
    "inpaint_area": "masked",
    "inpaint_padding": 4,
    "upscale": {"scale": 1.5},
} | {field: picture_ref(picture) for field, picture in PICTURES.items() if field in Picture.model_fields}
WITH_PICTURE = {"init_image": VALUES["init_image"], "denoise": 0.7}
MASKED = WITH_PICTURE | {"mask_image": VALUES["mask_image"]}
BESIDE: dict[str, Any] = {  # what a field needs beside it
    "sigmas": {"sampler": "euler"},
    "eta": {"sampler": "ddim"},
    "prompt_syntax": {"prompt": "(red:1.5) disc"},
    **dict.fromkeys(("denoise", "mask_image"), WITH_PICTURE),
    **dict.fromkeys(("mask_blur", "inpaint_area"), MASKED),
    "init_image": {"init_image": picture_ref(PICTURES["other"]), "denoise": 0.7},
    "inpaint_padding": MASKED | {"inpaint_area": "masked"},
    "fit": {"init_image": picture_ref(PICTURES["wide"]), "denoise": 0.7, "fit": "stretch"},
}
OF_SDXL = {"prompt_2", "negative_prompt_2", "original_size", "target_size", "crops_coords_top_left"}
VALUES_OF_AN_ADAPTER: dict[str, Any] = {
    "strengths": {"unet": 0.5},
    "blocks": {"down": 0.5},
    "schedule": [[0.0, 0.2], [0.5, 1.0]],
    "rank": 1,
}


class Refused(Exception):
    """A generation that failed because the base does not obey a field."""


Drawn = Callable[..., tuple[bytes, dict[str, Any]]]


def another(field: str, usual: Any, of: type[GenerationRequest] | type[AdapterUse]) -> Any:
    """A value that the field may have, and that is not the usual one."""
    schema = of.model_json_schema()["properties"][field]
    schema = next((one for one in schema.get("anyOf", ()) if one["type"] != "null"), schema)
    if "enum" in schema:
        return next(one for one in schema["enum"] if one != usual)
    if schema["type"] == "boolean":
        return not usual
    if schema["type"] == "string":
        return f"{usual} blue square"
    if schema["type"] == "integer":
        return usual + schema.get("multipleOf", 1)
    assert schema["type"] == "number", f"choose a value of {field!r} in this file"
    return (usual + schema.get("maximum", usual + 2)) / 2


@pytest.fixture
def adapters(storage: Storage) -> list[dict[str, Any]]:
    """Two that give another picture in sequence than in sum: one multiplies what the other has added."""
    found = []
    for algorithm in ("lora", "ia3-output"):
        data = zoo.file({LAYER: zoo.tensors(algorithm, torch.empty(32, 32), seed=5)})
        sha256 = hashlib.sha256(data).hexdigest()
        storage.put(file_key(sha256), data)
        found.append({"ref": algorithm, "name": algorithm, "version": 1, "sha256": sha256})
    return found


@pytest.fixture
def drawer(storage: Storage, redis: Redis, settings: Settings) -> Iterator[Callable[..., Drawn]]:
    """Draws requests over a real pipeline: the pixels, and the recipe in the file."""
    deterministic = torch.are_deterministic_algorithms_enabled()

    def over(pipe: Any, *components: str, **usual: Any) -> Drawn:
        pipe.set_progress_bar_config(disable=True)
        for picture in PICTURES.values():
            Pictures(storage).put(picture)
        found = offer(pipe.scheduler)
        facts = profile(
            obeys=obeyed(pipe),
            samplers=found.samplers,
            sampler_sigmas=found.sigmas,
            eta_samplers=found.eta,
            max_clip_skip=max_clip_skip(pipe),
        )
        base = LoadedModel(pipe, {name: getattr(pipe, name) for name in components}, facts, Path())
        engine, ledger = Engine(base, storage, redis, settings), Ledger(storage, redis, settings)

        def draw(**fields: Any) -> tuple[bytes, dict[str, Any]]:
            generation = ledger.accept(request(**usual | fields))
            engine.run(generation.id)
            ended = ledger.get(generation.id)
            if ended.status is not Status.SUCCEEDED:
                assert ended.error is not None and ended.error.code == "not_obeyed", ended.error
                raise Refused(ended.error.message)
            with Image.open(io.BytesIO(storage.get(image_key(generation.id, 0)) or b"")) as picture:
                picture.load()
                return picture.tobytes(), json.loads(picture.text["radiata"])  # type: ignore[attr-defined]

        return draw

    yield over
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def drawn(drawer: Callable[..., Drawn], adapters: list[dict[str, Any]]) -> Drawn:
    """Over a Stable Diffusion 1, with adapters."""
    usual = {"prompt": "red disc", "adapters": adapters, "apply": "merge", "guidance_scale": 5.0}
    return drawer(toys.pipeline(layers=2), "unet", "text_encoder", **usual)


def test_every_field_of_a_request_decides_the_pixels_and_is_in_the_recipe(drawn: Drawn) -> None:
    usual = request(prompt="red disc", guidance_scale=5.0)
    plain = drawn()
    for field in ResolvedRequest.model_fields.keys() - PINNED - OF_SDXL - NOT_HERE - OF_THE_FILE:
        if (value := VALUES.get(field)) is None:
            value = another(field, getattr(usual, field), GenerationRequest)
        beside = BESIDE.get(field, {})
        pixels, recipe = drawn(**beside) if beside else plain
        other_pixels, other_recipe = drawn(**beside | {field: value})
        if field in UNSEEN:
            assert (other_pixels, other_recipe) == (pixels, recipe), field
            continue
        assert other_recipe != recipe, f"{field} is not in the recipe"
        assert field in ROUNDING or other_pixels != pixels, f"{field} changes nothing"


def test_fields_that_a_base_has_not_are_refused(drawn: Drawn) -> None:
    for field in OF_SDXL:
        with pytest.raises(Refused, match=f"obeys no {field}"):
            drawn(**{field: VALUES[field]})


def test_fields_of_a_base_with_two_text_encoders_decide_the_pixels_too(
    drawer: Callable[..., Drawn], tmp_path: Path
) -> None:
    stable_diffusion.sdxl(tmp_path)
    pipe = StableDiffusionXLPipeline.from_pretrained(tmp_path, local_files_only=True)
    drawn = drawer(pipe, "unet", "text_encoder", "text_encoder_2", guidance_scale=5.0)
    plain = drawn()
    for field in (*OF_SDXL, "clip_skip", "guidance_rescale", "eta", "sigmas"):
        beside = BESIDE.get(field, {})
        pixels, recipe = drawn(**beside) if beside else plain
        other_pixels, other_recipe = drawn(**beside | {field: VALUES[field]})
        assert other_recipe == recipe | {field: VALUES[field]}
        assert other_pixels != pixels, f"{field} changes nothing"


def test_later_fields_are_in_the_recipe_where_they_are_set(drawn: Drawn) -> None:
    _, recipe = drawn()
    assert not recipe.keys() & (Picture.model_fields.keys() - FIRST_FIELDS)
    assert recipe.keys() >= FIRST_FIELDS - {"count", "apply"}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"sampler": "ddim", "sigmas": "karras"}, "no karras sigmas with the sampler 'ddim'; it has simple"),
        ({"sampler": "euler", "eta": 0.5}, "reads no eta with the sampler 'euler', only with own, ddim"),
        ({"clip_skip": 2}, "has layers for at most 1"),
        ({"clip_skip": 1, "prompt_syntax": "weighted"}, "obeys no clip_skip with weighted prompts"),
        ({"guidance_rescale": 0.5, "guidance_scale": 1.0}, "only where guidance_scale is over 1"),
    ],
)
def test_a_field_without_effect_is_refused(drawn: Drawn, fields: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        drawn(**fields)


def test_every_setting_of_an_adapter_decides_the_pixels_and_is_in_the_recipe(
    drawn: Drawn, adapters: list[dict[str, Any]]
) -> None:
    pixels, recipe = drawn()
    first, second = adapters
    usual = AdapterUse(ref="a")
    for field in AdapterSettings.model_fields.keys() - {"ref", "mask", "unmasked"}:  # test_masks.py has these
        if "weights" not in TAKEN_BY.get(field, ("weights",)):
            continue
        if (value := VALUES_OF_AN_ADAPTER.get(field)) is None:
            value = another(field, getattr(usual, field), AdapterUse)
        other_pixels, other_recipe = drawn(adapters=[first | {field: value}, second])
        assert other_recipe != recipe, f"{field} is not in the recipe"
        assert other_pixels != pixels, f"{field} changes nothing"


def test_what_is_asked_for_is_what_is_resolved() -> None:
    """But for what decides nothing of a picture, and the base, which nobody asks for."""
    only = GenerationRequest.model_fields.keys() ^ ResolvedRequest.model_fields.keys()
    assert only == {"priority", "webhook", "metadata", "start_within_s", "drawn", *PINNED}
