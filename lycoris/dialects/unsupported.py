"""Names of tensors that are known and not read, with the reason, so that a refusal says more than "unknown"."""

import re

ONLY_PEFT = "is of PEFT's {}, which is not read here"
REASONS: dict[str, str] = {
    r"reshape_weight": "needs a weight of a different shape: a live model is changed in place, and keeps its shapes",
    r"oft_blocks\.(?:[4-9]|\d\d+)": "is kohya's OFT of a part that no fused layer is known to have",
    r"lokr_t1": "is named in lists of LoKr's tensors, but no trainer is known to write it",
    r"bm\.weight": "is named in lists of GLoRA's tensors, but no trainer is known to write it",
    r"oft_embedding_R\.weight": ONLY_PEFT.format("OFT of an embedding"),
    r"(?:clip_l|clip_g|t5)_out": "is an embedding of a text encoder's output: only embeddings of its input are read",
    r"oft_r": "is of PEFT before 0.16, whose OFT was a different one",
    r"(?:\w+_)?scale_weight": "is the scale of a tensor in eight bits: quantized adapters are not read",
    r"randlora_\w+": ONLY_PEFT.format("RandLora"),
    r"vblora_\w+": ONLY_PEFT.format("VB-LoRA"),
    r"shira_(?:weight|indices)": ONLY_PEFT.format("SHiRA"),
    r"(?:miss_block|bone_block)": ONLY_PEFT.format("MiSS (Bone)"),
    r"delora_\w+": ONLY_PEFT.format("DeLoRA"),
    r"road_(?:theta|alpha)": ONLY_PEFT.format("RoAd"),
    r"waveft_spectrum": ONLY_PEFT.format("WaveFT"),
    r"psoft_\w+": ONLY_PEFT.format("PSOFT"),
    r"beft_bias": ONLY_PEFT.format("BEFT"),
    r"lily_\w+": ONLY_PEFT.format("Lily"),
    r"deft_[PR]": ONLY_PEFT.format("DEFT"),
    r"tinylora_\w+": ONLY_PEFT.format("TinyLoRA"),
    r"pvera_\w+": ONLY_PEFT.format("PVeRA"),
    r"gralora_\w+": ONLY_PEFT.format("GraLoRA"),
    r"prompt_embeddings": ONLY_PEFT.format("prompt tuning"),
}
_NAMES = [(re.compile(rf"(?:^|\.){name}(?:\.weight|\.default)*$"), reason) for name, reason in REASONS.items()]


def why_unsupported(name: str) -> str | None:
    """Return why a tensor of this name is not read, or None if it is not in the table."""
    return next((reason for pattern, reason in _NAMES if pattern.search(name)), None)
