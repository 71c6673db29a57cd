"""What the metadata of kohya's scripts say of the training, where it changes what the tensors mean."""

import json
from collections.abc import Mapping

PRINCIPAL = "principal"


def tlora_start(metadata: Mapping[str, str]) -> str:
    """Return what a T-LoRA began as, its `sig_type`: "principal" where nothing is said, "random" for no data at all."""
    try:
        found = json.loads(metadata.get("ss_network_args", "{}"))
    except (ValueError, RecursionError):  # a stranger's text: then it says nothing
        return PRINCIPAL
    arguments = found if isinstance(found, dict) else {}
    if str(arguments.get("use_data_init", True)).lower() in ("false", "0"):
        return "random"
    return str(arguments.get("sig_type", PRINCIPAL))
