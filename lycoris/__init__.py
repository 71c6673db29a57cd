"""Adapter algebra and hot swap: reads LoRA and LyCORIS files, and applies any stack of them to a live model.

These are all public names of the library: `from lycoris import load, Patcher, StackEntry`. Each is imported at its
first use, so that `import lycoris` alone loads no torch. Everything else is private.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lycoris.adapter import Adapter, load, read
    from lycoris.architectures.detect import architecture_of_model
    from lycoris.bypass import Bypass
    from lycoris.dialects.embeddings import EMBEDDING_PREFIX, TEXT_ENCODERS, folded_trigger, usable_trigger
    from lycoris.errors import (
        AdapterError,
        Code,
        FileRefused,
        ModelChanged,
        NeverCalled,
        NoPlace,
        PlanRefused,
        Reason,
        StackRefused,
    )
    from lycoris.files.checked_file import CheckedFile, checked
    from lycoris.files.model_folder import MappedFolder
    from lycoris.hooked.layers import bypass_sites
    from lycoris.hooked.owners import recompute_obstacles
    from lycoris.hooked.region import Region, positions
    from lycoris.inspection import Verdict, inspect, judged, verdict_of
    from lycoris.kernels.stored import merge_obstacles, quantised, storage, stored_as
    from lycoris.merged.merge import Mode
    from lycoris.merged.pristine import PristineChoice
    from lycoris.patcher import Patcher
    from lycoris.placement.resolve import Index, Plan, resolve
    from lycoris.placement.shapes import shapes_of
    from lycoris.ranks import first_ranks
    from lycoris.recompute import Recompute
    from lycoris.stack import StackEntry, blocks_of, factor_at
    from lycoris.training.reach import trainable_layers
    from lycoris.training.table import ALGORITHMS
    from lycoris.widened import FurtherInputs, further_inputs

__all__ = [
    "ALGORITHMS",
    "EMBEDDING_PREFIX",
    "TEXT_ENCODERS",
    "Adapter",
    "AdapterError",
    "Bypass",
    "CheckedFile",
    "Code",
    "FileRefused",
    "FurtherInputs",
    "Index",
    "MappedFolder",
    "Mode",
    "ModelChanged",
    "NeverCalled",
    "NoPlace",
    "Patcher",
    "Plan",
    "PlanRefused",
    "PristineChoice",
    "Reason",
    "Recompute",
    "Region",
    "StackEntry",
    "StackRefused",
    "Verdict",
    "architecture_of_model",
    "blocks_of",
    "bypass_sites",
    "checked",
    "factor_at",
    "first_ranks",
    "folded_trigger",
    "further_inputs",
    "inspect",
    "judged",
    "load",
    "merge_obstacles",
    "positions",
    "quantised",
    "read",
    "recompute_obstacles",
    "resolve",
    "shapes_of",
    "storage",
    "stored_as",
    "trainable_layers",
    "usable_trigger",
    "verdict_of",
]

# name -> the module that has it; tests/test_architecture.py compares with the imports above
MODULES = {
    # From a file to an adapter, and what it is
    "load": "lycoris.adapter",
    "read": "lycoris.adapter",  # as load, with the reasons in place of an exception
    "Adapter": "lycoris.adapter",
    "inspect": "lycoris.inspection",
    "judged": "lycoris.inspection",  # the verdict on what `read` returned, for one model of several
    "Verdict": "lycoris.inspection",
    "first_ranks": "lycoris.ranks",
    "further_inputs": "lycoris.widened",  # of a layer that a file trains with more than the model's has
    "FurtherInputs": "lycoris.widened",
    "checked": "lycoris.files.checked_file",  # a file of any contents, its header judged
    "CheckedFile": "lycoris.files.checked_file",
    "verdict_of": "lycoris.inspection",  # on such a file, as far as it can be told without reading it
    # A stack on a live model
    "StackEntry": "lycoris.stack",
    "Patcher": "lycoris.patcher",
    "Bypass": "lycoris.bypass",
    "Region": "lycoris.hooked.region",  # where in the picture a bypass adds
    "Mode": "lycoris.merged.merge",
    "PristineChoice": "lycoris.merged.pristine",
    "Recompute": "lycoris.recompute",
    "quantised": "lycoris.kernels.stored",  # weights that nothing can be merged into exactly
    "stored_as": "lycoris.kernels.stored",
    "storage": "lycoris.kernels.stored",  # the tensors that hold one
    "MappedFolder": "lycoris.files.model_folder",  # a base's own files as the place of pristine weights
    # A model, live or by names and shapes alone
    "architecture_of_model": "lycoris.architectures.detect",
    "Index": "lycoris.placement.resolve",  # of a model, made once and accepted in place of the model
    "Plan": "lycoris.placement.resolve",
    "resolve": "lycoris.placement.resolve",
    "shapes_of": "lycoris.placement.shapes",
    "bypass_sites": "lycoris.hooked.layers",
    "positions": "lycoris.hooked.region",  # whether a layer computes for each place of the picture
    "recompute_obstacles": "lycoris.hooked.owners",
    "merge_obstacles": "lycoris.kernels.stored",
    "blocks_of": "lycoris.stack",
    "factor_at": "lycoris.stack",  # of an adapter's strength, by the block that a module lies in
    # Textual inversions in a file
    "EMBEDDING_PREFIX": "lycoris.dialects.embeddings",
    "TEXT_ENCODERS": "lycoris.dialects.embeddings",
    "folded_trigger": "lycoris.dialects.embeddings",
    "usable_trigger": "lycoris.dialects.embeddings",
    # What can be trained, and with which options
    "ALGORITHMS": "lycoris.training.table",
    "trainable_layers": "lycoris.training.reach",
    # What may go wrong
    "AdapterError": "lycoris.errors",
    "FileRefused": "lycoris.errors",
    "NoPlace": "lycoris.errors",
    "StackRefused": "lycoris.errors",
    "PlanRefused": "lycoris.errors",
    "NeverCalled": "lycoris.errors",
    "ModelChanged": "lycoris.errors",
    "Reason": "lycoris.errors",
    "Code": "lycoris.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use (PEP 562)."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(MODULES[name]), name)
    return value
