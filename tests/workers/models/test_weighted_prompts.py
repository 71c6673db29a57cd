"""Weighted prompts on every family that has them: at weight 1 they are plain, and a weight moves the picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.shared.wire.generation import ResolvedRequest
from tests.app.shared.making import profile, request
from tests.families.family import Family
from tests.families.registry import FAMILIES
from workers.drawing.sampling import Sampling
from workers.models.loading import LoadedModel
from workers.models.obeys import obeyed
from workers.models.weighted_prompts import ARGUMENTS, can_weigh, reads_any_length

# diffusers' own schedulers, with the newest numpy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WEIGHTED = ("sd-1.5", "sdxl", "flux.1-dev", "sana", "lumina-2")
PROMPT = "a red apple on the table"


class Drawer:
    """A tiny base, and the pictures that the product draws with it."""

    def __init__(self, family: Family, folder: Path) -> None:
        family.build(folder)
        self.pipeline = family.open(folder)
        self.pipeline.set_progress_bar_config(disable=True)
        width, height = family.size
        self._usual: dict[str, Any] = {"width": width, "height": height, "steps": family.steps, "negative_prompt": ""}
        if family.negative:
            self._usual["negative_prompt"] = "blurred"
        self._base = LoadedModel(self.pipeline, {}, profile(obeys=obeyed(self.pipeline)), folder)

    def asked(self, prompt: str, **fields: Any) -> ResolvedRequest:
        return request(**{**self._usual, "prompt": prompt, "prompt_syntax": "weighted"} | fields)

    def drawn(self, prompt: str, **fields: Any) -> np.ndarray:
        picture = Sampling(self._base).picture(self.asked(prompt, **fields), 7, lambda _: None)
        return np.asarray(picture).astype(int)


@pytest.fixture(scope="module", params=WEIGHTED)
def drawer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawer:
    return Drawer(FAMILIES[request.param], tmp_path_factory.mktemp(request.param))


def test_a_weight_of_one_is_plain_and_another_moves_the_picture(drawer: Drawer) -> None:
    plain = drawer.drawn(PROMPT, prompt_syntax="plain")
    assert abs(drawer.drawn(PROMPT) - plain).max() <= 1
    assert abs(drawer.drawn("a (red:1.0) apple on (the table:1)") - plain).max() <= 1
    stronger, weaker = drawer.drawn("a (red:3) apple on the table"), drawer.drawn("a (red:0.1) apple on the table")
    assert abs(stronger - plain).max() > 1 and abs(weaker - plain).max() > 1 and abs(stronger - weaker).max() > 1
    bracket = drawer.drawn("a (red:3) apple on the table", prompt_syntax="plain")
    assert abs(bracket - plain).max() > 1 and abs(bracket - stronger).max() > 1, "plain, a bracket is a bracket"
    assert abs(drawer.drawn(r"a \(red:3\) apple on the table") - bracket).max() <= 1


def test_negative_prompts_are_weighted_too(drawer: Drawer) -> None:
    if not drawer._base.profile.obeys["negative_prompt"]:
        pytest.skip("it reads none")
    plain = drawer.drawn(PROMPT)
    assert abs(drawer.drawn(PROMPT, negative_prompt="(blurred:3)") - plain).max() > 1


def test_every_word_of_a_long_prompt_counts_where_it_is_read_in_pieces(drawer: Drawer) -> None:
    if not reads_any_length(drawer.pipeline):
        pytest.skip("its encoders read a text at once")
    long = " ".join(["a red apple on the table,"] * 40)
    first, other = drawer.drawn(f"{long} green"), drawer.drawn(f"{long} blue")
    assert abs(first - other).max() > 1
    assert abs(drawer.drawn(PROMPT, negative_prompt=long) - drawer.drawn(PROMPT)).max() > 1


def test_the_second_text_encoder_has_weights_of_its_own(drawer: Drawer) -> None:
    if not drawer._base.profile.obeys["prompt_2"]:
        pytest.skip("it has one")
    plain = drawer.drawn(PROMPT, prompt_syntax="plain", prompt_2="a blue square")
    assert abs(drawer.drawn(PROMPT, prompt_2="a (blue:1) square") - plain).max() <= 1
    assert abs(drawer.drawn(PROMPT, prompt_2="a (blue:3) square") - plain).max() > 1


def test_the_same_request_is_the_same_picture(drawer: Drawer) -> None:
    first = drawer.drawn("a (red:3) apple")
    drawer.drawn("(other:0.2)")
    torch.rand(1)
    assert np.array_equal(first, drawer.drawn("a (red:3) apple"))


def test_others_refuse() -> None:
    from tests.workers.training import toys

    assert can_weigh(toys.pipeline())
    assert {name: name in ARGUMENTS for name in ("StableDiffusion3Pipeline", "ZImagePipeline")} == {
        "StableDiffusion3Pipeline": False,
        "ZImagePipeline": False,
    }
