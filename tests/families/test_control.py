"""Laws of control nets: diffusers' own picture with one, the plain picture without, and nothing left behind."""

import inspect
import io
import json
import random
import time
from pathlib import Path
from typing import Any

import diffusers as library
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from app.shared.errors import RadiataError
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.owners import FIRST, PictureHolders
from app.shared.passes import second_seed, upscaled
from app.shared.profiles import Profiles
from app.shared.recipe_places import RECIPE
from app.shared.wire.generation import Generation, Status
from app.shared.wire.map import MapWanted
from tests.families.controls import control_net, tensors
from tests.families.serving import GUIDANCE, PROMPT, SCHEDULED, SEED, Diffusers, Served, apart, scheduled
from tests.workers.control.tiny_preprocessors import save_dpt
from tests.workers.drawing.pictures import gradient
from workers.control.maps import Maps, canny
from workers.control.preprocessors import fingerprints
from workers.drawing.placement import Placement

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning", "UserWarning")
]
# Pipeline -> diffusers' own with a control net, the argument that the map is, and that of the guidance
CONTROLLED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "StableDiffusionPipeline": ("StableDiffusionControlNetPipeline", "image", {"guidance_scale": GUIDANCE}),
    "StableDiffusionXLPipeline": ("StableDiffusionXLControlNetPipeline", "image", {"guidance_scale": GUIDANCE}),
    "StableDiffusion3Pipeline": ("StableDiffusion3ControlNetPipeline", "control_image", {"guidance_scale": GUIDANCE}),
    "FluxPipeline": ("FluxControlNetPipeline", "control_image", {"guidance_scale": GUIDANCE}),
    "QwenImagePipeline": (
        "QwenImageControlNetPipeline",
        "control_image",
        {"true_cfg_scale": GUIDANCE, "negative_prompt": ""},
    ),
    "ZImagePipeline": ("ZImageControlNetPipeline", "control_image", {"guidance_scale": GUIDANCE}),
}
IN_THE_GATE = ("sd-1.5", "flux.1-dev", "qwen-image")
EVERY = ("sd-1.5", "sd-2", "sdxl", "sd-3", "flux.1-dev", "qwen-image", "z-image")
FORMS = {
    "sdxl": ("", "union", "t2i"),
    "sd-1.5": ("", "t2i"),
    "flux.1-dev": ("", "union", "hint"),
    "sd-3": ("", "large"),
    "z-image": ("", "2.0", "2.1"),
}
MODES = {"sdxl": "canny", "flux.1-dev": "canny"}
STRENGTH = 0.8


def line_map(size: tuple[int, int], shift: int = 0) -> Image.Image:
    """White lines on black."""
    rows = np.zeros((size[1], size[0], 3), np.uint8)
    rows[8 + shift : 40 : 12, 8:48] = rows[8:40, 8 + shift : 48 : 15] = 255
    return Image.fromarray(rows)


class Controlled:
    """A control net of a family, as the service has it."""

    def __init__(self, served: Served, form: str, seed: int = 1, shift: int = 0) -> None:
        self.net = control_net(served.base.pipeline, form, seed)
        self.map = line_map(served.family.size, shift)
        use = served.upload(f"net-{form or 'plain'}-{seed}", tensors(self.net))
        self.use: dict[str, Any] = use | {"image": served.pictures.put(self.map).ref, "strength": STRENGTH}
        if form == "union":
            self.use["mode"] = MODES[served.family.name]

    def with_strength(self, **settings: Any) -> dict[str, Any]:
        """Its entry in a request with other settings."""
        return self.use | settings


@pytest.fixture(scope="module")
def plain(served: Served) -> np.ndarray:
    """The usual picture without control."""
    return served.drawn()


@pytest.fixture(scope="module")
def net(served: Served) -> Controlled:
    """A net of the usual form."""
    return Controlled(served, "")


def test_with_a_net_it_is_diffusers_own_picture(served: Served, diffusers: Diffusers, plain: np.ndarray) -> None:
    for form in FORMS.get(served.family.name, ("",)):
        here = Controlled(served, form)
        drawn = served.drawn(adapters=[here.use])
        assert apart(drawn, expected(served, diffusers, here, form)) <= 1, form
        assert apart(drawn, plain) > 1, f"{form or 'usual'}: the net is not heard"
    assert apart(served.drawn(), plain) == 0
    if served.family.name == "z-image":  # whose nets compute with layers of the base, and would be merged into too
        return
    here, component = Controlled(served, ""), served.family.components[0]
    (use, layers), strengths = served.lora(component), [1.0]
    if served.family.name in SCHEDULED:
        with diffusers.counting(component) as calls:
            expected(served, diffusers, here, "")
        use, strengths = scheduled(use, served.family.steps, len(calls))
    with diffusers.merged(component, layers, strengths):
        changed = expected(served, diffusers, here, "")
    assert apart(served.drawn(adapters=[here.use, use]), changed) <= max(1, served.family.apart)


def test_without_strength_it_is_the_plain_picture(served: Served, net: Controlled, plain: np.ndarray) -> None:
    assert apart(served.drawn(adapters=[net.with_strength(strength=0)]), plain) == 0
    late = served.drawn(adapters=[net.with_strength(schedule=[[0.0, 0.0], [0.5, STRENGTH]])])
    assert apart(late, plain) > 0 < apart(late, served.drawn(adapters=[net.use]))


def test_several_nets_are_summed_in_any_order(served: Served, net: Controlled) -> None:
    other = Controlled(served, "", seed=2, shift=3)
    both = served.drawn(adapters=[net.use, other.use])
    assert apart(both, served.drawn(adapters=[other.use, net.use])) == 0
    alone = served.drawn(adapters=[net.use])
    assert apart(both, alone) > 0
    assert apart(served.drawn(adapters=[other.with_strength(strength=0), net.use]), alone) == 0


def test_a_map_goes_through_the_placement_of_the_other_pictures(served: Served, net: Controlled) -> None:
    """Stretched to the drawing it is as if it had been stretched before; and any beginning is controlled."""
    width, height = served.family.size
    wide = line_map((width + 16, height))
    placed = Placement.of(wide.size, served.family.size, "stretch").place(wide)
    entries = [net.with_strength(image=served.pictures.put(one).ref) for one in (wide, placed)]
    drawn = [served.drawn(adapters=[entry], fit=fit) for entry, fit in zip(entries, ("stretch", "refuse"), strict=True)]
    assert apart(*drawn) == 0
    begun = {"init_image": served.pictures.put(line_map(served.family.size, 5)).ref, "denoise": 0.5, "steps": 4}
    without = served.drawn(**begun)
    assert apart(served.drawn(**begun, adapters=[net.with_strength(strength=0)]), without) == 0
    assert apart(served.drawn(**begun, adapters=[net.use]), without) > 0


def test_a_map_is_made_kept_and_read_as_any_other(served: Served, net: Controlled) -> None:
    width, height = served.family.size
    square = Image.new("RGB", (width, height), "black")
    square.paste("white", (16, 16, width - 16, height - 16))
    photograph = served.pictures.put(square).ref
    made = served.ended(adapters=[net.with_strength(image=photograph, preprocess="canny")])
    told = recipe_of(served, made)["adapters"][0]
    assert told["image"] != photograph and "preprocess" not in told
    edges = np.asarray(served.pictures.load(told["image"]))
    assert set(np.unique(edges)) == {0, 255} and edges.mean() < 0.5 * 255 and edges.shape[:2] == (height, width)
    asked = MapWanted(image=photograph, preprocess="canny", width=width, height=height, fit="refuse", thresholds=None)
    assert served.pictures.put(Maps(served.pictures, served.settings).made(asked)).ref == told["image"], (
        "as the route makes it"
    )
    assert png_of(served, made) == png_of(served, served.ended(adapters=[net.with_strength(image=told["image"])]))
    # It is its owner's alone, as what it is made of
    inner = square.copy()
    inner.paste("black", (24, 24, width - 24, height - 24))
    theirs = served.pictures.put(inner, "ada").ref
    request = served.accepted(adapters=[net.with_strength(image=theirs, preprocess="canny")])
    hers = Ledger(served.storage, served.redis, served.settings, "ada").accept(request)
    served.engine.run(hers.id)
    ref = recipe_of(served, served.ledger.get(hers.id))["adapters"][0]["image"]
    holders = PictureHolders(served.storage)
    assert [holders.holds(owner, ref) for owner in ("ada", FIRST, "bob")] == [True, False, False]
    assert apart(served.pixels(made), served.drawn(adapters=[net.with_strength(image=photograph)])) > 0
    for preprocess in ("depth", "pose"):
        use = net.with_strength(preprocess=preprocess)
        assert found(served.refusal(adapters=[use])) == [("/adapters/0/preprocess", "preprocess_unavailable")]
    if served.family.name in MODES:
        light = served.pictures.put(Image.new("RGB", (width, height), "white")).ref
        ended = served.ended(adapters=[Controlled(served, "union").with_strength(image=light)])
        assert ended.error and ended.error.code == "map_not_lines"


def test_a_map_of_depth_is_the_one_that_is_asked_for_by_itself(
    served: Served, net: Controlled, plain: np.ndarray, tmp_path: Path
) -> None:
    """And its model is named in the recipe; plain pictures are as before."""
    width, height = served.family.size
    photograph = served.pictures.put(line_map((width, height), 2)).ref
    served.settings.preprocessors["depth"] = str(save_dpt(tmp_path))
    made = served.ended(adapters=[net.with_strength(image=photograph, preprocess="depth")])
    recipe = recipe_of(served, made)
    asked = MapWanted(image=photograph, preprocess="depth", width=width, height=height, fit="refuse", thresholds=None)
    ref = served.pictures.put(Maps(served.pictures, served.settings).made(asked)).ref
    assert recipe["adapters"][0]["image"] == ref and len(recipe["preprocessors"]["depth"][0]) == 64
    # Accepted for a model, it is drawn by no other; a plain request is accepted for none
    profile = served.base.profile.model_copy(update={"preprocessors": fingerprints(served.settings)})
    Profiles(served.storage, served.settings).publish(profile, served.base.shapes(), served.base.facts())
    entry = net.with_strength(image=photograph, preprocess="depth")
    until = time.monotonic() + 30
    while not (request := served.accepted(adapters=[entry])).preprocessors["depth"] and time.monotonic() < until:
        time.sleep(0.1)  # acceptance knows a profile for a moment
    assert request.preprocessors == recipe["preprocessors"] and not served.accepted().preprocessors
    assert png_of(served, served.ended(adapters=[entry])) == png_of(served, made), (
        "pinned or not, the bytes are the same"
    )
    other = request.model_copy(update={"preprocessors": {"depth": ["0" * 64]}})
    generation = served.ledger.accept(other)
    served.engine.run(generation.id)
    assert (error := served.ledger.get(generation.id).error) and error.code == "other_preprocessor"
    assert apart(served.pixels(made), served.drawn(adapters=[net.with_strength(image=ref)])) == 0
    assert apart(served.drawn(), plain) == 0


def test_a_second_pass_reads_a_map_of_its_own_size(served: Served, net: Controlled) -> None:
    """It is image to image of the first result, with the map that is made of the photograph at that size."""
    if served.base.profile.sizes:
        pytest.skip("draws no larger size")
    photograph = gradient(144, 144)
    use = net.with_strength(image=served.pictures.put(photograph).ref, preprocess="canny", thresholds=[20, 60])
    upscale = {"upscale": {"scale": 1.5, "denoise": 0.5}, "fit": "stretch"}
    whole = served.ended(adapters=[use], **upscale)
    larger = upscaled(served.family.size, 1.5, served.base.profile.size_multiple)
    edges = {
        size: served.pictures.put(canny(Placement.of(photograph.size, size, "stretch").place(photograph), (20, 60))).ref
        for size in (served.family.size, larger)
    }
    (told,) = recipe_of(served, whole)["adapters"]
    assert told["maps"] == [*edges.values()] and (told["image"], told["preprocess"]) == (use["image"], "canny")
    first = served.ended(adapters=[net.with_strength(image=edges[served.family.size])])
    begun = served.pictures.put(Image.fromarray(served.pixels(first).astype(np.uint8))).ref
    second: dict[str, Any] = {"init_image": begun, "fit": "stretch", "denoise": 0.5, "seed": second_seed(SEED)}
    second |= dict(zip(("width", "height"), larger, strict=True))
    drawn = served.drawn(**second, adapters=[net.with_strength(image=edges[larger])])
    assert apart(served.pixels(whole), drawn) == 0
    # A map that is given ready-made is brought to each size from its own, and the first one's details are not made up
    given = served.ended(adapters=[net.with_strength(image=edges[larger])], **upscale)
    assert "maps" not in recipe_of(served, given)["adapters"][0]
    stretched = served.ended(adapters=[net.with_strength(image=edges[served.family.size])], **upscale)
    assert apart(served.pixels(given), served.pixels(stretched)) > 0 < apart(drawn, served.pixels(stretched))


def png_of(served: Served, generation: Generation) -> bytes:
    """The file of a generation's first picture."""
    assert generation.status is Status.SUCCEEDED, generation.error
    return served.storage.get(image_key(generation.id, 0)) or b""


def recipe_of(served: Served, generation: Generation) -> dict[str, Any]:
    """What the file of its first picture says."""
    with Image.open(io.BytesIO(png_of(served, generation))) as picture:
        return json.loads(picture.info[RECIPE])


def test_nothing_is_left_behind(
    served: Served,
    net: Controlled,
    plain: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
) -> None:
    """Plain, control, an error inside, weights, in any order: what is plain is always the same picture."""
    numbers = random.Random(0)
    before = objects(served)
    denoiser = getattr(served.base.pipeline, served.family.components[0])
    lora, _ = served.lora(served.family.components[0])
    how: dict[str, list[dict[str, Any]]] = {
        "plain": [],
        "control": [net.use],
        "error": [net.use],
        "weights": [lora],
        "both": [lora, net.use],
    }
    expected: dict[str, np.ndarray] = {"plain": plain}
    forward = type(net.net).forward
    for _ in range(100 if pytestconfig.getoption("every") else 10):
        name = numbers.choice([*how])
        with monkeypatch.context() as patch:
            if name == "error":
                patch.setattr(type(net.net), "forward", failing(forward, numbers.randrange(2)))
            ended = served.ended(adapters=how[name])
        if name == "error":
            assert ended.status is Status.FAILED and ended.error and "on purpose" in ended.error.message
        else:
            drawn = served.pixels(ended)
            assert apart(drawn, expected.setdefault(name, drawn)) == 0, name
        assert not denoiser._forward_pre_hooks and not denoiser._forward_pre_hooks_with_kwargs
        assert objects(served) == before, name
    assert apart(served.drawn(), plain) == 0


def test_nets_stay_in_memory_while_there_is_room(
    served: Served, net: Controlled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the picture at hand stay in any case; what goes is made anew, and draws the same."""
    nets = served.engine._controller._nets  # pyright: ignore[reportPrivateUsage]
    other = Controlled(served, "", seed=4)
    drawn = served.drawn(adapters=[net.use, other.use])
    both = {one.use["ref"].removeprefix("sha256:") for one in (net, other)}
    assert both <= nets.resident <= set(served.engine.resident)
    monkeypatch.setattr(nets, "_budget", 1)
    served.drawn(adapters=[other.use])
    assert nets.resident == {other.use["ref"].removeprefix("sha256:")}
    assert apart(served.drawn(adapters=[net.use, other.use]), drawn) == 0
    assert nets.resident == both


def test_what_a_net_cannot_obey_is_refused(served: Served, net: Controlled) -> None:
    lora, _ = served.lora(served.family.components[0])
    wide = served.pictures.put(line_map((72, 64))).ref
    refused: list[tuple[dict[str, Any], str, str]] = [
        (net.with_strength(image=None), "/adapters/0/image", "image_missing"),
        (net.with_strength(image="image:" + "0" * 64), "/adapters/0/image", "image_unknown"),
        (net.with_strength(image=wide), "/adapters/0/image", "picture_size"),
        (net.with_strength(rank=2), "/adapters/0/rank", "setting_of_another_kind"),
        (net.with_strength(strengths={"vae": 0.5}), "/adapters/0/strengths", "setting_of_another_kind"),
        (net.with_strength(mode="canny"), "/adapters/0/mode", "mode_unknown"),
        (net.with_strength(thresholds=[1, 2]), "/adapters/0/thresholds", "thresholds_without_edges"),
        (net.with_strength(schedule=[[0.0, 0.0], [0.9, 1.0]]), "/adapters/0/schedule", "schedule_without_step"),
        (lora | {"image": net.use["image"]}, "/adapters/0/image", "setting_of_another_kind"),
    ]
    for use, at, code in refused:
        assert found(served.refusal(adapters=[use])) == [(at, code)]
    if served.family.name in MODES:
        union = Controlled(served, "union")
        assert found(served.refusal(adapters=[union.with_strength(mode=None)])) == [
            ("/adapters/0/mode", "mode_missing")
        ]
        assert found(served.refusal(adapters=[union.with_strength(mode="fog")])) == [
            ("/adapters/0/mode", "mode_unknown")
        ]


def found(refusal: RadiataError | None) -> list[tuple[str, str]]:
    """Pointer and code of every reason."""
    assert refusal
    return [(one["pointer"], one["code"]) for one in refusal.reasons]


def failing(forward: Any, calls: int) -> Any:
    """A forward that fails after so many calls."""
    times = 0

    def called(*given: Any, **named: Any) -> Any:
        nonlocal times
        times += 1
        if times > calls:
            raise RadiataError("on_purpose", "on purpose")
        return forward(*given, **named)

    return called


def objects(served: Served) -> dict[str, int]:
    """The identity of every module and processor of a base."""
    parts = {name: part for name, part in served.base.pipeline.components.items() if isinstance(part, nn.Module)}
    return {
        f"{name}.{path}": id(one)
        for name, part in parts.items()
        for path, module in part.named_modules()
        for one in (module, getattr(module, "processor", None))
    }


def expected(served: Served, diffusers: Diffusers, here: Controlled, form: str) -> np.ndarray:
    """The picture of diffusers' own pipeline with the net, over the same latents."""
    kind, argument, further = CONTROLLED[type(diffusers.pipeline).__name__]
    parts: dict[str, Any] = dict(diffusers.pipeline.components)
    if form == "t2i":
        kind = kind.replace("ControlNet", "Adapter").replace("StableDiffusionXLAdapter", "StableDiffusionXLAdapter")
        parts |= {"adapter": here.net}
        further = further | {"adapter_conditioning_scale": STRENGTH}
    else:
        kind = kind.replace("ControlNet", "ControlNetUnion") if form == "union" and "XL" in kind else kind
        parts |= {"controlnet": here.net}
        further = further | {"controlnet_conditioning_scale": STRENGTH}
    if form == "union":
        argument = "control_image"
        further |= {"control_mode": [3] if "XL" in kind else 0}
    pipeline = getattr(library, kind)(**{name: part for name, part in parts.items() if name in takes(kind)})
    pipeline.set_progress_bar_config(disable=True)
    width, height = served.family.size
    call: dict[str, Any] = {"prompt": served.family.prompt or PROMPT, "width": width, "height": height}
    call |= {argument: here.map, "num_inference_steps": served.family.steps} | further
    with torch.inference_mode():
        if kind.startswith(("Flux", "QwenImage")):  # encoding the map takes numbers from the picture's generator
            channels = pipeline.transformer.config.in_channels // 4
            shape = (1, channels, height, width, torch.float32, torch.device("cpu"))
            made = pipeline.prepare_latents(*shape, torch.Generator().manual_seed(SEED))
            call["latents"] = made[0] if isinstance(made, tuple) else made
        torch.manual_seed(SEED)
        output = pipeline(**call, generator=torch.Generator().manual_seed(SEED))
    return np.asarray(served.family.picture(output)).astype(int)


def takes(kind: str) -> frozenset[str]:
    """Names of the parts that a pipeline of diffusers' is made of."""
    return frozenset(inspect.signature(getattr(library, kind).__init__).parameters)
