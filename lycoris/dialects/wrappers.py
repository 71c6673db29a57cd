"""Traces of what was wrapped around a model while it was trained: torch.compile, DDP, FSDP, checkpointing, PEFT.

They are levels of a path that the model itself does not have. They are taken out of a file's names and of the live
model's paths alike, so that a model that does have such a level is still found, and two paths that differ in nothing
else are one name for two modules: ambiguous.
"""

import re

_LEVELS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer", "default")
_AROUND = ("base_model.model", "_orig_mod", "module")  # the whole model; `module` may be any module's name further in
_OUTER = re.compile(rf"(?:(?:{'|'.join(map(re.escape, _AROUND))})\.)+")
_INNER = re.compile(rf"\.(?:{'|'.join(_LEVELS)})(?=\.|$)")
_FLAT_OUTER = re.compile(r"_*(?:(?:base_model_model|_?orig_mod|module)_)+")
_FLAT_INNER = re.compile(rf"_(?:{'|'.join(level for level in _LEVELS if level != 'default')})(?=_|$)")


def unwrapped(path: str) -> str:
    """Return a dotted path, or a tensor's name, without the levels that only a wrapper has."""
    outer = _OUTER.match(path)
    return _INNER.sub("", path[outer.end() :] if outer else path)


def flattened(path: str) -> str:
    """Return a path as kohya's names have it, underscores for dots: however far it was converted, it is one name.

    Without traces of wrappers, and without the underscores that a prefix or a suffix left at its ends.
    """
    flat = unwrapped(path).replace(".", "_")
    outer = _FLAT_OUTER.match(flat)
    return _FLAT_INNER.sub("", flat[outer.end() :] if outer else flat).strip("_")
