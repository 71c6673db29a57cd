"""A tensor's name in a file, parsed: component, module and suffix."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ParsedName:
    """The components of a model that a tensor may be for, the module, and the suffix that tells its tensors apart.

    components: in order of preference, the first that a model has is meant; empty: any component with such a module.
    module: a dotted path or one flattened with underscores; it is looked up among the live model's paths, and never
    turned from one form into the other. suffix: as in `suffixes.py`.
    """

    components: tuple[str, ...]
    module: str
    suffix: str
