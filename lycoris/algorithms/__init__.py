"""The table of algorithms, in order of detection: the first that claims a group of tensors reads it.

To add one: a file with a frozen dataclass (`change.py` has the contract), its line here, a builder in
`tests/lycoris/zoo.py`, a golden. Its tensor names reach it through `lycoris/dialects/suffixes.py`.
"""

from lycoris.algorithms.adalora import AdaLoRA
from lycoris.algorithms.bias import LoRABias
from lycoris.algorithms.boft import BOFT
from lycoris.algorithms.c3a import C3A
from lycoris.algorithms.change import Change
from lycoris.algorithms.dora import DoRA
from lycoris.algorithms.fourierft import FourierFT
from lycoris.algorithms.full import Full, FullBias
from lycoris.algorithms.glora import GLoRA
from lycoris.algorithms.hira import HiRA
from lycoris.algorithms.hra import HRA
from lycoris.algorithms.ia3 import IA3, PeftIA3, PeftIA3Bias
from lycoris.algorithms.loha import LoHa
from lycoris.algorithms.lokr import LoKr
from lycoris.algorithms.lora import LoRA
from lycoris.algorithms.norm import Norm, NormBias
from lycoris.algorithms.oft import DiagOFT, OldOFT
from lycoris.algorithms.overwrite import Overwrite
from lycoris.algorithms.peft_boft import PeftBOFT
from lycoris.algorithms.peft_glora import PeftGLoRA, PeftGLoRABias
from lycoris.algorithms.peft_oft import PeftOFT
from lycoris.algorithms.split_oft import SplitOFT
from lycoris.algorithms.tlora import TLoRA
from lycoris.algorithms.vera import VeRA

OF_WEIGHTS: tuple[type[Change], ...] = (
    *(HiRA, TLoRA, OldOFT, SplitOFT, DiagOFT, BOFT, PeftOFT, PeftBOFT),
    *(LoHa, LoKr, GLoRA, PeftGLoRA, IA3, PeftIA3),
    *(HRA, VeRA, FourierFT, C3A),
    *(AdaLoRA, LoRA, Norm, Full, Overwrite),
)
OF_BIASES: tuple[type[Change], ...] = (FullBias, NormBias, PeftGLoRABias, LoRABias, PeftIA3Bias)
UNDER_DORA: tuple[type[Change], ...] = (LoRA, LoHa, LoKr)
OVER_OTHERS = DoRA  # takes a change of UNDER_DORA as its `layer`
