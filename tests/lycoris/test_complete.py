"""What an algorithm needs besides its own file: this test names what is missing, so nobody has to know the list."""

import inspect
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

import lycoris
from lycoris import load
from lycoris.algorithms import OF_BIASES, OF_WEIGHTS, OVER_OTHERS
from lycoris.algorithms.change import Change
from lycoris.algorithms.dora import DoRA
from lycoris.dialects.suffixes import SPELLINGS
from tests.lycoris import zoo
from tests.lycoris.test_goldens import CASES, golden_adapter

FAMILY: tuple[type[Change], ...] = (*OF_WEIGHTS, *OF_BIASES, OVER_OTHERS)
README = (Path(lycoris.__path__[0]) / "README.md").read_text(encoding="utf-8")
# What no reference library writes today, or has no forward pass for: the closed forms are their proof
WITHOUT_GOLDEN = frozenset({"OldOFT", "SplitOFT", "Overwrite"})


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", FAMILY, ids=lambda algorithm: algorithm.__name__)
def test_an_algorithm_has_all_that_it_needs(algorithm: type[Change]) -> None:
    name, file = algorithm.__name__, Path(inspect.getfile(algorithm)).name
    lacking = {
        "lines in dialects/suffixes.py": {*algorithm.SUFFIXES, *algorithm.SIGNS} - set(SPELLINGS.values()),
        "a builder and its line in zoo.py": {name} - built(),
        "a golden, in goldens/make.py": {name} - golden() - WITHOUT_GOLDEN,
        "a row in lycoris/README.md": {file} - set(re.findall(r"\]\(algorithms/(\w+\.py)\)", README)),
    }
    assert {what: names for what, names in lacking.items() if names} == {}


def test_nothing_is_left_of_an_algorithm_that_is_gone() -> None:
    read = {suffix for algorithm in FAMILY for suffix in (*algorithm.SUFFIXES, *algorithm.SIGNS)}
    assert set(SPELLINGS.values()) - read == set()
    assert WITHOUT_GOLDEN & golden() == set()


@cache
def built() -> set[str]:
    """Return the names of the classes that the zoo's files are read as."""
    layers = ((name, zoo.layer(kinds[0]).get_parameter("weight")) for name, (_, kinds) in zoo.ALGORITHMS.items())
    return classes_of(zoo.file({"lora_unet_x": zoo.tensors(name, weight)}) for name, weight in layers)


@cache
def golden() -> set[str]:
    """Return the names of the classes that the goldens' files are read as."""
    return classes_of(golden_adapter(name) for name in CASES)


def classes_of(files: Iterable[bytes]) -> set[str]:
    changes = [change for file in files for layer in load(file).layers for change in layer.changes.values()]
    changes += [change.layer for change in changes if isinstance(change, DoRA)]
    return {type(change).__name__ for change in changes}
