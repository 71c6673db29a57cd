"""What a trainer says of the weights that an adapter was trained on: whether they were quantised, and to what.

| trainer | what it writes into a file's metadata |
|---|---|
| kohya's sd-scripts, musubi-tuner, forks | `ss_fp8_base`, `ss_fp8_base_unet`, `ss_nf4_base`: `True` or `False` |
| OneTrainer, if its configuration is kept | `ot_config`: JSON, with the `weight_dtype` of each part |
| Radiata | `radiata.quantised`: JSON, a list of what the base's weights are quantised to |
| ai-toolkit | nothing |
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lycoris.errors import shown

OURS = "radiata.quantised"
KOHYA = {"ss_nf4_base": "nf4", "ss_fp8_base": "fp8", "ss_fp8_base_unet": "fp8"}
ONE_TRAINER = {
    **{"NFLOAT_4": "nf4", "INT_8": "int8", "INT_W8A8": "int8", "FLOAT_8": "fp8", "FLOAT_W8A8": "fp8"},
    **{"GGUF": "GGUF", "GGUF_A8_FLOAT": "GGUF", "GGUF_A8_INT": "GGUF"},
}
DENOISERS = ("transformer", "unet", "prior")  # OneTrainer's parts
PLAIN = ""  # what was not quantised is so to


def trained_on(metadata: Mapping[str, str]) -> str | None:
    """Return what the base was quantised to, "" where it was not, None where its trainer does not say."""
    if OURS in metadata:
        listed = _json(metadata[OURS])
        return shown(", ".join(map(str, listed))) if isinstance(listed, list) else None
    said = {key: metadata[key] == "True" for key in KOHYA if key in metadata}
    if said:
        return next((KOHYA[key] for key, so in said.items() if so), PLAIN)
    found = _json(metadata.get("ot_config", "{}"))
    parts = [found.get(part) for part in DENOISERS] if isinstance(found, dict) else []
    dtypes = [str(part["weight_dtype"]) for part in parts if isinstance(part, dict) and "weight_dtype" in part]
    return next((ONE_TRAINER.get(dtype, PLAIN) for dtype in dtypes), None)


def _json(text: str) -> Any:
    """Return what JSON from outside says, None where it is none: that is no error."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def told(metadata: Mapping[str, str], stored: Sequence[str] | None) -> Iterator[str]:
    """Yield what is worth knowing of the weights that an adapter was trained on, beside those of a model.

    stored: what the model's weights are quantised to, as `stored_as` says; None where no model is known.
    """
    trained = trained_on(metadata)
    if trained is None or (trained == PLAIN and not stored):
        return
    was = f"it was trained on a base quantised to {trained}" if trained else "it was trained on a base of plain floats"
    here = f"this one is quantised to {', '.join(stored)}" if stored else "this one is not quantised"
    yield (
        was
        if stored is None or trained == ", ".join(stored) or any(_is(trained, one) for one in stored)
        else f"{was}, and {here}"
    )


def _is(trained: str, stored: str) -> bool:
    # GGUF's formats are named in capitals
    return trained == {"f": "fp8", "Q": "GGUF", "I": "GGUF", "T": "GGUF"}.get(stored[:1], stored)
