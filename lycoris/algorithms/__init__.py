"""The table of algorithms, in order of detection: the first whose sign is in a group of tensors reads it.

To add one: a file with a frozen dataclass (`change.py` says what it must honour), its line here, a builder in
`tests/lycoris/zoo.py`, a golden. Its tensor names reach it through `lycoris/dialects/suffixes.py`.
"""

from lycoris.algorithms.bias import LoRABias
from lycoris.algorithms.change import Change
from lycoris.algorithms.dora import DoRA
from lycoris.algorithms.full import Full, FullBias
from lycoris.algorithms.loha import LoHa
from lycoris.algorithms.lokr import LoKr
from lycoris.algorithms.lora import LoRA
from lycoris.algorithms.norm import Norm, NormBias

OF_WEIGHTS: tuple[type[Change], ...] = (LoHa, LoKr, LoRA, Norm, Full)
OF_BIASES: tuple[type[Change], ...] = (FullBias, NormBias, LoRABias)
UNDER_DORA: tuple[type[Change], ...] = (LoRA, LoHa, LoKr)
OVER_OTHERS: type[Change] = DoRA
