"""An adapter and how it is applied, as people type it: `NAME=0.8 down=0.5 up.1=0 0:0.2 0.6:1.0`.

One that reads a picture is typed with its file: `NAME=0.8:file.png 0:1 0.6:0`, or `NAME=0.8:photo.png@canny` where the
map that it reads is made of that, and `mode=canny` behind it for a net that is several in one.
"""

import math
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from app.shared.wire.map import Made

HELP = (
    "NAME, NAME=0.8 or NAME:VERSION=0.8; repeatable. In quotes more may follow: factors of the strength by block of "
    "the model (down=0.5 up.1=0.3), strengths from a fraction of the denoising on (0:0.2 0.6:1.0), rank=8 for the "
    "first 8 ranks alone; as in 'NAME=0.8 down=0.5 0:0.2 0.6:1.0'."
)

CONTROL_HELP = (
    "NAME=FILE or NAME=0.8:FILE, a control net and the map that it reads; FILE@canny (@depth, @pose) makes one of a "
    "picture; repeatable; in quotes mode=canny, of a net that is several in one, and steps may follow."
)
PROMPT_HELP = "NAME=FILE or NAME=0.8:FILE, an image prompt; repeatable, the same NAME with several files too."
# NAME, strength and file of one that reads a picture, and what is said of it as of any adapter
WITH_FILE = re.compile(
    r"(?P<ref>[^=]+)=(?:(?P<strength>[-+.\d]+):)?(?P<file>.+?)(?P<words>(?: +(?:mode=\w+|[\w.]+[:=][-+.\d]+))*)"
)
NUMBER = re.compile(r"[-+]?[\d.]+:?")
PREPROCESS: tuple[str, ...] = get_args(Made)
WORD = re.compile(r"\w+")  # behind the last @ of a file: what a map is made by, and no end of its name


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
        elif is_factor and block == "mode" and factor:
            use["mode"] = factor
        elif is_factor and block:
            use.setdefault("blocks", {})[block] = _number(factor, text)
        elif is_step:
            use.setdefault("schedule", []).append([_number(fraction, text), _number(strength, text)])
        else:
            raise ValueError(f"{text!r}: {word!r} is neither a block and a factor (down=0.5) nor a step (0.6:1.0)")
    return use


def use_with_file(text: str) -> dict[str, Any]:
    """Return the same of an adapter that reads a picture, whose file is its `image`; raises ValueError."""
    found = WITH_FILE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r}: an adapter that reads a picture is given with it, as in NAME=0.8:file.png")
    strength = f"={found['strength']}" if found["strength"] else ""
    if NUMBER.fullmatch(found["file"]):
        raise ValueError(f"{text!r}: the file is missing; it follows the strength, as in NAME=0.8:file.png")
    return use_of(f"{found['ref']}{strength}{found['words']}") | {"image": found["file"]}


def control_of(text: str) -> dict[str, Any]:
    """Return the same of a control net, behind whose file `@canny` may say that a map is made of it."""
    use = use_with_file(text)
    file, _, preprocess = use["image"].rpartition("@")
    if not file or not WORD.fullmatch(preprocess):
        return use
    if preprocess not in PREPROCESS:
        near = get_close_matches(preprocess, PREPROCESS, n=1)
        known = f"did you mean @{near[0]}?" if near else f"known are {', '.join(PREPROCESS)}"
        raise ValueError(f"{text!r}: no map is made by {preprocess!r}; {known}")
    return use | {"image": file, "preprocess": preprocess}


def prompts_of(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Return the entries of image prompts: one for all files that are given with the same name; raises ValueError."""
    uses: dict[str, dict[str, Any]] = {}
    for use in map(use_with_file, texts):
        file = use.pop("image")
        files = uses.setdefault(use["ref"], use | {"images": []})
        if files != use | {"images": files["images"]}:
            raise ValueError(f"{use['ref']!r} is given in two ways; say the same of it with each of its files")
        files["images"].append(file)
    return list(uses.values())


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
