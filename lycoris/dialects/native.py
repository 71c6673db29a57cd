"""Native names of transformers (`schemes.py`), made for a live model from its own paths and shapes."""

import re
from collections.abc import Collection, Iterator, Mapping

from lycoris.dialects.part import Part
from lycoris.dialects.schemes import SCHEMES

_PART = re.compile(r"(?P<path>[^@#]+)(?:@(?P<ratio>\d+))?(?:#(?P<index>\d+)/(?P<of>\d+))?")

Shapes = Mapping[str, tuple[int, ...]]


def native_names(modules: Collection[str], shapes: Shapes) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Yield every native name that the model's modules have, and the parts of modules that it means.

    A layer that the model has cut in pieces also goes by its native name and the number of the piece (OneTrainer).
    """
    for scheme in SCHEMES:
        if not all(module in modules for module in scheme.needs):
            continue
        for (native, own), names in scheme.blocks.items():
            for number in _numbers(own, modules):
                for name, meant in names.items():
                    parts = _first(meant, own.replace("*", number), modules, shapes)
                    whole = _join(native.replace("*", number), name)
                    if parts:
                        yield whole, parts
                    if len(parts) > 1 and len({part.path for part in parts}) == len(parts):
                        yield from ((f"{whole}.{k}", (part,)) for k, part in enumerate(parts))


def _numbers(block: str, modules: Collection[str]) -> list[str]:
    if "*" not in block:
        return [""]
    stem = block.removesuffix("*")
    return sorted({module.removeprefix(stem).partition(".")[0] for module in modules if module.startswith(stem)})


def _first(meant: str, block: str, modules: Collection[str], shapes: Shapes) -> tuple[Part, ...]:
    """Return the first alternative of which the model has every part, or nothing."""
    for alternative in meant.split(" | "):
        parts = [_part(text, block, modules, shapes) for text in alternative.split()]
        if all(parts):
            return tuple(part for part in parts if part)
    return ()


def _part(text: str, block: str, modules: Collection[str], shapes: Shapes) -> Part | None:
    found = _PART.fullmatch(text)
    assert found, f"the table says {text!r}"
    path = _join(block, found["path"])
    if path not in modules:
        return None
    if found["ratio"]:
        rows, columns = shapes[f"{path}.weight"][:2]
        if rows != int(found["ratio"]) * columns:
            return None
    return Part(path, int(found["index"] or 0), int(found["of"] or 1))


def _join(block: str, name: str) -> str:
    return f"{block}.{name}" if block else name
