"""Going on from a file: every tensor is used and every layer filled, or the file is refused with every difference."""

import pytest
import torch

from lycoris import FileRefused, NoPlace, checked
from lycoris.errors import PlanRefused
from lycoris.files.stable_bytes import stable_bytes
from lycoris.training.continuing import continue_from
from lycoris.training.export import export
from lycoris.training.plan import plan
from lycoris.training.trainable import begin
from tests.lycoris import zoo
from tests.lycoris.measure import bits
from tests.lycoris.training.cases import CASES
from tests.lycoris.training.models import Denoiser, trained

LAYER = "lora_unet_up_blocks_0_ff"


@pytest.mark.parametrize("name", CASES)
def test_hazard_29_a_file_of_our_own_gives_back_its_very_factors(name: str) -> None:
    model = Denoiser()
    adapter = begin({"unet": model}, CASES[name].plan(), seed=5)
    trained(model, adapter, 1, 1e-2)
    again = continue_from(export(adapter), {"unet": model})
    assert again.plan == adapter.plan
    trained(model, again, int(name == "lora"), 0.0)  # a step of nothing
    assert {key: bits(factor) for key, factor in again.factors.items()} == {
        key: bits(factor) for key, factor in adapter.factors.items()
    }
    assert all(factor.requires_grad for factor in again.factors.values())


def test_a_file_in_diffusers_names_goes_on_where_its_scale_is_the_plans() -> None:
    model = Denoiser()
    data = export(begin({"unet": model}, plan("dora", rank=2), seed=5), "diffusers")
    assert continue_from(data, {"unet": model}).parameters
    with pytest.raises(PlanRefused, match="its scale is 1 in the file and 2 by the plan"):
        continue_from(data, {"unet": model}, plan("dora", rank=2, alpha=4))


def test_hazard_29_a_file_that_differs_is_refused_with_the_difference() -> None:
    model = Denoiser()
    file = checked(export(begin({"unet": model}, plan("lora", rank=2), seed=5)))
    tensors, metadata = file.tensors(), file.metadata

    def refusal(changed: dict[str, torch.Tensor], **numbers: object) -> str:
        with pytest.raises((PlanRefused, FileRefused, NoPlace)) as refused:
            chosen = plan(**{"algorithm": "lora", "rank": 2} | numbers)  # type: ignore[arg-type]
            continue_from(stable_bytes(changed, metadata), {"unet": model}, chosen)
        return str(refused.value)

    fewer = {key: tensor for key, tensor in tensors.items() if not key.startswith(LAYER)}
    assert "unet.up_blocks.0.ff: is trained by the plan, and the file has nothing for it" in refusal(fewer)
    kernel = zoo.tensors("lora", model.get_parameter("up_blocks.0.conv.weight"))
    more = tensors | {f"lora_unet_up_blocks_0_conv.{suffix}": tensor for suffix, tensor in kernel.items()}
    assert "unet.up_blocks.0.conv: is in the file, and the plan does not train it" in refusal(more)
    dora = tensors | {f"{LAYER}.dora_scale": torch.ones(4, 1)}
    assert "ff.dora_scale: is a factor which the plan does not have" in refusal(dora)
    assert "is of shape (2, 12) in the file, and the plan's is (3, 12)" in refusal(tensors, rank=3)
    assert "its scale is 1 in the file and 0.5 by the plan" in refusal(tensors, alpha=1.0)
    assert "no such module" in refusal(tensors | {"lora_unet_elsewhere.diff": torch.ones(2, 2)})
    assert "no algorithm here reads" in refusal({**tensors, "surplus.x": torch.ones(2)})


def test_a_file_of_another_trainer_needs_a_plan() -> None:
    model = Denoiser()
    paths = [f"{side}.0.{layer}" for side in ("down_blocks", "up_blocks") for layer in ("to_q", "ff")]
    layers = {f"unet.{path}": zoo.tensors("lora", model.get_submodule(path).get_parameter("weight")) for path in paths}
    data = zoo.file(layers)
    with pytest.raises(PlanRefused, match="say the algorithm"):
        continue_from(data, {"unet": model})
    found = continue_from(data, {"unet": model}, plan("lora", rank=zoo.RANK, alpha=zoo.ALPHA))
    for path in paths:
        assert torch.equal(found.factors[f"unet.{path}.lora_up.weight"], layers[f"unet.{path}"]["lora_up.weight"])
