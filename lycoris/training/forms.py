"""What the factors of a layer look like: of each algorithm their shapes. Without torch: a front end counts by it.

`beginnings.py` makes tensors of these very shapes, which a test holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd, isqrt, prod
from typing import Any

from lycoris.training.plan import Plan
from lycoris.training.sites import Site

Shapes = dict[str, tuple[int, ...]]  # of a layer's factors, by suffix
DORA_OVER = {"factor": 8, "full_matrix": False, "decompose_both": False}  # of the layer below, where it is LoKr


class Unfit(ValueError):
    """The algorithm has no form for a layer of this shape; the message says why."""


@dataclass(frozen=True)
class Form:
    """A layer as an algorithm sees it: the shape to fill, and the numbers asked for."""

    shape: tuple[int, ...]  # of the weight
    bias: bool  # whether the layer has one
    rank: int  # as the plan has it for this layer; 0 where the algorithm takes none
    options: Mapping[str, Any]

    @property
    def outputs(self) -> int:
        """Rows of the weight."""
        return self.shape[0]

    @property
    def inputs(self) -> int:
        """Columns of the weight, of one position of a kernel."""
        return self.shape[1]

    @property
    def kernel(self) -> tuple[int, ...]:
        """The axes of a convolution's kernel."""
        return self.shape[2:]

    @property
    def points(self) -> tuple[int, ...]:
        """As many axes as the kernel has, each of size 1."""
        return (1,) * len(self.kernel)

    @property
    def cored(self) -> bool:
        """Whether a Tucker core is asked for and there is a kernel to hold."""
        return bool(self.options.get("tucker")) and prod(self.kernel) > 1

    def most(self) -> int:
        """Return the rank of the weight itself: no product of two factors has a higher one."""
        return min(self.rank, self.outputs, prod(self.shape[1:]))


def rank_for(site: Site, plan: Plan) -> int:
    """Return the rank that a plan has for a layer; 0 where its algorithm takes none."""
    return int(plan.options.get("conv_rank") or plan.rank or 0) if prod(site.shape[2:]) > 1 else plan.rank or 0


def shapes_of(site: Site, plan: Plan) -> Shapes:
    """Return the shapes of a layer's factors; raises Unfit where the algorithm has none for it."""
    return FORMS[plan.algorithm](Form(site.shape, site.bias, rank_for(site, plan), plan.options))


def divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number up to `most`, at least 1."""
    return max(size for size in range(1, min(number, most) + 1) if number % size == 0)


def factors_of_two(form: Form) -> tuple[int, int, int, int]:
    """Return LoKr's sizes: outputs and inputs of the left factor, then of the right one."""
    factor = int(form.options["factor"])
    a, c = (divisor(size, isqrt(size) if factor < 0 else factor) for size in (form.outputs, form.inputs))
    return a, c, form.outputs // a, form.inputs // c


def oft_block(form: Form) -> int:
    """Return the size of Diag-OFT's blocks; raises Unfit."""
    size = divisor(form.outputs, form.rank)
    if size == 1:
        raise Unfit(f"its {form.outputs} outputs have no divisor from 2 to {form.rank} that a block could have")
    return size


def boft_block(form: Form) -> int:
    """Return the size of BOFT's blocks: LyCORIS has no other numbers of them than powers of two; raises Unfit."""
    even = [size for size in range(2, form.rank + 1, 2) if form.outputs % size == 0]
    size = max((size for size in even if (form.outputs // size).bit_count() == 1), default=0)
    if not size:
        raise Unfit(f"its {form.outputs} outputs are no power of two of blocks of an even size up to {form.rank}")
    return size


def c3a_block(form: Form) -> int:
    """Return the size of C3A's blocks; raises Unfit."""
    size = divisor(gcd(form.outputs, form.inputs), form.rank)
    if size == 1:
        raise Unfit(f"its {form.outputs} outputs and {form.inputs} inputs have no divisor from 2 to {form.rank}")
    return size


def hra_pairs(form: Form) -> int:
    """Return the number of HRA's pairs of planes; raises Unfit."""
    count = min(form.rank, prod(form.shape[1:])) // 2
    if not count:
        raise Unfit("two reflections are the fewest")
    return count


def glora_rank(form: Form) -> int:
    """Return GLoRA's rank; raises Unfit.

    It stays below the size of a square matrix: with square factors alone, no reader could tell a file of LyCORIS from
    one of before 3.0, which has them in the other order.
    """
    square = form.outputs == form.inputs and prod(form.kernel) == 1
    rank = min(form.most(), form.inputs - square)
    if not rank:
        raise Unfit("of one output and one input it has no form that a file could tell")
    return rank


def _lora(form: Form) -> Shapes:
    rank = form.most()
    down = form.points if form.cored else form.kernel
    shapes: Shapes = {"lora_up.weight": (form.outputs, rank, *form.points)}
    shapes["lora_down.weight"] = (rank, form.inputs, *down)
    return shapes | ({"lora_mid.weight": (rank, rank, *form.kernel)} if form.cored else {})


def _lokr(form: Form) -> Shapes:
    rank, (a, c, b, d) = form.rank, factors_of_two(form)
    both = form.options["decompose_both"] and rank < max(a, c) / 2
    left: Shapes = {"lokr_w1_a": (a, rank), "lokr_w1_b": (rank, c)} if both else {"lokr_w1": (a, c)}
    if form.options["full_matrix"] or rank >= max(b, d) / 2:
        return left | {"lokr_w2": (b, d, *form.kernel)}
    if form.cored:
        return left | {"lokr_t2": (rank, rank, *form.kernel), "lokr_w2_a": (rank, b), "lokr_w2_b": (rank, d)}
    return left | {"lokr_w2_a": (b, rank), "lokr_w2_b": (rank, d * prod(form.kernel))}


def _loha(form: Form) -> Shapes:
    rank = form.most()
    a = (rank, form.outputs) if form.cored else (form.outputs, rank)
    b = (rank, form.inputs if form.cored else prod(form.shape[1:]))
    shapes: Shapes = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": a, "hada_w2_b": b}
    cores = ("hada_t1", "hada_t2") if form.cored else ()
    return shapes | dict.fromkeys(cores, (rank, rank, *form.kernel))


def _dora(form: Form) -> Shapes:
    below = FORMS[form.options["over"]](replace(form, options={**DORA_OVER, **form.options}))
    return below | {"dora_scale": (form.outputs, *(1,) * (len(form.shape) - 1))}


def _glora(form: Form) -> Shapes:
    rank = glora_rank(form)
    return {
        "a1.weight": (form.inputs, rank, *form.points),
        "a2.weight": (rank, form.inputs, *form.points),
        "b1.weight": (form.outputs, rank, *form.points),
        "b2.weight": (rank, form.inputs, *form.kernel),
    }


def _hira(form: Form) -> Shapes:
    rank = form.most()
    return {"hira_A": (rank, form.inputs, *form.kernel), "hira_B": (form.outputs, rank, *form.points)}


def _vera(form: Form) -> Shapes:
    return {"vera_lambda_b": (form.outputs,), "vera_lambda_d": (form.rank,)}


def _oft(form: Form) -> Shapes:
    size = oft_block(form)
    return {"oft_blocks": (form.outputs // size, size, size)} | _rescaled(form)


def _boft(form: Form) -> Shapes:
    size = boft_block(form)
    blocks = form.outputs // size
    return {"oft_blocks": (blocks.bit_length(), blocks, size, size)} | _rescaled(form)


def _rescaled(form: Form) -> Shapes:
    return {"rescale": (form.outputs, 1, *form.points)} if form.options["rescaled"] else {}


def _hra(form: Form) -> Shapes:
    return {"hra_u": (prod(form.shape[1:]), 2 * hra_pairs(form))}


def _full(form: Form) -> Shapes:
    return {"diff": form.shape} | ({"diff_b": (form.outputs,)} if form.options["bias"] and form.bias else {})


def _norm(form: Form) -> Shapes:
    return {"w_norm": form.shape} | ({"b_norm": form.shape} if form.bias else {})


def _ia3(form: Form) -> Shapes:
    size = form.shape[int(form.options["on_input"])]
    return {"weight": (1, size, *form.points) if form.kernel else (size,)}


def _fourierft(form: Form) -> Shapes:
    return {"fourierft_spectrum": (min(int(form.options["frequencies"]), form.outputs * form.inputs),)}


def _c3a(form: Form) -> Shapes:
    size = c3a_block(form)
    return {"c3a_kernel": (form.outputs // size, form.inputs // size, size)}


FORMS: Mapping[str, Callable[[Form], Shapes]] = {
    "lora": _lora,
    "locon": _lora,
    "dora": _dora,
    "loha": _loha,
    "lokr": _lokr,
    "glora": _glora,
    "hira": _hira,
    "vera": _vera,
    "ia3": _ia3,
    "oft": _oft,
    "boft": _boft,
    "hra": _hra,
    "fourierft": _fourierft,
    "c3a": _c3a,
    "full": _full,
    "norm": _norm,
}
