"""PEFT's `alpha_pattern` and `rank_pattern`: a number for every module that a name fits, the first that does.

PEFT reads a name as a regular expression for the end of a module's path. Here it is compared as text and never run: a
name fits the module of that path and every module whose path ends in it, after a dot; `^name`, which diffusers writes,
only the module of that path from the root.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lycoris.dialects.wrappers import flattened, unwrapped

LITERAL = re.compile(r"\^?[\w.\-]+")


@dataclass(frozen=True)
class Pattern:
    """Names of modules, in the order in which they are tried, each with its number."""

    numbers: Mapping[str, float]

    def of(self, module: str, default: float) -> float:
        """Return the number for a module of the file."""
        first = min(self.matches(module), key=self._order.__getitem__, default=None)
        return default if first is None else self.numbers[first]

    def matches(self, module: str) -> Iterator[str]:
        """Yield every name that fits a module; a path flattened with underscores must fit whole."""
        steps = module.split(".")
        for path in ("^" + module, *(".".join(steps[k:]) for k in range(len(steps)))):
            yield from self._paths.get(path, ())
        if len(steps) == 1:
            yield from (name for name in self._flat.get(module, ()) if name.removeprefix("^") != module)

    @cached_property
    def _order(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.numbers)}

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.numbers:
            root = "^" if name.startswith("^") else ""
            found.setdefault(root + unwrapped(name.removeprefix("^")), []).append(name)
        return found

    @cached_property
    def _flat(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.numbers:
            found.setdefault(flattened(name.removeprefix("^")), []).append(name)
        return found
