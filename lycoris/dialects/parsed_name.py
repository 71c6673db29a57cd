"""Where a tensor of a file belongs, as far as its name alone can tell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """One tensor's place: the parts of a model that it may be of, the module, and which of its tensors this is.

    components: in order of preference, the first that a model has is meant; none at all means any part that has such a
    module. module: a dotted path or one flattened with underscores; never turned from the one into the other, but
    looked up among the paths of the live model. suffix: as in `suffixes.py`.
    """

    components: tuple[str, ...]
    module: str
    suffix: str
