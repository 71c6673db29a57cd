"""Masks of adapters through acceptance, intake and engine: of weights by bypass, and of image prompts."""

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from lycoris import positions
from tests.families.registry import FAMILIES
from tests.families.serving import Served, apart, loras
from tests.workers.image_prompts import made

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]
WIDE = {"width": 104, "height": 72}  # latents of 13 × 9, then 7 × 5, 4 × 3


@pytest.fixture(scope="module", params=["sd-1.5", pytest.param("flux.1-dev", marks=pytest.mark.slow)])
def served(
    request: pytest.FixtureRequest, _valkey_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with made.serving_with_encoder(FAMILIES[request.param], tmp_path_factory, _valkey_server) as one:
        yield one


def mask(served: Served, box: tuple[int, int, int, int] | None = None, size: tuple[int, int] = (64, 64)) -> str:
    """A mask that is white in a box, or everywhere."""
    picture = Image.new("RGB", size, "black")
    picture.paste("white", box or (0, 0, *size))
    return served.pictures.put(picture).ref


def placed(served: Served, seed: int = 3) -> dict[str, Any]:
    """A LoRA of layers that have positions."""
    component = served.family.components[0]
    layers = loras(served.base.components[component], seed)
    tensors = {}
    for name, (up, down) in layers.items():
        if positions(component, name) == "picture":
            tensors |= {f"{component}.{name}.lora_B.weight": up, f"{component}.{name}.lora_A.weight": down}
    return served.upload(f"placed-{seed}", tensors)


def prompt(served: Served) -> dict[str, Any]:
    pipeline = served.base.pipeline
    use = served.upload("prompt", made.plain_projection(made.width_of(pipeline)) | made.attention(pipeline))
    return use | {"image": served.pictures.put(made.disc()).ref}


def test_a_white_mask_is_a_bypass_without_one_and_a_black_one_is_plain(served: Served) -> None:
    use, plain = placed(served), served.drawn()
    white, black = mask(served), mask(served, (0, 0, 0, 0))
    masked = served.ended(adapters=[use | {"mask": white}])
    assert masked.applied == "bypass"
    assert not apart(served.pixels(masked), served.drawn(adapters=[use], apply="bypass"))
    assert not apart(served.drawn(adapters=[use | {"mask": black}]), plain)
    half = served.drawn(adapters=[use | {"mask": mask(served, (0, 0, 32, 64))}])
    assert apart(half, plain) and apart(half, served.pixels(masked))
    again = served.ended(), served.ended(adapters=[use | {"mask": white}])
    assert not apart(served.pixels(again[0]), plain) and not apart(served.pixels(again[1]), served.pixels(masked))


def test_a_white_mask_of_an_image_prompt_is_none_and_a_black_one_is_plain(served: Served) -> None:
    use = prompt(served)
    plain, whole = served.drawn(), served.drawn(adapters=[use])
    assert not apart(served.drawn(adapters=[use | {"mask": mask(served)}]), whole)
    assert not apart(served.drawn(adapters=[use | {"mask": mask(served, (0, 0, 0, 0))}]), plain)
    half = served.drawn(adapters=[use | {"mask": mask(served, (0, 0, 32, 64))}])
    assert apart(half, plain) and apart(half, whole)


def test_a_size_that_halves_unevenly_is_drawn(served: Served) -> None:
    if served.base.profile.size_multiple > 8:
        pytest.skip("FLUX halves once, evenly")
    size = (WIDE["width"], WIDE["height"])
    for use in (placed(served), prompt(served)):
        whole, white = served.drawn(adapters=[use], apply="bypass", **WIDE), mask(served, size=size)
        assert not apart(served.drawn(adapters=[use | {"mask": white}], **WIDE), whole)
        left = mask(served, (0, 0, 48, 72), size)
        assert apart(served.drawn(adapters=[use | {"mask": left}], **WIDE), whole)


def test_a_second_pass_has_the_mask_at_its_own_size(served: Served) -> None:
    size, upscale = (64, 64), {"upscale": {"scale": 1.5, "denoise": 0.5}, "steps": 4}
    for use in (placed(served), prompt(served)):
        whole = served.drawn(adapters=[use], apply="bypass", **upscale)
        assert whole.shape[:2] == (96, 96)
        assert not apart(served.drawn(adapters=[use | {"mask": mask(served)}], **upscale), whole)
        left = mask(served, (0, 0, 32, 64), size)
        assert apart(served.drawn(adapters=[use | {"mask": left}], **upscale), whole)


def test_two_adapters_keep_to_their_regions_in_any_order(served: Served) -> None:
    left, right = mask(served, (0, 0, 32, 64)), mask(served, (32, 0, 64, 64))
    one, other = placed(served) | {"mask": left}, placed(served, 4) | {"mask": right}
    (first,), (second,) = served.ended(adapters=[one, other]).images, served.ended(adapters=[other, one]).images
    assert first.sha256 == second.sha256
    both = served.drawn(adapters=[one, other])
    assert apart(both, served.drawn(adapters=[one])) and apart(both, served.drawn(adapters=[other]))


def test_a_lora_with_layers_without_positions_needs_the_word_for_it(served: Served) -> None:
    use, _ = served.lora(served.family.components[0])
    whole, white = served.drawn(adapters=[use], apply="bypass"), mask(served)
    refusal = served.refusal(adapters=[use | {"mask": white}])
    assert refusal is not None and refusal.code == "mask_without_positions"
    assert not apart(served.drawn(adapters=[use | {"mask": white, "unmasked": "apply"}]), whole)
    text, _ = served.lora("text_encoder")
    assert served.refusal(adapters=[text | {"mask": white, "strength": 0.0}]) is None


def test_what_a_mask_cannot_be_is_refused_with_its_place(served: Served) -> None:
    use, white = placed(served), mask(served)
    clear = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"adapters": [use | {"unmasked": "apply"}]}, "unmasked_without_mask", "/adapters/0/unmasked"),
        ({"adapters": [use | {"mask": white}], "apply": "merge"}, "mask_needs_bypass", "/apply"),
        ({"adapters": [use | {"mask": white}], "apply": "recompute"}, "mask_needs_bypass", "/apply"),
        ({"adapters": [use | {"mask": mask(served, size=(32, 64))}]}, "mask_misfit", "/adapters/0/mask"),
        ({"adapters": [use | {"mask": served.pictures.put(clear).ref}]}, "mask_misfit", "/adapters/0/mask"),
        (
            {"adapters": [use | {"mask": white}, placed(served, 4)], "stack_mode": "sequential"},
            "mask_needs_bypass",
            "/stack_mode",
        ),
    ]
    for asked, code, place in wrong:
        refusal = served.refusal(**asked)
        assert refusal is not None and refusal.code == code, (asked, refusal)
        assert [reason["pointer"] for reason in refusal.reasons] == [place]


def test_the_recipe_says_where(served: Served) -> None:
    use, white = placed(served), mask(served)
    with_mask, without = (served.accepted(adapters=[one]).adapters[0] for one in (use | {"mask": white}, use))
    assert (with_mask.mask, without.mask) == (white, None)
