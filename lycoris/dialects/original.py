"""Original names of transformers (`original_names/`), made for a live model from its own paths and shapes."""

import re
from collections.abc import Collection, Iterator, Mapping

from lycoris.dialects.original_names import SCHEMES
from lycoris.dialects.original_names.scheme import Blocks
from lycoris.dialects.row_slice import RowSlice

_PART = re.compile(r"(?P<path>[^@#]+)(?:@(?P<ratio>\d+))?(?:#(?P<index>\d+)/(?P<of>\d+))?")

Shapes = Mapping[str, tuple[int, ...]]
Named = tuple[str, tuple[RowSlice, ...]]


def original_names(modules: Collection[str], shapes: Shapes) -> Iterator[Named]:
    """Yield every original name of the model's modules, with the rows that the name means.

    A layer that the model splits over several modules also has its original name and the number of the module
    (OneTrainer).
    """
    for scheme in SCHEMES:
        if all(module in modules for module in scheme.needs):
            for name, parts in (*_of(scheme.blocks, modules, shapes), *_of(scheme.aliases, modules, shapes)):
                yield name, parts
                if len(parts) > 1 and len({part.path for part in parts}) == len(parts):
                    yield from ((f"{name}.{k}", (part,)) for k, part in enumerate(parts))


def authors_names(modules: Collection[str], shapes: Shapes) -> Iterator[Named]:
    """Yield the original name of each layer that diffusers renamed, with the rows that the name means."""
    for scheme in SCHEMES:
        if all(module in modules for module in scheme.needs):
            yield from _of(scheme.blocks, modules, shapes)


def _of(blocks: Blocks, modules: Collection[str], shapes: Shapes) -> Iterator[Named]:
    for (native, own), names in blocks.items():
        for steps in _steps(own, modules):
            for name, meant in names.items():
                parts = _first(meant, _filled(own, steps), modules, shapes)
                if parts:
                    yield _join(_filled(native, steps), name), parts


def _steps(block: str, modules: Collection[str]) -> list[tuple[str, ...]]:
    """Return the texts in place of the stars of a block's name, for every such block of the model."""
    if "*" not in block:
        return [()]
    pattern = re.compile(r"([^.]+)".join(map(re.escape, block.split("*"))) + r"\.")
    return sorted({found.groups() for module in modules if (found := pattern.match(module))})


def _filled(block: str, steps: tuple[str, ...]) -> str:
    for step in steps:
        block = block.replace("*", step, 1)
    return block


def _first(meant: str, block: str, modules: Collection[str], shapes: Shapes) -> tuple[RowSlice, ...]:
    """Return the first alternative of which the model has every module, or nothing."""
    for alternative in meant.split(" | "):
        parts = [_part(text, block, modules, shapes) for text in alternative.split()]
        if all(parts):
            return tuple(part for part in parts if part)
    return ()


def _part(text: str, block: str, modules: Collection[str], shapes: Shapes) -> RowSlice | None:
    found = _PART.fullmatch(text)
    assert found, f"the table has {text!r}"
    path = _join(block, found["path"])
    if path not in modules:
        return None
    if found["ratio"]:
        rows, columns = shapes[f"{path}.weight"][:2]
        if rows != int(found["ratio"]) * columns:
            return None
    return RowSlice(path, int(found["index"] or 0), int(found["of"] or 1))


def _join(block: str, name: str) -> str:
    return f"{block}.{name}" if block else name
