"""Checkpoints of a training: one object each, whole or not at all, the newest two kept.

| key below the training's prefix | what |
|---|---|
| `checkpoints/<step>-<first of its sha256>.safetensors` | factors, moments and average after so many steps |

Storage publishes an object by one atomic act after its bytes are flushed; the hash in the key tells one that was spoilt
later, and the one before it is taken.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from safetensors.torch import load as load_tensors
from torch import Tensor

from app.shared.errors import BadRequest
from app.shared.storage import Storage
from app.shared.training_keys import checkpoint_folder, checkpoint_name
from lycoris.files.stable_bytes import stable_bytes

KEPT = 2
OF = "of"  # entry of a file's header


@dataclass(frozen=True)
class Checkpoint:
    """The state after so many steps; tensors by what they are and the factor's name: `factor/unet.….lora_up.weight`."""

    step: int
    tensors: Mapping[str, Tensor]


class Checkpoints:
    """Those of one training. of: what it is a training of, by name; a checkpoint of something else is an error."""

    def __init__(self, storage: Storage, prefix: str, of: Mapping[str, str]) -> None:
        self._storage = storage
        self._folder = checkpoint_folder(prefix)
        self._of = dict(of)

    def write(self, checkpoint: Checkpoint) -> str:
        """Publish a checkpoint, then forget all but the newest two; return its key. Raises as Storage does."""
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in checkpoint.tensors.items()}
        data = stable_bytes(tensors, {OF: json.dumps(self._of, sort_keys=True)})
        key = f"{self._folder}/{checkpoint_name(checkpoint.step, sha256(data).hexdigest())}"
        before = self._keys()
        self._storage.put(key, data)
        for old in [one for one in before if one != key][: 1 - KEPT]:
            self._storage.delete(old)
        return key

    def newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None; raises BadRequest where it is of something else."""
        for key in reversed(self._keys()):
            data = self._storage.get(key)
            name = PurePosixPath(key).name
            step = int(name.partition("-")[0])
            if data is None or name != checkpoint_name(step, sha256(data).hexdigest()):
                continue
            of = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][OF])
            other = sorted(name for name in self._of.keys() | of.keys() if self._of.get(name) != of.get(name))
            if other:
                message = f"the checkpoint {key!r} is of another training: other {', '.join(other)}"
                raise BadRequest("checkpoint_of_another", message)
            return Checkpoint(step, load_tensors(data))
        return None

    def _keys(self) -> list[str]:
        """Return the keys of all checkpoints, the oldest first."""
        return sorted(key for key in self._storage.keys(self._folder) if key.endswith(".safetensors"))
