"""An adapter file as the tools write it: checked by `load` before it gets its name, with a record of each tool."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lycoris.adapter import load
from lycoris.dialects.header_config import SCALE_KEYS
from lycoris.files.stable_bytes import stable_bytes
from lycoris.placement.resolve import resolve
from lycoris.placement.shapes import Shapes
from lycoris.tools.outputs import Named, new_file

HISTORY = "lycoris_history"  # one line of JSON for every tool that made the file
# Entries that do not hold for the new file: hashes, and scales that are now in the tensors
STALE = frozenset({*SCALE_KEYS, "modelspec.hash_sha256", "sshs_model_hash", "sshs_legacy_hash"})
FACTOR_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Draft:
    """The contents of a new adapter file."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    def write(self, out: Named, force: bool = False, components: Mapping[str, Shapes] | None = None) -> None:
        """Write the file, if `load` accepts it and, given a model, every layer has a place there.

        Raises ToolRefused if `out` exists, and AdapterError for values that the dtype cannot hold.
        """
        with new_file(out, force) as temporary:
            tensors = {name: tensor.clone().contiguous() for name, tensor in self.tensors.items()}
            # Not save_file, which makes a file that only its owner can read.
            temporary.write_bytes(stable_bytes(tensors, self.metadata))
            adapter = load(temporary)
            if components is not None:
                resolve(adapter, components)


def metadata_of(before: Mapping[str, str], **done: Any) -> dict[str, str]:
    """Return the metadata of a changed file: the entries that still hold, and a line about the change."""
    kept = {key: text for key, text in before.items() if key not in STALE}
    lines = [*kept.get(HISTORY, "").splitlines(), json.dumps(done)]
    return kept | {HISTORY: "\n".join(lines)}


def as_lora(metadata: Mapping[str, str], ranks: Iterable[int]) -> dict[str, str]:
    """Return the metadata with kohya's entries for a LoRA of these ranks, whose alphas equal their ranks."""
    highest = str(max(ranks, default=1))
    words = {"ss_network_module": "networks.lora", "ss_network_dim": highest, "ss_network_alpha": highest}
    return {**metadata, **words, "ss_network_args": "{}"}


def widest(tensors: Iterable[Tensor]) -> torch.dtype:
    """Return a dtype for new factors that holds all of these tensors exactly."""
    kinds = {tensor.dtype for tensor in tensors if tensor.is_floating_point() and tensor.ndim}
    kinds -= {torch.float8_e4m3fn, torch.float8_e5m2}  # float16 holds all of both
    if kinds in ({torch.bfloat16}, {torch.float16}):
        return next(iter(kinds))
    return torch.float32 if kinds else torch.float16


def exactly(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in a dtype if nothing is lost by it, else in float32."""
    narrow = tensor.to(dtype)
    return narrow if torch.equal(narrow.to(tensor.dtype), tensor) else tensor.float()
