"""The table of beginnings: algorithm -> the factors of one layer, by which the change is zero and its gradient is not.

Exactly one factor of a product is zero: with two the gradient of both would be zero for ever. The first step moves
that factor alone, the second all of them. Where a change is no product, its only factor begins where it changes
nothing.
"""

from collections.abc import Callable, Mapping

from lycoris.training import low_rank
from lycoris.training.place import Place, Tensors

BEGINNINGS: Mapping[str, Callable[[Place], Tensors]] = {
    "lora": low_rank.lora,
    "locon": low_rank.lora,
    "lokr": low_rank.lokr,
}
