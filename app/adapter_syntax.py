"""An adapter and how it is applied, as people type it: `NAME=0.8 down=0.5 up.1=0 0:0.2 0.6:1.0`."""

import math
from typing import Any

HELP = (
    "NAME, NAME=0.8 or NAME:VERSION=0.8; repeatable. In quotes more may follow: factors of the strength by block of "
    "the model (down=0.5 up.1=0.3), strengths from a fraction of the denoising on (0:0.2 0.6:1.0), rank=8 for the "
    "first 8 ranks alone; as in 'NAME=0.8 down=0.5 0:0.2 0.6:1.0'."
)


def use_of(text: str) -> dict[str, Any]:
    """Return the entry of a request's `adapters` that a text means; raises ValueError with a sentence about it."""
    first, *words = text.split() or [""]
    ref, given, number = first.partition("=")
    use: dict[str, Any] = {"ref": ref, "strength": _number(number, text) if given else 1.0}
    named: set[str] = set()
    for word in words:
        block, is_factor, factor = word.partition("=")
        fraction, is_step, strength = word.partition(":")
        if is_factor and block in named:
            raise ValueError(f"{text!r}: {block} is given twice")
        named.add(block)
        if is_factor and block == "rank":
            use["rank"] = _whole(factor, text)
        elif is_factor and block:
            use.setdefault("blocks", {})[block] = _number(factor, text)
        elif is_step:
            use.setdefault("schedule", []).append([_number(fraction, text), _number(strength, text)])
        else:
            raise ValueError(f"{text!r}: {word!r} is neither a block and a factor (down=0.5) nor a step (0.6:1.0)")
    return use


def _number(text: str, of: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{of!r}: {text!r} is no number; a strength is one, as in NAME=0.8")
    return number


def _whole(text: str, of: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{of!r}: {text!r} is no whole number; a rank is one, as in rank=8")
    return int(text)
