"""The algorithms that can be trained, and those that cannot, with the reason: data, without torch."""

from collections.abc import Mapping

from lycoris.training.options import LINEAR, MATRICES, NORMS, Algorithm, Option

RANK = "width of the low-rank factors"
AS_LORA = "so that the first step moves a weight about as far as LoRA's at 1e-4 does: 1e-5"

TUCKER = Option(name="tucker", kind="flag", default=False, meaning="convolutions share a small core for the kernel")
CONV_RANK = Option(
    name="conv_rank",
    kind="whole",
    default=None,
    least=1,
    most=4096,
    meaning="rank of convolutions that have a kernel; `rank` if left out",
)
CONV_ALPHA = Option(
    name="conv_alpha",
    kind="number",
    default=None,
    least=1e-3,
    most=1e6,
    meaning="alpha of those convolutions; if left out, they are scaled as the other layers are",
)
STABILISED = Option(
    name="rank_stabilised",
    kind="flag",
    default=False,
    meaning="scales by alpha/√rank in place of alpha/rank (rsLoRA); the file's alpha says the result",
)
CONSTRAINT = Option(
    name="constraint",
    kind="number",
    default=0.0,
    least=0,
    most=1,
    meaning="largest norm of a layer's rotation, times its outputs; 0 for no limit",
)
RESCALED = Option(name="rescaled", kind="flag", default=False, meaning="also trains a scale for each output")
BIAS = Option(name="bias", kind="flag", default=False, meaning="also trains the layers' biases")
FACTOR = Option(
    name="factor",
    kind="whole",
    default=8,
    least=-1,
    most=4096,
    meaning="size of the left factor: the largest divisor of a layer's size up to it; -1 for up to the square root",
)
FULL_MATRIX = Option(
    name="full_matrix", kind="flag", default=False, meaning="the right factor is a whole matrix, whatever the rank"
)
BOTH = Option(
    name="decompose_both", kind="flag", default=False, meaning="the left factor is of low rank too, if large enough"
)
ON_INPUT = Option(name="on_input", kind="flag", default=False, meaning="scales a layer's inputs, not its outputs")
OVER = Option(
    name="over",
    kind="choice",
    default="lora",
    choices=("lora", "loha", "lokr"),
    meaning="the algorithm that turns the weight's rows, with its own defaults",
)
FREQUENCIES = Option(
    name="frequencies",
    kind="whole",
    default=1000,
    least=1,
    most=1_000_000,
    meaning="trained numbers of a layer; a layer of fewer weights gets as many as it has",
)
SCALING = Option(
    name="scaling", kind="number", default=150.0, least=1e-3, most=1e6, meaning="factor of the change (PEFT's)"
)
LOCATIONS = Option(
    name="location_seed",
    kind="whole",
    default=777,
    least=0,
    most=2**63 - 1,
    meaning="seed of the places in the spectrum (PEFT's random_loc_seed)",
)
START = Option(
    name="start", kind="number", default=0.1, least=1e-6, most=10, meaning="what the scales of the ranks begin with"
)

_TRAINED = (
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
        why_rate="the rate of most recipes for LoRA",
    ),
    Algorithm(
        name="locon",
        summary="LoRA of linear layers and of convolutions (Yeh et al., 2023)",
        reaches=MATRICES,
        rank=RANK,
        default_rank=16,
        alpha=True,
        options=(CONV_RANK, CONV_ALPHA, TUCKER, STABILISED),
        learning_rate=1e-4,
        first_change=0.09,
        why_rate="as LoRA",
    ),
    Algorithm(
        name="dora",
        summary="a low-rank change of the directions of a weight's rows, and a magnitude for each (Liu et al., 2024)",
        reaches=MATRICES,
        rank=RANK,
        default_rank=16,
        alpha=True,
        options=(OVER, CONV_RANK, CONV_ALPHA),
        learning_rate=1e-4,
        first_change=0.10,
        why_rate=f"{AS_LORA}; over LoHa or LoKr it is theirs",
    ),
    Algorithm(
        name="loha",
        summary="the elementwise product of two low-rank matrices (Hyeon-Woo et al., 2021)",
        reaches=MATRICES,
        rank=RANK,
        default_rank=16,
        alpha=True,
        options=(CONV_RANK, CONV_ALPHA, TUCKER, STABILISED),
        learning_rate=2e-5,
        first_change=1.59,
        over_rank=True,
        why_rate="2e-5 × 16/rank, as its first step goes as much farther as the rank is larger; by that step alone it "
        "would be 6e-6, but LoRA's two factors soon grow by each other, and there it learned less than a third as much",
    ),
    Algorithm(
        name="lokr",
        summary="the Kronecker product of a small matrix and a larger one (Edalati et al., 2022)",
        reaches=MATRICES,
        rank="width of the right factor's parts; from half of its size on, that factor is whole",
        default_rank=16,
        alpha=True,
        options=(FACTOR, FULL_MATRIX, BOTH, TUCKER),
        learning_rate=1e-4,
        first_change=0.12,
        why_rate=f"{AS_LORA}; with a whole right factor it moves twice as far",
    ),
    Algorithm(
        name="glora",
        summary="a low-rank change, and a low-rank mixing of the weight's own inputs (Chavan et al., 2023; LyCORIS)",
        reaches=MATRICES,
        rank=RANK,
        default_rank=16,
        alpha=True,
        options=(CONV_RANK, CONV_ALPHA),
        learning_rate=3e-5,
        first_change=0.35,
        why_rate=AS_LORA,
    ),
    Algorithm(
        name="hira",
        summary="a weight times a low-rank matrix, element by element (Huang et al., 2025)",
        reaches=MATRICES,
        rank=RANK,
        default_rank=16,
        learning_rate=5e-3,
        first_change=0.0021,
        why_rate=f"{AS_LORA}; its change is a share of the weight, which is small itself",
    ),
    Algorithm(
        name="ia3",
        summary="one scale for each of a layer's outputs or inputs (Liu et al., 2022)",
        reaches=MATRICES,
        options=(ON_INPUT,),
        learning_rate=5e-3,
        first_change=0.0228,
        why_rate="LyCORIS's advice; by its first step alone it would be 5e-4, which is slow for so few numbers",
    ),
    Algorithm(
        name="oft",
        summary="a rotation of a weight's outputs, block by block (Qiu et al., 2023)",
        reaches=MATRICES,
        rank="largest size of a block; a layer gets the largest divisor of its outputs up to it",
        default_rank=16,
        options=(CONSTRAINT, RESCALED),
        learning_rate=3e-5,
        first_change=0.36,
        why_rate=AS_LORA,
    ),
    Algorithm(
        name="boft",
        summary="rotations of a weight's outputs in stages, each over blocks farther apart (Liu et al., 2023)",
        reaches=MATRICES,
        rank="largest size of a block; a layer gets the largest even size that divides its outputs into a power of two",
        default_rank=16,
        options=(CONSTRAINT, RESCALED),
        learning_rate=7e-6,
        first_change=1.39,
        why_rate=f"{AS_LORA}; every stage adds to it",
    ),
    Algorithm(
        name="hra",
        summary="a weight's inputs reflected at a series of planes (Yuan et al., 2024; PEFT)",
        reaches=MATRICES,
        rank="number of planes, an even one: they begin in equal pairs",
        default_rank=8,
        learning_rate=5e-4,
        first_change=0.0154,
        why_rate=f"{AS_LORA}; a plane turns by a step's share of its normal",
    ),
    Algorithm(
        name="vera",
        summary="two random matrices shared by all layers, and two vectors for each (Kopiczko et al., 2023; PEFT)",
        reaches=LINEAR,
        rank="width of the two shared matrices, whatever the layers' sizes",
        default_rank=256,
        options=(START,),
        learning_rate=5e-3,
        first_change=0.0013,
        why_rate=f"{AS_LORA}; the matrices are random and small",
    ),
    Algorithm(
        name="fourierft",
        summary="a few numbers of the change's spectrum (Gao et al., 2024; PEFT)",
        reaches=LINEAR,
        options=(FREQUENCIES, SCALING, LOCATIONS),
        learning_rate=1e-3,
        first_change=0.0082,
        why_rate=AS_LORA,
    ),
    Algorithm(
        name="c3a",
        summary="a change made of circulant blocks (Chen et al., 2024; PEFT)",
        reaches=LINEAR,
        rank="largest size of a block; a layer gets the largest divisor of its outputs and inputs up to it",
        default_rank=16,
        learning_rate=5e-3,
        first_change=0.0016,
        why_rate=f"{AS_LORA}; its blocks are divided by the number of inputs",
    ),
    Algorithm(
        name="full",
        summary="the whole difference of a weight",
        reaches=MATRICES,
        options=(BIAS,),
        learning_rate=1e-5,
        first_change=1.0,
        why_rate=AS_LORA,
    ),
    Algorithm(
        name="norm",
        summary="the differences of the weights and biases of normalisation layers",
        reaches=NORMS,
        learning_rate=5e-4,
        first_change=1.0,
        why_rate="a step of the same share of a norm's weight, about 1, as LoRA's is of a layer's, about 0.02",
    ),
)
_ONLY_READ = {
    "tlora": "its ranks follow the time step of each picture while it is trained, and a layer does not know that",
    "adalora": "its ranks are chosen by an allocator while it is trained, which is not here; `lora` has a fixed rank",
    "dylora": "it is a LoRA with ranks in order, trained by cutting them at random; `lora` makes the same kind of file",
    "overwrite": "it replaces a parameter and has no zero to begin with; `full` trains the difference",
    "peft-glora": "PEFT's algorithm of that name is written by PEFT alone; `glora` trains LyCORIS's",
    "peft-oft": "it rotates inputs, in two directions that only PEFT's configuration tells apart; use `oft`",
    "peft-boft": "it rotates inputs, and PEFT alone writes it; use `boft`",
}
ALGORITHMS: Mapping[str, Algorithm] = {algorithm.name: algorithm for algorithm in _TRAINED} | {
    name: Algorithm(name=name, summary="read and served, not trained", untrainable=why)
    for name, why in _ONLY_READ.items()
}
TRAINABLE = tuple(algorithm.name for algorithm in _TRAINED)
