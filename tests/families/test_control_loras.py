"""Laws of control LoRAs: diffusers' own picture with one, the plain one without, and the same modules as before."""

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers as library
import numpy as np
import pytest
import torch

from app.shared.errors import AdapterRefused
from app.shared.wire.generation import Status
from tests.families.control_loras import READER, control_lora, scales
from tests.families.registry import FAMILIES
from tests.families.serving import GUIDANCE, PROMPT, SEED, Diffusers, Served, apart
from tests.families.test_control import Controlled, found, line_map, objects, recipe_of

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]
IN_THE_GATE = EVERY = ("flux.1-dev",)


@pytest.fixture(scope="module")
def plain(served: Served) -> np.ndarray:
    """The usual picture."""
    return served.drawn()


@pytest.fixture(scope="module")
def lora(served: Served) -> dict[str, Any]:
    """An entry with one and its picture."""
    transformer = served.base.pipeline.transformer
    use = served.upload("control-lora", control_lora(transformer) | scales(transformer))
    return use | {"image": served.pictures.put(line_map(served.family.size)).ref}


def test_with_one_it_is_diffusers_own_picture(served: Served, plain: np.ndarray, lora: dict[str, Any]) -> None:
    expected = by_diffusers(served, 1.0)
    for way in ("merge", "recompute"):  # a whole new scale of a norm has no bypass
        assert apart(served.drawn(adapters=[lora], apply=way), expected) <= 1, way
    other = lora | {"image": served.pictures.put(line_map(served.family.size, 4)).ref}
    assert apart(expected, plain) > 1 < apart(served.drawn(adapters=[other]), expected)
    assert apart(served.drawn(), plain) == 0


def test_at_another_strength_step_by_step_and_beside_others(served: Served, plain: np.ndarray) -> None:
    transformer = served.base.pipeline.transformer
    use = served.upload("without-norms", control_lora(transformer, seed=6))
    use |= {"image": served.pictures.put(line_map(served.family.size)).ref}
    expected = by_diffusers(served, 0.6, seed=6, norms=False)
    for way in ("merge", "bypass", "recompute"):
        assert apart(served.drawn(adapters=[use | {"strength": 0.6}], apply=way), expected) <= 1, way
    usual = served.drawn(adapters=[use])
    for at_nothing in ({"strength": 0}, {"schedule": [[0.0, 0.0]]}, {"strengths": {"transformer": 0}}):
        assert apart(served.drawn(adapters=[use | at_nothing]), plain) == 0
    late, by_rank = {"schedule": [[0.0, 0.0], [0.5, 1.0]]}, {"rank": 1}
    for changed in (late, by_rank, {"blocks": {READER: 0.0}}):
        drawn = served.drawn(adapters=[use | changed])
        assert apart(drawn, usual) > 0 < apart(drawn, plain), changed
    net, other = Controlled(served, "").use, served.lora("transformer")[0]
    stack = [use, net, other]
    assert apart(served.drawn(adapters=stack), served.drawn(adapters=stack[::-1])) == 0
    width, height = served.family.size
    left = line_map((width, height))
    left.paste("white", (0, 0, width // 2, height))
    left.paste("black", (width // 2, 0, width, height))
    masked = use | {"mask": served.pictures.put(left).ref, "unmasked": "apply"}
    assert apart(served.drawn(adapters=[masked]), usual) > 0
    begun = {"init_image": use["image"], "denoise": 0.5, "steps": 4}
    assert apart(served.drawn(**begun, adapters=[use]), served.drawn(**begun)) > 0


def test_nothing_is_left_behind(
    served: Served, lora: dict[str, Any], plain: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = served.base.pipeline.transformer
    before, reader = objects(served), transformer.get_submodule(READER)
    drawn = served.drawn(adapters=[lora])
    with monkeypatch.context() as patch:
        patch.setattr(type(transformer.norm_out), "forward", None)
        assert served.ended(adapters=[lora]).status is Status.FAILED
    assert objects(served) == before and transformer.get_submodule(READER) is reader
    assert not reader._forward_hooks and not served.engine._applier.verify(60)
    assert apart(served.drawn(), plain) == 0 == apart(served.drawn(adapters=[lora]), drawn)


def test_its_map_is_made_kept_and_named_in_the_recipe(served: Served, lora: dict[str, Any]) -> None:
    photograph = line_map(served.family.size).convert("L").point(lambda value: 255 - value).convert("RGB")
    ref = served.pictures.put(photograph).ref
    ended = served.ended(adapters=[lora | {"image": ref, "preprocess": "canny"}])
    told = recipe_of(served, ended)["adapters"][0]
    assert told["image"] != ref and "preprocess" not in told
    assert apart(served.pixels(ended), served.drawn(adapters=[lora | {"image": told["image"]}])) == 0


def test_it_is_judged_as_what_it_is(served: Served, lora: dict[str, Any]) -> None:
    version = served._parts.catalog.resolve(lora["ref"])
    assert version.kind == "weights"
    verdict = served._parts.catalog.record(lora["ref"]).verdict
    assert verdict["reads_picture"] is True and json.dumps(verdict)
    wide = served.pictures.put(line_map((72, 64))).ref
    refused = {
        "image_missing": {"image": None},
        "picture_size": {"image": wide},
        "image_unknown": {"image": "image:" + "0" * 64},
        "setting_of_another_kind": {"mode": "canny"},
    }
    for code, changed in refused.items():
        (reason,) = found(served.refusal(adapters=[lora | changed]))
        assert reason[1] == code and reason[0].startswith("/adapters/0/")
    usual, _ = served.lora("transformer")
    for field, value in (("image", lora["image"]), ("preprocess", "canny")):
        assert found(served.refusal(adapters=[usual | {field: value}])) == [
            (f"/adapters/0/{field}", "setting_of_another_kind")
        ]
    transformer = served.base.pipeline.transformer
    for times in (3, 4):  # of the inputs of the layer
        odd = control_lora(transformer)
        name = f"transformer.{READER}.lora_A.weight"
        odd[name] = torch.cat([odd[name]] * times, dim=1)[:, : times * transformer.config.in_channels]
        with pytest.raises(AdapterRefused) as caught:
            served.upload("odd", odd)
        assert [reason["subject"] for reason in caught.value.reasons] == [f"transformer.{READER}"]


def by_diffusers(served: Served, strength: float, seed: int = 5, norms: bool = True) -> np.ndarray:
    """The picture of FluxControlPipeline with the file loaded by diffusers, over the same latents."""
    own = Diffusers(FAMILIES[served.family.name], Path(served.folder)).pipeline
    taken = inspect.signature(library.FluxControlPipeline.__init__).parameters
    pipeline = library.FluxControlPipeline(**{name: part for name, part in own.components.items() if name in taken})
    pipeline.set_progress_bar_config(disable=True)
    transformer: Any = pipeline.transformer
    file = control_lora(transformer, seed) | (scales(transformer, named_by_diffusers=True) if norms else {})
    pipeline.load_lora_weights(file, adapter_name="control")
    pipeline.set_adapters("control", strength)
    width, height = served.family.size
    with torch.inference_mode():
        shape = (1, transformer.config.in_channels // 8, height, width, torch.float32, torch.device("cpu"))
        latents = pipeline.prepare_latents(*shape, torch.Generator().manual_seed(SEED))[0]
        output: Any = pipeline(
            prompt=PROMPT,
            control_image=line_map((width, height)),
            width=width,
            height=height,
            num_inference_steps=served.family.steps,
            guidance_scale=GUIDANCE,
            latents=latents,
            generator=torch.Generator().manual_seed(SEED),
        )
    return np.asarray(output.images[0]).astype(int)
