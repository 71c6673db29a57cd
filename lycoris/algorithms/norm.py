"""Norm: the differences of a normalisation layer's weight and bias."""

from typing import ClassVar

from lycoris.algorithms.stored import Difference


class Norm(Difference):
    """w₀ + s·w_norm, of a LayerNorm, GroupNorm or RMSNorm (LyCORIS `train_norm`)."""

    NAME: ClassVar = "norm"
    VECTOR: ClassVar = True
    SUFFIXES: ClassVar = {"w_norm": "stored"}
    SIGNS: ClassVar = frozenset(SUFFIXES)


class NormBias(Difference):
    """b₀ + s·b_norm; an RMSNorm has none, and a file may hold either without the other."""

    NAME: ClassVar = "norm"
    VECTOR: ClassVar = True
    SUFFIXES: ClassVar = {"b_norm": "stored"}
    SIGNS: ClassVar = frozenset(SUFFIXES)
