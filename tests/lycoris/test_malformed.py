"""Files of the rarer algorithms that make no sense, or would cost too much: refused, with a reason, unspent."""

from collections.abc import Callable

import pytest
import safetensors.torch
import torch

from lycoris import AdapterError, Code, FileRefused, NoPlace, Patcher, load
from lycoris.adapter import read_names
from lycoris.algorithms.detection import read_group
from lycoris.kernels.linalg import BLOCK_CAP, cayley
from lycoris.patcher import StackEntry
from tests.lycoris import zoo
from tests.lycoris.measure import bits_of

ones = torch.ones
WHOLE: dict[str, tuple[str, Callable[[zoo.Tensors], zoo.Tensors], Code]] = {
    "no on_input": ("ia3-output", lambda t: without(t, "on_input"), Code.UNKNOWN_TENSOR),
    "no weight": ("ia3-output", lambda t: without(t, "weight"), Code.INCOMPLETE),
    "a matrix of scales": ("ia3-output", lambda t: t | {"weight": ones(8, 12)}, Code.BAD_SHAPE),
    "two on_input": ("ia3-output", lambda t: t | {"on_input": ones(2)}, Code.BAD_SHAPE),
    "a matrix of PEFT scales": ("peft-ia3-output", lambda t: t | {"ia3_l": ones(8, 12)}, Code.BAD_SHAPE),
    "three of four": ("glora", lambda t: without(t, "a2.weight"), Code.INCOMPLETE),
    "factors that do not join": ("glora", lambda t: t | {"a1.weight": ones(12, 5)}, Code.BAD_SHAPE),
    "a vector for a factor": ("glora", lambda t: t | {"a1.weight": ones(12)}, Code.BAD_SHAPE),
    "half a path": ("peft-glora", lambda t: without(t, "glora_A.Xd"), Code.BAD_SHAPE),
    "a path in two ways": ("peft-glora", lambda t: t | {"glora_A.X": ones(1)}, Code.BAD_SHAPE),
    "nothing that is something": ("peft-glora", lambda t: t | {"glora_C.zeros": ones(12, 1)}, Code.BAD_SHAPE),
    "a bias made of two columns": (
        "peft-glora-with-weight",
        lambda t: t | {"glora_C.Xu": ones(len(t["glora_C.Xu"]), 2)},
        Code.BAD_SHAPE,
    ),
    "blocks that are not square": ("oft", lambda t: t | {"oft_blocks": ones(2, 4, 3)}, Code.BAD_SHAPE),
    "blocks of five axes": ("oft", lambda t: t | {"oft_blocks": ones(1, 1, 2, 2, 2)}, Code.BAD_SHAPE),
    "blocks far from a rotation": ("oft", lambda t: t | {"oft_blocks": 1e8 * ones(2, 4, 4)}, Code.BAD_SHAPE),
    "a constraint of two": ("oft", lambda t: t | {"alpha": ones(2)}, Code.BAD_SHAPE),
    "a rescale of another size": ("oft-rescaled", lambda t: t | {"rescale": ones(7, 1)}, Code.BAD_SHAPE),
    "a magnitude on a rotation": ("oft", lambda t: t | {"dora_scale": ones(8, 1)}, Code.UNKNOWN_TENSOR),
    "old blocks that are not square": ("oft-old", lambda t: t | {"oft_diag": ones(2, 4, 3)}, Code.BAD_SHAPE),
    "odd blocks": ("boft", lambda t: t | {"oft_blocks": ones(1, 3, 3, 3)}, Code.BAD_SHAPE),
    "more stages than blocks": ("boft", lambda t: t | {"oft_blocks": ones(9, 4, 2, 2)}, Code.BAD_SHAPE),
    "a part too many": ("oft-split", lambda t: t | {"oft_blocks.4": ones(2, 4, 4)}, Code.UNKNOWN_TENSOR),
    "no first part": ("oft-split", lambda t: without(t, "oft_blocks.0"), Code.INCOMPLETE),
    "no part in between": (
        "oft-split",
        lambda t: without(t, "oft_blocks.1") | {"oft_blocks.2": ones(2, 2, 2)},
        Code.BAD_SHAPE,
    ),
    "a part of four axes": ("oft-split", lambda t: t | {"oft_blocks.0": ones(1, 2, 2, 2)}, Code.BAD_SHAPE),
    "parts that cannot turn": ("oft-split", lambda t: t | {"alpha": torch.tensor(0.0)}, Code.BAD_SHAPE),
    "HiRA of two ranks": ("hira", lambda t: t | {"hira_B": ones(8, 2)}, Code.BAD_SHAPE),
    "half a HiRA": ("hira", lambda t: without(t, "hira_B"), Code.INCOMPLETE),
    "T-LoRA of two ranks": ("tlora", lambda t: t | {"lambda_layer": ones(1, 2)}, Code.BAD_SHAPE),
    "a sparse residual of two lengths": ("lora-sparse", lambda t: t | {"bias_values": ones(4)}, Code.BAD_SHAPE),
    "indices that ran over": ("lora-sparse", lambda t: t | {"bias_indices": -t["bias_indices"] - 1}, Code.BAD_SHAPE),
    "a weight of another shape asked for": ("lora", lambda t: t | {"reshape_weight": ones(2)}, Code.UNKNOWN_TENSOR),
    "rounded indices": ("lora-sparse", lambda t: t | {"bias_indices": t["bias_indices"].half()}, Code.BAD_SHAPE),
    "two is_feedforward": ("peft-ia3-feedforward", lambda t: t | {"is_feedforward": ones(2)}, Code.BAD_SHAPE),
    "two apply_GS": ("peft-hra", lambda t: t | {"apply_GS": ones(2)}, Code.BAD_SHAPE),
    "two seeds": ("peft-fourierft", lambda t: t | {"random_loc_seed": ones(2)}, Code.BAD_SHAPE),
    "rows of no block": ("peft-oft", lambda t: t | {"oft_R.weight": ones(3, 5)}, Code.BAD_SHAPE),
    "terms without end": ("peft-oft", lambda t: t | {"neumann_terms": torch.tensor(10**9)}, Code.BAD_SHAPE),
    "half a term": ("peft-oft", lambda t: t | {"neumann_terms": torch.tensor(2.5)}, Code.BAD_SHAPE),
    "PEFT's odd blocks": ("peft-boft-butterfly", lambda t: t | {"boft_R": ones(2, 4, 3, 3)}, Code.BAD_SHAPE),
    "PEFT's stages beyond blocks": ("peft-boft", lambda t: t | {"boft_R": ones(5, 6, 2, 2)}, Code.BAD_SHAPE),
    "a mirror of nothing": ("peft-hra", lambda t: t | {"hra_u": torch.zeros(12, 3)}, Code.BAD_SHAPE),
    "more mirrors than axes": ("peft-hra-schmidt", lambda t: t | {"hra_u": ones(12, 13)}, Code.BAD_SHAPE),
    "VeRA without its matrices": ("peft-vera", lambda t: without(t, "vera_A", "vera_B"), Code.INCOMPLETE),
    "VeRA of two ranks": ("peft-vera", lambda t: t | {"vera_lambda_d": ones(4)}, Code.BAD_SHAPE),
    "matrices without VeRA": ("peft-vera", lambda t: {"vera_A": t["vera_A"]}, Code.UNKNOWN_TENSOR),
    "a seed below zero": ("peft-fourierft", lambda t: t | {"random_loc_seed": torch.tensor(-1)}, Code.BAD_SHAPE),
    "a spectrum of two axes": ("peft-fourierft", lambda t: t | {"fourierft_spectrum": ones(2, 2)}, Code.BAD_SHAPE),
    "a flat kernel": ("peft-c3a", lambda t: t | {"c3a_kernel": ones(2, 12)}, Code.BAD_SHAPE),
    "AdaLoRA of two ranks": ("peft-adalora", lambda t: t | {"lora_E": ones(2, 1)}, Code.BAD_SHAPE),
    "a number for a weight": ("overwrite", lambda _: {"set_weight": torch.tensor(1.0)}, Code.BAD_SHAPE),
}
MISFITS: dict[str, tuple[str, zoo.Tensors, zoo.Shape]] = {
    "other outputs": ("oft", {}, (12, 12)),
    "a rotation of a vector": ("oft", {}, (8,)),
    "other parts": ("oft-split", {}, (9, 12)),
    "other stages' outputs": ("boft", {}, (10, 12)),
    "other inputs": ("ia3-input", {}, (8, 8)),
    "PEFT's other outputs": ("peft-ia3-output", {}, (9, 12)),
    "inputs or outputs, who knows": ("lora", {"ia3_l": ones(1, 8, 1, 1)}, (8, 8, 3, 3)),
    "old or new, who knows": ("glora", {f"{x}.weight": ones(8, 8) for x in ("a1", "a2", "b1", "b2")}, (8, 8)),
    "GLoRA of another size": ("glora", {}, (8, 9)),
    "a column of another size": ("peft-glora-columns", {}, (9, 12)),
    "HiRA of another size": ("hira", {}, (8, 9)),
    "T-LoRA of a kernel": ("tlora", {}, (8, 12, 3, 3)),
    "T-LoRA above the rank": ("tlora", {}, (8, 2)),
    "OFT of a kernel": ("peft-oft", {}, (8, 12, 3, 3)),
    "OFT of other inputs": ("peft-oft", {}, (8, 16)),
    "BOFT of other inputs": ("peft-boft", {}, (8, 16)),
    "mirrors of other inputs": ("peft-hra", {}, (8, 16)),
    "VeRA beyond its matrices": ("peft-vera", {}, (8, 16)),
    "waves over a kernel": ("peft-fourierft", {}, (8, 12, 3, 3)),
    "more waves than places": ("peft-fourierft", {}, (2, 2)),
    "C3A of another size": ("peft-c3a", {}, (8, 16)),
    "indices beyond": ("lora-sparse", {"bias_indices": torch.full((2, 5), 8, dtype=torch.int16)}, (8, 12)),
    "another weight": ("overwrite", {}, (8, 13)),
}


def without(tensors: zoo.Tensors, *names: str) -> zoo.Tensors:
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def of_linear(algorithm: str) -> zoo.Tensors:
    return zoo.tensors(algorithm, zoo.layer("linear").get_parameter("weight"))


@pytest.mark.parametrize("case", WHOLE)
def test_what_makes_no_sense_is_refused_and_nothing_beside_it(case: str) -> None:
    algorithm, breaking, code = WHOLE[case]
    whole, other = of_linear(algorithm), {"lora_unet_other": of_linear("lora")}
    load(zoo.file({"lora_unet_x": whole} | other))
    with pytest.raises(FileRefused) as caught:
        load(zoo.file({"lora_unet_x": breaking(whole)} | other))
    assert code in {reason.code for reason in caught.value.reasons}, caught.value.reasons
    assert all("other" not in reason.subject for reason in caught.value.reasons)


@pytest.mark.parametrize("case", WHOLE)
def test_names_and_shapes_alone_are_refused_or_read_and_nothing_else(case: str) -> None:
    algorithm, breaking, _ = WHOLE[case]
    for group in (of_linear(algorithm), breaking(of_linear(algorithm))):
        _, reasons = read_names({f"lora_unet_x.{name}": tuple(tensor.shape) for name, tensor in group.items()})
        print(case, [str(reason) for reason in reasons])


@pytest.mark.parametrize(("algorithm", "kind"), zoo.PAIRS)
def test_what_fits_is_known_from_names_and_shapes_alone(algorithm: str, kind: str) -> None:
    layer = zoo.layer(kind)
    group = {
        name: tensor.to("meta") if tensor.numel() > 1 else tensor
        for name, tensor in zoo.tensors(algorithm, layer.get_parameter("weight")).items()
    }
    read = read_group(group)
    assert not read.problems
    for parameter, change in read.changes.items():
        assert change.OPTIONAL or change.misfit(layer.get_parameter(parameter).shape) is None
        assert len(change.shape) > 0


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_said_before_anything_is_computed(case: str) -> None:
    algorithm, broken, target = MISFITS[case]
    group = read_group(broken if "ia3_l" in broken else of_linear(algorithm) | broken)
    assert not group.problems
    misfit = group.changes["weight"].misfit(target)
    print(case, misfit)
    assert misfit


def test_blocks_too_large_to_solve_are_refused_unread() -> None:
    """On the meta device there is nothing to compute with: a refusal there cannot have cost anything."""
    for blocks in ((1, BLOCK_CAP + 1, BLOCK_CAP + 1), (9, BLOCK_CAP, BLOCK_CAP)):
        group = read_group({"oft_blocks": torch.ones(blocks, device="meta")})
        assert any("too large" in problem.message for problem in group.problems)


def test_a_rotation_is_one_however_large_its_numbers() -> None:
    for scale in (1e-6, 1.0, 1e3, 1e6):
        skew = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0)) * scale
        rotation = cayley(skew - skew.mT).double()
        error = (rotation @ rotation.mT - torch.eye(8)).abs().max().item()
        print(f"Q of size {scale:.0e}: {error:.1e} from orthogonal")
        assert error < 1e-5


def test_a_scale_along_the_inputs_leaves_the_bias_alone() -> None:
    """PEFT's (1, C, 1, 1) of a convolution: only the weight's shape says that it is not of the outputs."""
    model = torch.nn.ModuleDict({"x": zoo.layer("conv3x3")})
    before = bits_of(model)
    tensors = zoo.tensors("peft-ia3-input", model["x"].get_parameter("weight"))
    Patcher({"unet": model}).swap([StackEntry(load(zoo.file({"lora_unet_x": tensors})))])
    after = bits_of(model)
    assert after["0.x.bias"] == before["0.x.bias"]
    assert after["0.x.weight"] != before["0.x.weight"]


def test_a_layer_without_a_bias_takes_what_would_scale_one() -> None:
    model = torch.nn.ModuleDict({"x": torch.nn.Linear(12, 8, bias=False)})
    before = bits_of(model)
    for algorithm in ("peft-ia3-output", "peft-glora"):
        patcher = Patcher({"unet": model})
        patcher.swap([StackEntry(load(zoo.file({"lora_unet_x": of_linear(algorithm)})))])
        assert bits_of(model) != before
        patcher.restore()
        assert bits_of(model) == before


def test_a_bias_made_of_the_weight_needs_that_weight_and_a_bias() -> None:
    data = zoo.file({"lora_unet_x": of_linear("peft-glora-with-weight")})
    for layer in (torch.nn.Linear(12, 8, bias=False), torch.nn.Linear(16, 8)):
        with pytest.raises(NoPlace) as caught:
            Patcher({"unet": torch.nn.ModuleDict({"x": layer})}).swap([StackEntry(load(data))])
        print(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sound"),
    [
        ("{}", True),
        ('{"sig_type": "principal", "use_data_init": "True"}', True),
        ("no JSON", True),
        ('["sig_type"]', True),
        ('{"sig_type": "last"}', False),
        ('{"use_data_init": "False"}', False),
    ],
)
def test_a_tlora_that_began_as_another_part_is_refused(arguments: str, sound: bool) -> None:
    data = zoo.file({"lora_unet_x": of_linear("tlora")}, {"ss_network_args": arguments})
    if sound:
        assert load(data).algorithms == {"tlora": 1}
        return
    with pytest.raises(FileRefused, match="initialised with"):
        load(data)


def test_a_refusal_speaks_of_what_is_known() -> None:
    names = {
        "base_model.model.x.randlora_lambda": "RandLora",
        "base_model.model.x.vblora_logits_A": "VB-LoRA",
        "base_model.model.x.shira_weight": "SHiRA",
        "base_model.model.x.oft_embedding_R.weight": "embedding",
        "lora_unet_x.lora_up.scale_weight": "eight bits",
        "lora_unet_x.reshape_weight": "in place",
        "lora_unet_x.oft_blocks.7": "fused",
    }
    with pytest.raises(AdapterError) as caught:
        load(safetensors.torch.save({name: ones(2) for name in names}))
    messages = {reason.subject: reason.message for reason in caught.value.reasons}
    assert all(word in messages[name] for name, word in names.items())
