"""Image prompts on tiny bases, through the real acceptance, intake and engine, against diffusers' own loader."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

from app.shared.errors import AdapterRefused, RadiataError
from app.shared.wire.generation import Status
from app.shared.wire.model import OWN_ENCODER
from tests.families.registry import FAMILIES
from tests.families.serving import GUIDANCE, PROMPT, SCHEDULE, SEED, Diffusers, Served, apart, scheduled
from tests.families.test_control import recipe_of
from tests.workers.image_prompts import made

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]
BASES = ("sd-1.5", pytest.param("sdxl", marks=pytest.mark.slow), "flux.1-dev")
READS = {OWN_ENCODER: (made.HIDDEN, made.PROJECTED), made.WIDE: (made.WIDE_HIDDEN, made.WIDE_PROJECTED)}
PROJECTIONS = {"plain": made.plain_projection, "plus": made.plus_projection, "full": made.full_projection}
COMINGS_AND_GOINGS = {False: 20, True: 1000}  # with --every: by hand, for minutes


@pytest.fixture(scope="module", params=BASES)
def served(
    request: pytest.FixtureRequest, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A base with an image encoder that its radiata.json names."""
    with made.serving_with_encoder(FAMILIES[request.param], tmp_path_factory, _valkey_server) as one:
        yield one


def tensors(served: Served, kind: str = "plain", seed: int = 9, encoder: str = OWN_ENCODER) -> dict[str, Tensor]:
    """A file for a base, of the width of one of its image encoders."""
    pipeline = served.base.pipeline
    reads = READS[encoder][kind == "plain"]
    return PROJECTIONS[kind](made.width_of(pipeline), reads) | made.attention(pipeline, seed)


def uploaded(
    served: Served, kind: str = "plain", seed: int = 9, colour: str = "green", encoder: str = OWN_ENCODER
) -> dict[str, Any]:
    """An entry of a request."""
    use = served.upload(f"prompt-{kind}-{seed}-{encoder}", tensors(served, kind, seed, encoder))
    return use | {"image": served.pictures.put(made.disc(colour=colour)).ref}


def kinds(served: Served) -> list[str]:
    """The kinds of projection that diffusers takes on a base."""
    return ["plain"] if served.family.name.startswith("flux") else [*PROJECTIONS]


def by_diffusers(
    served: Served,
    kind: str,
    strength: float,
    picture: Any,
    encoder: str = OWN_ENCODER,
    meanwhile: Callable[[Diffusers], AbstractContextManager[Any]] = nullcontext,
) -> np.ndarray:
    """The picture of diffusers' own loader; meanwhile: what is done to its pipeline."""
    opened = Diffusers(served.family, served.folder)
    own = opened.pipeline
    folder = served.folder.parent / ("encoder" if encoder == OWN_ENCODER else encoder)
    reading = CLIPVisionModelWithProjection.from_pretrained(folder)
    size = {"height": made.EDGE, "width": made.EDGE}
    reader = CLIPImageProcessorPil(size={"shortest_edge": made.EDGE}, crop_size=size)
    own.register_modules(image_encoder=reading, feature_extractor=reader)
    nowhere = "image_encoder_folder" if hasattr(own, "unet") else "image_encoder_pretrained_model_name_or_path"
    own.load_ip_adapter(
        made.nested(tensors(served, kind, encoder=encoder)),
        subfolder="",
        weight_name="",
        low_cpu_mem_usage=False,
        **{nowhere: None},
    )
    own.set_ip_adapter_scale(strength)
    generator = torch.Generator("cpu").manual_seed(SEED)
    width, height = served.family.size
    call: dict[str, Any] = {
        "prompt": PROMPT,
        "width": width,
        "height": height,
        "num_inference_steps": served.family.steps,
    }
    with meanwhile(opened), torch.inference_mode():
        drawn = own(**call, guidance_scale=GUIDANCE, ip_adapter_image=picture, generator=generator).images[0]
    return np.asarray(drawn).astype(int)


def test_an_image_prompt_is_diffusers_own(served: Served) -> None:
    plain = served.drawn()
    for kind in kinds(served):
        drawn = served.drawn(adapters=[uploaded(served, kind) | {"strength": 0.7}])
        assert apart(drawn, by_diffusers(served, kind, 0.7, made.disc())) <= 1, kind
        assert apart(drawn, plain) > 1, f"{kind} is not heard"


def test_under_a_schedule_and_beside_a_lora_under_one_it_is_diffusers_own(served: Served) -> None:
    """In diffusers both strengths are set before each call of the denoiser."""
    component = served.family.components[0]
    lora, layers = served.lora(component)
    calls: list[None] = []

    @contextmanager
    def counted(opened: Diffusers) -> Iterator[None]:
        with opened.counting(component) as found:
            yield
        calls.extend(found)

    @contextmanager
    def by_step(opened: Diffusers) -> Iterator[None]:
        left = iter(strengths)

        def before_call(*_: object) -> None:
            opened.pipeline.set_ip_adapter_scale(0.7 * next(left))

        hook = getattr(opened.pipeline, component).register_forward_pre_hook(before_call)
        with opened.merged(component, layers, strengths):
            yield
        hook.remove()

    by_diffusers(served, "plain", 0.7, made.disc(), meanwhile=counted)
    changing, strengths = scheduled(lora, served.family.steps, len(calls))
    schedule = [[since, 0.7 * strength] for since, strength in SCHEDULE]
    drawn = served.drawn(adapters=[uploaded(served) | {"schedule": schedule}, changing])
    theirs = by_diffusers(served, "plain", 0.7, made.disc(), meanwhile=by_step)
    assert apart(drawn, theirs) <= max(1, served.family.apart)
    assert apart(drawn, served.drawn(adapters=[uploaded(served) | {"strength": 0.7}, lora])) > 1


def test_a_file_is_read_by_the_image_encoder_of_its_width(served: Served) -> None:
    """One more encoder of the base: nothing is named, and nothing else is drawn than diffusers does with that one."""
    kind, use = kinds(served)[-1], {"strength": 0.7}
    for one in {"plain", kind}:
        entry = uploaded(served, one, encoder=made.WIDE) | use
        assert apart(served.drawn(adapters=[entry]), by_diffusers(served, one, 0.7, made.disc(), made.WIDE)) <= 1, one
    both = [uploaded(served), uploaded(served, encoder=made.WIDE)]
    known = served.base.profile.image_encoders
    asked = {one.name: one.image_encoder for one in served.accepted(adapters=both).adapters}
    assert asked == {f"prompt-plain-9-{name}": one.fingerprint for name, one in known.items()}
    assert len(set(asked.values())) == 2
    for named, wrong in ((made.WIDE, "'wide' has 40"), ("vit-l", "has own, wide: name one of these")):
        with pytest.raises(AdapterRefused, match=wrong):
            served.upload("named", tensors(served), named)


def test_what_is_asked_of_an_image_prompt_changes_the_picture(served: Served) -> None:
    use = uploaded(served)
    usual = served.drawn(adapters=[use])
    block = "down.1" if "unet" in served.family.components else "transformer_blocks.0"
    wide = served.pictures.put(made.disc(width=48)).ref
    others: dict[str, dict[str, Any]] = {
        "strength": {"strength": 0.3},
        "strengths": {"strengths": {served.family.components[0]: 0.3}},
        "blocks": {"blocks": {block: 0.2}},
        "schedule": {"schedule": [[0.0, 1.0], [0.5, 0.0]]},
        "image": {"image": served.pictures.put(made.disc(colour="red")).ref},
        "images": {"image": None, "images": [use["image"], wide]},
    }
    for field, changed in others.items():
        assert apart(served.drawn(adapters=[use | changed]), usual), f"{field} changes nothing"
    cropped, padded = ([use | {"image": wide, "fit": fit}] for fit in ("crop", "pad"))
    assert apart(served.drawn(adapters=cropped), served.drawn(adapters=padded)), "fit changes nothing"


def test_at_strength_0_and_afterwards_the_plain_picture_is_the_same_to_the_bit(served: Served) -> None:
    use, (before,) = uploaded(served), served.ended().images
    ways = ({"strength": 0.0}, {"schedule": [[0.0, 0.0]]}, {"strengths": {served.family.components[0]: 0.0}})
    for way in ways:
        assert not apart(served.drawn(adapters=[use | way]), served.drawn()), way
    served.drawn(adapters=[use])
    (after,) = served.ended().images
    assert after.sha256 == before.sha256


def test_the_recipe_names_the_image_encoder_of_an_image_prompt_and_of_nothing_else(served: Served) -> None:
    own = served.base.profile.image_encoders[OWN_ENCODER].fingerprint
    lora, _ = served.lora(served.family.components[0])
    told = recipe_of(served, served.ended(adapters=[uploaded(served), lora]))["adapters"]
    assert own and [one.get("image_encoder") for one in sorted(told, key=len)] == [None, own]
    asked = served.accepted(adapters=[uploaded(served)])
    other = [one.model_copy(update={"image_encoder": "0" * 64}) for one in asked.adapters]
    other = asked.model_copy(update={"adapters": other})
    generation = served.ledger.accept(other)
    served.engine.run(generation.id)
    ended = served.ledger.get(generation.id)
    assert ended.error and ended.error.code == "other_image_encoder"


def test_an_error_half_way_leaves_nothing_behind(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    use, (before,) = uploaded(served), served.ended().images
    denoiser = served.base.components[served.family.components[0]]
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RadiataError("half_way", "stopped here")

    hook = denoiser.register_forward_hook(fail)
    failed = served.ended(adapters=[use])
    hook.remove()
    assert failed.status is Status.FAILED and calls == 2
    (after,) = served.ended().images
    assert after.sha256 == before.sha256


@pytest.mark.timeout(7200)
def test_comings_and_goings_with_weights_between_leave_the_base_as_it_was(
    served: Served, request: pytest.FixtureRequest
) -> None:
    """Law 2: the same objects, the same names, and the same file of a plain picture."""
    r = random.Random(5)
    identity = served.engine._identity
    denoiser: Any = served.base.components[served.family.components[0]]
    (before,) = served.ended().images
    names, processors = list(denoiser.state_dict()), {n: id(one) for n, one in denoiser.attn_processors.items()}
    lora, _ = served.lora(served.family.components[0])
    uses = [uploaded(served), uploaded(served, seed=40, colour="blue")]
    with_lora = served.drawn(adapters=[lora])
    for _ in range(COMINGS_AND_GOINGS[bool(request.config.getoption("--every"))]):
        chosen = r.sample([*uses, lora], r.choice((1, 2, 3)))
        served.ended(adapters=chosen, apply=r.choice(("merge", "bypass")), steps=1)
    assert not apart(served.drawn(adapters=[lora]), with_lora)
    (after,) = served.ended().images
    assert after.sha256 == before.sha256
    assert list(denoiser.state_dict()) == names and not identity.lost()
    assert {name: id(one) for name, one in denoiser.attn_processors.items()} == processors


def test_beside_a_picture_to_begin_from_it_is_heard_and_at_0_it_is_not(served: Served) -> None:
    begun = {"init_image": served.pictures.put(made.disc(64, 64, "blue")).ref, "denoise": 0.6, "steps": 4}
    plain, use = served.drawn(**begun), uploaded(served)
    assert apart(served.drawn(adapters=[use], **begun), plain) > 1
    assert not apart(served.drawn(adapters=[use | {"strength": 0.0}], **begun), plain)


def test_two_image_prompts_are_the_same_in_any_order(served: Served) -> None:
    one, other = uploaded(served), uploaded(served, seed=40, colour="blue")
    (first,) = served.ended(adapters=[one, other]).images
    (second,) = served.ended(adapters=[other, one]).images
    assert first.sha256 == second.sha256
    assert apart(served.drawn(adapters=[one, other]), served.drawn(adapters=[one]))


def test_with_crop_only_the_middle_is_read_and_the_box_says_so(served: Served) -> None:
    corner = made.disc(width=64)
    changed = corner.copy()
    changed.paste("black", (0, 0, 16, 32))
    refs = [served.pictures.put(one).ref for one in (corner, changed)]
    use = uploaded(served)
    cropped = [served.drawn(adapters=[use | {"image": ref}]) for ref in refs]
    padded = [served.drawn(adapters=[use | {"image": ref, "fit": "pad"}]) for ref in refs]
    assert not apart(*cropped) and apart(*padded)
    (asked,) = served.accepted(adapters=[use | {"image": refs[0]}]).adapters
    assert asked.boxes == [(16, 0, 48, 32)] and asked.kind == "image_prompt"
    (asked,) = served.accepted(adapters=[use | {"image": refs[0], "fit": "pad"}]).adapters
    assert asked.boxes == [(0, -16, 64, 48)]


def test_what_cannot_be_honoured_is_refused(served: Served) -> None:
    use, (lora, _) = uploaded(served), served.lora(served.family.components[0])
    image = use["image"]
    wrong: dict[str, dict[str, Any]] = {
        "image_missing": use | {"image": None},
        "image_unknown": use | {"image": "image:" + "0" * 64},
        "setting_of_another_kind": lora | {"image": image},
        "block_without_change": use | {"blocks": {served.base.profile.blocks[0]: 0.5}},
        "rank_impossible": use | {"rank": 1},
        "component_unknown": use | {"strengths": {"text_encoder": 0.5}},
    }
    for code, entry in wrong.items():
        refusal = served.refusal(adapters=[entry])
        assert refusal is not None and refusal.code == code, (code, refusal)
        assert all(reason["pointer"].startswith("/adapters/0") for reason in refusal.reasons)
