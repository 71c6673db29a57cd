"""Law 2 beyond the weights: a base has the same modules, processors of attention and names as when it was loaded."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

CONFIGURED = "encoder_hid_dim_type"  # of a UNet: whether its forward expects pictures


class Identity:
    """Remembers which objects a base is made of. Hooks are not looked at: a bypass may stay on after a picture."""

    def __init__(self, components: Mapping[str, nn.Module]) -> None:
        self._components = components
        self._found = dict(self._look())

    def lost(self) -> list[str]:
        """Return the names of what is not the object that it was, is gone, or is new."""
        found = dict(self._look())
        return sorted(name for name in found.keys() | self._found if found.get(name) is not self._found.get(name))

    def _look(self) -> Iterator[tuple[str, Any]]:
        for component, part in self._components.items():
            yield f"{component} ({CONFIGURED})", getattr(getattr(part, "config", None), CONFIGURED, None)
            for path, module in part.named_modules(prefix=component, remove_duplicate=False):
                yield path, module
                # A processor that is a module is in the list already, unless another hides it
                if (processor := getattr(module, "processor", None)) is not None:
                    yield f"{path} (processor)", processor
                for name in (*module._parameters, *module._buffers):  # pyright: ignore[reportPrivateUsage]
                    yield f"{path}.{name} (name)", True
