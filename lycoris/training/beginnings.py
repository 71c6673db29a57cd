"""The table of beginnings: algorithm -> the factors of one layer, by which the change is zero and its gradient is not.

Exactly one factor of a product is zero: with two, the gradient of both would be zero for ever. So the first step moves
that factor alone, and the second moves all of them. A change that is no product has one factor, which is zero or turns
by no angle.
"""

from collections.abc import Callable, Mapping

from lycoris.training import low_rank, turning, unfactored
from lycoris.training.place import Place, Tensors

BEGINNINGS: Mapping[str, Callable[[Place], Tensors]] = {
    "lora": low_rank.lora,
    "locon": low_rank.lora,
    "dora": low_rank.dora,
    "loha": low_rank.loha,
    "lokr": low_rank.lokr,
    "glora": low_rank.glora,
    "hira": low_rank.hira,
    "vera": low_rank.vera,
    "ia3": unfactored.ia3,
    "oft": turning.oft,
    "boft": turning.boft,
    "hra": turning.hra,
    "fourierft": unfactored.fourierft,
    "c3a": unfactored.c3a,
    "full": unfactored.full,
    "norm": unfactored.norm,
}
