"""Layers that a file has as one and a model as several, or the other way round: exact for every algorithm."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from lycoris import Code, NoPlace, Patcher, StackRefused, load, resolve
from lycoris.algorithms.detection import read_group
from lycoris.dialects.row_slice import RowSlice
from lycoris.patcher import StackEntry
from lycoris.placement.views import Rows, view
from tests.lycoris import zoo
from tests.lycoris.closed_forms import expected_bias, expected_weight
from tests.lycoris.measure import assert_close, bits_of, relative_error

ATTENTION = "single_transformer_blocks.0.attn"
ROWS = {f"{ATTENTION}.to_q": 6, f"{ATTENTION}.to_k": 6, f"{ATTENTION}.to_v": 4}  # 16: LoKr's blocks of 8 cross the seam
MLP = "single_transformer_blocks.0.proj_mlp"
LINEAR1, QKV = "lora_unet_single_blocks_0_linear1", "lora_unet_single_blocks_0_linear1_qkv"
ALGORITHMS = [name for name, (_, kinds) in zoo.ALGORITHMS.items() if "linear" in kinds]
STRENGTHS = (1.0, 0.6, -1.25)


def flux(dtype: torch.dtype = torch.float64, mlp: int = 8, bias: bool = True, without: str = "") -> nn.Module:
    """Return FLUX.1's names on layers of our own sizes."""
    model, r = nn.Module(), zoo.random(7)
    shapes = {**ROWS, MLP: mlp, "context_embedder": 4, "norm_out.linear": 16}
    for path, rows in shapes.items():
        *parents, leaf = path.split(".")
        at = model
        for name in parents:
            if not hasattr(at, name):
                at.add_module(name, nn.Module())
            at = at.get_submodule(name)
        if path != without:
            at.add_module(leaf, nn.Linear(12, rows, bias=bias))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(r(*parameter.shape))
    return model.to(dtype)


def below(model: nn.Module, paths: list[str], parameter: str = "weight") -> Tensor:
    return torch.cat([model.get_parameter(f"{path}.{parameter}").detach() for path in paths])


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_layer_that_the_model_has_cut_in_pieces(algorithm: str, strength: float) -> None:
    model, paths = flux(), [*ROWS, MLP]
    before, biases = below(model, paths), below(model, paths, "bias")
    tensors = zoo.tensors(algorithm, before)
    patcher = Patcher({"transformer": model})
    patcher.swap([StackEntry(load(zoo.file({LINEAR1: tensors})), strength)])
    expected = expected_weight(tensors, before, strength)
    assert_close(below(model, paths), expected, f"{algorithm} at {strength}", torch.float32)
    expected = expected_bias(tensors, biases, strength, before) if "bias" in read_group(tensors).changes else biases
    assert_close(below(model, paths, "bias"), expected, f"{algorithm} bias at {strength}", torch.float32)
    patcher.restore()
    assert torch.equal(below(model, paths), before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_halves_that_the_model_has_the_other_way_round(algorithm: str) -> None:
    model = flux()
    weight, bias = (model.get_parameter(f"norm_out.linear.{name}").detach() for name in ("weight", "bias"))
    before, biases = weight.roll(8, 0), bias.roll(8, 0)
    tensors = zoo.tensors(algorithm, before)
    adapter = load(zoo.file({"diffusion_model.final_layer.adaLN_modulation.1": tensors}))
    Patcher({"transformer": model}).swap([StackEntry(adapter, 0.7)])
    assert_close(weight.roll(8, 0), expected_weight(tensors, before, 0.7), f"{algorithm}, swapped", torch.float32)
    expected = expected_bias(tensors, biases, 0.7, before) if "bias" in read_group(tensors).changes else biases
    assert_close(bias.roll(8, 0), expected, f"{algorithm} bias, swapped", torch.float32)


def test_a_norm_over_outputs_sees_the_pieces_below() -> None:
    tensors = zoo.tensors("dora-lora-input", torch.empty(16, 12))
    changes = []
    for scale in (1.0, 3.0):
        model = flux()
        query, value = (model.get_parameter(f"{ATTENTION}.{leaf}.weight").detach() for leaf in ("to_q", "to_v"))
        value.mul_(scale)
        before = query.clone()
        Patcher({"transformer": model}).swap([StackEntry(load(zoo.file({QKV: tensors})))])
        changes.append(query - before)
    assert relative_error(*changes) > 0.1, "to_q was changed without regard to to_v"


@pytest.mark.parametrize("dtype", zoo.DTYPES, ids=str)
def test_whole_and_cut_layers_in_one_stack_are_order_free_and_come_off(dtype: torch.dtype) -> None:
    model = flux(dtype)
    pristine = bits_of(model)
    linear1, qkv = below(model, [*ROWS, MLP]), below(model, [*ROWS])
    to_k = below(model, [f"{ATTENTION}.to_k"])
    files = [
        {LINEAR1: zoo.tensors("dora-lokr-input", linear1, 1)},
        {QKV: zoo.tensors("loha", qkv, 2)},
        {f"transformer.{ATTENTION}.to_k": zoo.tensors("dora-lora-output", to_k, 3)},
        {"lora_unet_single_blocks_0_linear1_3": zoo.tensors("lora", below(model, [MLP]), 4)},  # OneTrainer's pieces
        {"lora_unet_final_layer_adaLN_modulation_1": zoo.tensors("lora", below(model, ["norm_out.linear"]), 5)},
    ]
    stack = [StackEntry(load(zoo.file(layers)), 0.4 + 0.1 * k) for k, layers in enumerate(files)]
    patcher, seen = Patcher({"transformer": model}), set()
    for order in itertools.islice(itertools.permutations(stack), 0, 120, 17):
        patcher.swap(order)
        seen.add(tuple(bits_of(model).values()))
        patcher.swap(order[:2])
    assert len(seen) == 1
    patcher.swap(stack[1:2])
    patcher.swap(stack[2:4])
    fresh = flux(dtype)
    Patcher({"transformer": fresh}).swap(stack[2:4])
    assert bits_of(model) == bits_of(fresh)
    patcher.restore()
    assert bits_of(model) == pristine


@pytest.mark.parametrize(
    ("first", "second", "meet"),
    [
        (LINEAR1, QKV, True),
        (LINEAR1, f"transformer.{ATTENTION}.to_k", True),
        (QKV, f"{ATTENTION}.to_v", True),
        (QKV, "lora_unet_single_blocks_0_linear1_qkv_0", True),
        (QKV, f"transformer.{MLP}", False),
        ("lora_unet_single_blocks_0_linear1_0", "lora_unet_single_blocks_0_linear1_1", False),
    ],
)
def test_two_layers_on_one_row_are_refused(first: str, second: str, meet: bool) -> None:
    model = flux()
    rows = {LINEAR1: 24, QKV: 16, MLP: 8, f"transformer.{MLP}": 8, f"{ATTENTION}.to_v": 4}
    layers = {
        name: zoo.tensors("lora", torch.empty(rows.get(name, 6), 12), seed) for seed, name in enumerate((first, second))
    }
    adapter = load(zoo.file(layers))
    if not meet:
        assert len(resolve(adapter, {"transformer": model}).targets) == 2
        return
    with pytest.raises(NoPlace) as caught:
        resolve(adapter, {"transformer": model})
    assert [reason.code for reason in caught.value.reasons] == [Code.DUPLICATE]


def test_a_piece_that_the_model_lacks_refuses_the_layer() -> None:
    adapter = load(zoo.file({QKV: zoo.tensors("lora", torch.empty(16, 12))}))
    with pytest.raises(NoPlace) as caught:
        resolve(adapter, {"transformer": flux(without=f"{ATTENTION}.to_k")})
    assert [reason.code for reason in caught.value.reasons] == [Code.NO_MODULE]
    biased = load(zoo.file({QKV: zoo.tensors("lora-with-bias", torch.empty(16, 12))}))
    with pytest.raises(NoPlace) as caught:
        resolve(biased, {"transformer": flux(bias=False)})
    assert [reason.code for reason in caught.value.reasons] == [Code.NO_BIAS]


def test_one_piece_that_overflows_takes_all_of_them_off() -> None:
    model = flux(torch.float16)
    pristine = bits_of(model)
    tensors = {"diff": torch.zeros(16, 12)}
    tensors["diff"][-1, -1] = 1e5
    patcher = Patcher({"transformer": model})
    with pytest.raises(StackRefused) as caught:
        patcher.swap([StackEntry(load(zoo.file({QKV: tensors})))])
    assert [reason.subject for reason in caught.value.reasons] == [f"transformer.{ATTENTION}.to_v.weight"]
    assert bits_of(model) == pristine


SHAPES = {"a.weight": (6, 4), "b.weight": (3, 4), "c.weight": (3, 5), "a.bias": (6,), "table": (1, 6, 4)}


@pytest.mark.parametrize(
    ("parts", "parameter", "rows", "shape"),
    [
        ([RowSlice("a")], "weight", [Rows("a.weight", 0, 6)], (6, 4)),
        ([RowSlice("b"), RowSlice("a")], "weight", [Rows("b.weight", 0, 3), Rows("a.weight", 0, 6)], (9, 4)),
        (
            [RowSlice("a", 1, 2), RowSlice("a", 0, 2)],
            "weight",
            [Rows("a.weight", 3, 6), Rows("a.weight", 0, 3)],
            (6, 4),
        ),
        ([RowSlice("a", 2, 3)], "bias", [Rows("a.bias", 4, 6)], (2,)),
        ([RowSlice("table")], "weight", [Rows("table", 0, 1)], (1, 6, 4)),
        ([RowSlice("a"), RowSlice("c")], "weight", None, ()),  # of other widths
        ([RowSlice("a", 0, 4)], "weight", None, ()),  # six rows are not four parts
        ([RowSlice("a"), RowSlice("b")], "bias", None, ()),
        ([RowSlice("d")], "weight", None, ()),
        ([RowSlice("table")], "bias", None, ()),
    ],
)
def test_what_a_view_takes(
    parts: list[RowSlice], parameter: str, rows: list[Rows] | None, shape: tuple[int, ...]
) -> None:
    seen = view(parts, parameter, SHAPES)
    if rows is None:
        assert seen is None
    else:
        assert seen is not None
        assert list(seen.rows) == rows
        assert seen.shape == shape
        assert seen.whole is (len(rows) == 1 and rows[0].stop - rows[0].start == SHAPES[rows[0].parameter][0])
