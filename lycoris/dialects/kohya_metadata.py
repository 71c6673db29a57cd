"""Entries of kohya's metadata that change what the tensors mean."""

import json
from collections.abc import Mapping

PRINCIPAL = "principal"


def tlora_start(metadata: Mapping[str, str]) -> str:
    """Return the `sig_type` that a T-LoRA was initialised with: "principal" by default, "random" without data."""
    try:
        found = json.loads(metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):  # text from outside: not an error
        return PRINCIPAL
    arguments = found if isinstance(found, dict) else {}
    if str(arguments.get("use_data_init", True)).lower() in ("false", "0"):
        return "random"
    return str(arguments.get("sig_type", PRINCIPAL))
