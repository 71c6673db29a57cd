"""The algorithms that can be trained, and those that cannot, with the reason: data, without torch."""

from collections.abc import Mapping

from lycoris.training.options import LINEAR, MATRICES, Algorithm, Option

RANK = "width of the low-rank factors"
BLOCK = "largest size of a block; a layer gets the largest divisor of its outputs up to it"
EVEN = "so that the first step changes a weight as much as LoRA's at 1e-4: 1e-5"

TUCKER = Option(name="tucker", kind="flag", default=False, meaning="convolutions share a small core of the kernel")
CONV_RANK = Option(
    name="conv_rank",
    kind="whole",
    default=None,
    least=1,
    meaning="rank of convolutions with a kernel; rank if left out",
)
CONV_ALPHA = Option(
    name="conv_alpha",
    kind="number",
    default=None,
    least=1e-3,
    most=1e6,
    meaning="alpha of those; in proportion to their rank if left out",
)
CONSTRAINT = Option(
    name="constraint",
    kind="number",
    default=0.0,
    least=0,
    most=1,
    meaning="the most that a rotation may turn, times the outputs; 0 for no limit",
)
RESCALED = Option(name="rescaled", kind="flag", default=False, meaning="also trains one scale for each output")
STABILISED = Option(
    name="rank_stabilised", kind="flag", default=False, meaning="scales by alpha/√rank in place of alpha/rank (rsLoRA)"
)
BIAS = Option(name="bias", kind="flag", default=False, meaning="also trains the layers' biases, in full")
FACTOR = Option(
    name="factor",
    kind="whole",
    default=8,
    least=-1,
    most=4096,
    meaning="rows of the left factor: the largest divisor of the outputs up to this; -1 for about the square root",
)
WHOLE = Option(
    name="full_matrix", kind="flag", default=False, meaning="the right factor is a whole matrix, whatever the rank"
)
BOTH = Option(
    name="decompose_both",
    kind="flag",
    default=False,
    meaning="the left factor is of low rank too, where it is large enough",
)
KERNELS = (CONV_RANK, CONV_ALPHA, TUCKER)

_TABLE = (
    Algorithm(
        name="lora",
        summary="a low-rank change of linear layers (Hu et al., 2021)",
        reaches=LINEAR,
        rank=RANK,
        default_rank=16,
        alpha=True,
        options=(STABILISED,),
        learning_rate=1e-4,
        first_change=0.09,
        why_rate="the rate that most recipes for LoRA use",
    ),
    Algorithm(
        name="locon",
        summary="LoRA of linear layers and of convolutions (Yeh et al., 2023)",
        reaches=MATRICES,
        rank=RANK,
        default_rank=16,
        alpha=True,
        options=(*KERNELS, STABILISED),
        learning_rate=1e-4,
        first_change=0.09,
        why_rate="as LoRA",
    ),
    Algorithm(
        name="lokr",
        summary="the Kronecker product of a small matrix and a larger one (Edalati et al., 2022)",
        reaches=MATRICES,
        rank="width of the right factor's parts; from half of its size on, the factor is whole",
        default_rank=16,
        alpha=True,
        options=(FACTOR, WHOLE, BOTH, TUCKER),
        learning_rate=1e-4,
        first_change=0.11,
        why_rate=f"{EVEN}; a whole right factor moves twice as far",
    ),
)
ALGORITHMS: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in _TABLE}
