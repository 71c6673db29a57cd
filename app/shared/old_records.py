"""Records in the words of today: generations of version 0.1, and what was written before fields got new names.

Records only, for a request must use the new names.
"""

import json
import re
from typing import Any

NEW_NAMES = {"steps": "schedule", "wearing": "apply"}  # fields of an adapter's entry, and of a request
MARK = b'"wearing"'  # every record of 0.1 has it, and no record of a later version
VALUES = {"merged": "merge"}
# Before a base had several image encoders, the one it had stood in the request, and not with each image prompt
ONE_ENCODER = re.compile(rb'"base":"[^"]*","image_encoder":"')
NEW_TRAINING_NAMES = {
    "rates": "lr_scheduler",
    "warm_up": "lr_warmup_steps",
    "clip": "max_grad_norm",
    "accumulation": "gradient_accumulation_steps",
    "ema": "ema_decay",
    "min_snr": "snr_gamma",
    "density": "weighting_scheme",
    "shuffle": "shuffle_caption",
    "dropout": "caption_dropout_rate",
}
TRAINING_MARK = b'"warm_up"'  # every record with the old names has it; a later one only where a text says just this


def in_new_words(text: bytes) -> bytes:
    """Return the JSON of an accepted or ended generation with today's names; text that is none, or is new, as it is."""
    if MARK not in text and not ONE_ENCODER.search(text):
        return text
    try:
        return json.dumps(_accepted(json.loads(text))).encode()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return text  # whoever reads it says what is wrong with it


def training_in_new_words(text: bytes) -> bytes:
    """Return the JSON of an accepted or ended training with today's names; text that is none, or is new, as it is."""
    if TRAINING_MARK not in text:
        return text
    try:
        record = json.loads(text)
        training = dict(record["training"])
        training["request"] = {NEW_TRAINING_NAMES.get(name, name): one for name, one in training["request"].items()}
        return json.dumps(record | {"training": training}).encode()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return text  # whoever reads it says what is wrong with it


def _accepted(record: dict[str, Any]) -> dict[str, Any]:
    generation = dict(record["generation"])
    request = dict(generation["request"])
    adapters = [_renamed(one, "steps", "schedule") for one in request["adapters"]]
    encoder = request.pop("image_encoder", "")
    prompts = {"image_encoder": encoder}
    request["adapters"] = [one | prompts if encoder and one.get("kind") == "image_prompt" else one for one in adapters]
    generation["request"] = _renamed(request, "wearing", "apply")
    return record | {"generation": _renamed(generation, "wearing", "applied")}


def _renamed(entry: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    if old not in entry:
        return entry
    value = entry[old]
    rest = {name: one for name, one in entry.items() if name != old}
    return rest | {new: VALUES.get(value, value) if isinstance(value, str) else value}
