"""diffusers' fused projections: the rows of `to_qkv` and its kin are those that diffusers' own fusing puts there."""

from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lycoris import Index, Patcher, load
from lycoris.dialects.fused import FUSED
from lycoris.patcher import StackEntry
from lycoris.placement.views import view
from tests.lycoris import zoo
from tests.lycoris.keys.models import MODELS, build
from tests.lycoris.measure import assert_close, bits_of

DENOISERS = ("unet", "transformer", "prior")
APART = ("hidream",)  # diffusers cannot fuse its attentions


def numbered(part: nn.Module) -> dict[str, Tensor]:
    """Number the rows of every projection of the attentions that can be fused; return parameter -> its numbers."""
    numbers, rows = count(), {}
    for path, attention in part.named_modules():
        if not hasattr(attention, "fuse_projections"):
            continue
        for leaf, layer in attention.named_children():
            for name, held in layer.named_parameters(recurse=False) if isinstance(layer, nn.Linear) else ():
                ids = torch.tensor([float(next(numbers)) for _ in range(len(held))])
                rows[f"{path}.{leaf}.{name}"] = ids
                setattr(layer, name, nn.Parameter(ids[:, None].clone() if held.ndim == 2 else ids.clone(), False))
    return rows


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_where_diffusers_fuses_them(name: str) -> None:
    seen = 0
    components = build(name)
    index = Index(components)
    for component, part in components.items():
        if component not in DENOISERS:
            continue
        rows = numbered(part)
        before = {path for path, _ in part.named_modules()}
        for attention in list(part.modules()):
            fuse: Any = getattr(attention, "fuse_projections", None)
            with suppress(AttributeError):  # HiDream's and LTX-2's, which diffusers cannot fuse
                _ = fuse and fuse()
        for path, layer in part.named_modules():
            if path in before or not isinstance(layer, nn.Linear):
                continue
            assert path.rpartition(".")[2] in FUSED, f"diffusers fuses to {path}"
            if path not in index.modules[component]:
                block, _, fused = path.rpartition(".")
                widths = {index.shapes[component][f"{block}.{leaf}.weight"][1] for leaf in FUSED[fused]}
                assert len(widths) > 1, f"{path} is not known"
                continue
            for parameter, held in layer.named_parameters():
                for spelled in (path, path.replace(".", "_")):
                    (parts,) = index.modules[component][spelled]
                    meant = view(parts, parameter, index.shapes[component])
                    assert meant is not None
                    found = torch.cat([rows[each.parameter][each.start : each.stop] for each in meant.rows])
                    assert torch.equal(found, held.flatten()), path
            seen += 1
    print(f"{name}: {seen} fused layers")
    assert bool(seen) != (name in APART)


class Attention(nn.Module):
    """Grouped queries: k and v have a quarter of the rows of q."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(12, rows) for rows in (16, 4, 4))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(12, rows) for rows in (16, 4, 4))


@pytest.mark.parametrize("algorithm", [name for name, (_, kinds) in zoo.ALGORITHMS.items() if "linear" in kinds])
@pytest.mark.parametrize("fused", FUSED)
def test_every_algorithm_is_exact_across_the_seams(algorithm: str, fused: str) -> None:
    torch.manual_seed(0)
    attention = Attention().requires_grad_(False)
    parts = [attention.get_submodule(leaf) for leaf in FUSED[fused]]
    whole = nn.Linear(12, sum(len(part.get_parameter("weight")) for part in parts)).requires_grad_(False)
    for parameter in ("weight", "bias"):
        whole.get_parameter(parameter).copy_(torch.cat([part.get_parameter(parameter) for part in parts]))
    tensors = zoo.tensors(algorithm, whole.weight)
    pristine = bits_of(attention)
    apart, together = Patcher({"unet": attention}), Patcher({"unet": nn.ModuleDict({fused: whole})})
    adapter = load(zoo.file({f"unet.{fused}": tensors}))
    apart.swap([StackEntry(adapter, 0.7)])
    together.swap([StackEntry(adapter, 0.7)])
    for parameter in ("weight", "bias"):
        found = torch.cat([part.get_parameter(parameter) for part in parts])
        assert_close(found, whole.get_parameter(parameter), f"{algorithm} on {fused}")
    apart.restore()
    assert bits_of(attention) == pristine


def test_projections_of_two_widths_are_no_one_layer() -> None:
    shapes = {f"attn.to_{leaf}.weight": (8, width) for leaf, width in (("q", 8), ("k", 12), ("v", 12))}
    named = Index({"unet": shapes}).modules["unet"]
    assert "attn.to_qkv" not in named
    assert "attn.to_kv" in named
