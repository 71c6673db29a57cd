"""Levels in a path that wrappers add while a model is trained: torch.compile, DDP, FSDP, checkpointing, PEFT.

The model itself does not have them. They are removed from a file's names and from the live model's paths alike, so that
a module with such a level is still found; two paths that differ in nothing else are ambiguous.
"""

import re

_LEVELS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer", "default")
_AROUND = ("base_model.model", "_orig_mod", "module")  # the whole model; `module` may be any module's name further in
_OUTER = re.compile(rf"(?:(?:{'|'.join(map(re.escape, _AROUND))})\.)+")
_INNER = re.compile(rf"\.(?:{'|'.join(_LEVELS)})(?=\.|$)")
_FLAT_OUTER = re.compile(r"_*(?:(?:base_model_model|_?orig_mod|module)_)+")
_FLAT_INNER = re.compile(rf"_(?:{'|'.join(level for level in _LEVELS if level != 'default')})(?=_|$)")


def unwrapped(path: str) -> str:
    """Return a dotted path, or a tensor's name, without the levels that wrappers add."""
    outer = _OUTER.match(path)
    return _INNER.sub("", path[outer.end() :] if outer else path)


def flattened(path: str) -> str:
    """Return a path in kohya's form, with underscores for dots, whether all, some or none of it was converted.

    Levels of wrappers are removed, and underscores that a prefix or suffix left at the ends.
    """
    flat = unwrapped(path).replace(".", "_")
    outer = _FLAT_OUTER.match(flat)
    return _FLAT_INNER.sub("", flat[outer.end() :] if outer else flat).strip("_")
