"""The suffix of a tensor's name, in every spelling, and the one name that the algorithms have for it."""

import re

LORA_UP, LORA_DOWN = "lora_up.weight", "lora_down.weight"
MAGNITUDE = "lora_magnitude_vector"

SPELLINGS: dict[str, str] = {
    # LoRA: kohya and LyCORIS; PEFT; diffusers before PEFT
    LORA_UP: LORA_UP,
    LORA_DOWN: LORA_DOWN,
    "lora_mid.weight": "lora_mid.weight",
    "lora_B.weight": LORA_UP,
    "lora_A.weight": LORA_DOWN,
    "lora_B": LORA_UP,
    "lora_A": LORA_DOWN,
    "lora.up.weight": LORA_UP,
    "lora.down.weight": LORA_DOWN,
    "lora_linear_layer.up.weight": LORA_UP,
    "lora_linear_layer.down.weight": LORA_DOWN,
    "lora_B.bias": "lora_B.bias",
    # PEFT for an embedding (tokens, width): B·A is the change of its transpose, so A and B change places
    "lora_embedding_A": LORA_UP,
    "lora_embedding_B": LORA_DOWN,
    "hira_embedding_A": "hira_B",
    "hira_embedding_B": "hira_A",
    "alpha": "alpha",
    "scale": "scale",
    # DoRA: LyCORIS and kohya; PEFT; ai-toolkit
    "dora_scale": "dora_scale",
    MAGNITUDE: MAGNITUDE,
    f"{MAGNITUDE}.weight": MAGNITUDE,
    "magnitude": MAGNITUDE,
    # differences in full
    "diff": "diff",
    "diff_b": "diff_b",
    "w_norm": "w_norm",
    "b_norm": "b_norm",
    "set_weight": "set_weight",
    # PEFT leaves out `.weight` where a tensor has no module of its own; others write it
    "hira_A.weight": "hira_A",
    "hira_B.weight": "hira_B",
} | {
    name: name
    for name in (
        *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
        *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
        *("bias_indices", "bias_values", "bias_size"),
        *("weight", "on_input"),
        *("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
        *("oft_blocks", "oft_diag", "rescale", *(f"oft_blocks.{part}" for part in range(4))),
        *("q_layer.weight", "p_layer.weight", "lambda_layer"),
        *("hira_A", "hira_B", "ia3_l", "is_feedforward", "lora_E"),
        *("oft_R.weight", "neumann_terms", "boft_R", "boft_s", "hra_u", "apply_GS", "c3a_kernel"),
        *("vera_lambda_b", "vera_lambda_d", "vera_A", "vera_B"),
        *("fourierft_spectrum", "fourierft_scaling", "random_loc_seed"),
        *(f"glora_{path}.{part}" for path in "ABC" for part in ("Xd", "Xu", "X", "zeros")),
        *(f"glora_{path}.{part}" for path in "DE" for part in ("X", "zeros")),
    )
}

# PEFT's own state dicts carry the adapter's name inside: lora_A.default.weight, hada_w1_a.default
_ADAPTER_NAME = re.compile(
    r"\.(?P<stem>lora_[ABE]|(?:lora|hira)_embedding_[AB]|lora_magnitude_vector|hada_\w+|lokr_\w+|hira_[AB]|ia3_l|oft_R|boft_[Rs]|hra_u|c3a_kernel"
    r"|vera_lambda_[bd]|fourierft_spectrum)\.(?!weight$|bias$)(?P<adapter>[\w\-]+)(?P<end>\.weight|\.bias)?$"
)
_TRANSPOSED = re.compile(r"\.(?:lora|hira)_embedding_[AB](?:\.[\w\-]+)?$")
_SUFFIX = re.compile(r"\.(" + "|".join(re.escape(name) for name in sorted(SPELLINGS, key=len, reverse=True)) + ")$")


def split_suffix(name: str) -> tuple[str, str] | None:
    """Return (module, suffix) of a tensor's name, the suffix as the algorithms spell it; None if none has it."""
    plain = _ADAPTER_NAME.sub(lambda found: f".{found['stem']}{found['end'] or ''}", name)
    found = _SUFFIX.search(plain)
    return (plain[: found.start()], SPELLINGS[found[1]]) if found else None


def adapter_name(name: str) -> str:
    """Return PEFT's name of the adapter that a tensor belongs to; empty where the tensor's name has none."""
    found = _ADAPTER_NAME.search(name)
    return found["adapter"] if found else ""


def transposed(name: str) -> bool:
    """Tell whether PEFT stores the transpose of what the algorithms expect under this tensor's suffix."""
    return _TRANSPOSED.search(name) is not None
