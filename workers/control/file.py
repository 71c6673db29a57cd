"""A file that holds a control net: what it is, and its verdict on a base.

It is judged as every adapter is: every tensor has its place and its shape, or is refused by name, all reasons at once.
Where it has the original layout of ControlNet (`control_model.…`), diffusers' own converter says what each tensor is
called here.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor

from app.shared.facts import BaseDenoiser
from lycoris import CheckedFile, Code, FileRefused, NoPlace, Reason, verdict_of
from workers.control.classes import NetClass, class_of
from workers.control.configuration import Configuration, NotForThis

ORIGINAL = "control_model."  # before every name of a ControlNet in its first layout, or nothing is
HINT = "input_hint_block.0.weight"  # of a ControlNet in that layout
LORA = "lora_controlnet"  # a tensor that marks Stability's control LoRAs
SHARES = "computes with layers of the base's transformer: adapters that change those are in what it adds, too"
# Tensors that a Z-Image net of version 2.0 has and does not use, as diffusers' loader tells by the first being zero
UNUSED, ZERO = "control_noise_refiner.", "control_noise_refiner.0.before_proj.weight"
NOT_USED = f"is not used by a net of version 2.0, which this is (its {ZERO} is zero): name {UNUSED}* in ignore"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class ControlFile:
    """A control net as a file has it, judged on one base after another."""

    kind = "control"

    def __init__(self, file: CheckedFile, ignore: Sequence[str] = ()) -> None:
        """ignore: shell patterns over names of tensors that are left out."""
        self._file = file
        self.multiple = 1  # pixels of which width and height are multiples; known with the first verdict
        self._ignored = tuple(sorted(name for name in file.shapes if _matches(name, ignore)))
        self._given = {name: shape for name, shape in file.shapes.items() if name not in self._ignored}

    @staticmethod
    def holds(file: CheckedFile) -> bool:
        """Tell whether a file is a control net, whole or not, and no other kind of adapter."""
        return _original(file.shapes) or LORA in file.shapes or class_of(file.shapes) is not None

    def verdict(self, base: BaseDenoiser | None) -> dict[str, Any]:
        """Return the verdict on a base; raise FileRefused or NoPlace with every reason against the file."""
        wrong = self._wrong
        try:
            net, names, config = self.configured(base)
            expected = expected_shapes(net, config)
        except NoPlace as error:  # of another base: what is wrong in any case is told with it
            raise (FileRefused if wrong else NoPlace)([*error.reasons, *wrong]) from error
        reasons = [*wrong, *self._unused()]
        for name, tensor in sorted(names.items()):
            if name not in expected:
                reasons.append(Reason(Code.UNKNOWN_TENSOR, tensor, f"has no place in a {net.made.__name__}"))
            elif (shape := self._given[tensor]) != expected[name]:
                message = f"is {_shown(shape)}, and beside this base it would be {_shown(expected[name])}"
                reasons.append(Reason(Code.MISFIT, tensor, message))
        for name in sorted(expected.keys() - names.keys()):
            reasons.append(Reason(Code.INCOMPLETE, name, "is missing in the file"))
        if reasons:
            raise (FileRefused if wrong else NoPlace)(reasons)
        verdict = verdict_of(self._file, self._ignored)
        self.multiple = config.get("downscale_factor", 1)
        found = verdict.as_dict() | {"kind": "control", "net": net.made.__name__, "modes": list(self.modes)}
        return found | {"warnings": [SHARES]} if net.shares else found

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes of a union, by number; none of another net."""
        net = class_of(self._given)
        return net.modes_of(self._given) if net else ()

    def configured(self, base: BaseDenoiser | None) -> tuple[NetClass, dict[str, str], Configuration]:
        """Return the class, the file's tensors by their names in it, and its configuration beside a base.

        Raises FileRefused or NoPlace.
        """
        if LORA in self._given:
            message = (
                "marks a control LoRA in Stability's layout: low rank over a copy of the base's own UNet, which is not "
                "made here; take a ControlNet for the same pictures"
            )
            raise FileRefused([Reason(Code.NO_FORM, LORA, message)])
        if base is None:
            raise NoPlace([Reason(Code.NO_COMPONENT, "", "is a control net, and this base takes none")])
        names = _renamed(self._given, base) if _original(self._given) else {name: name for name in self._given}
        shapes = {name: self._given[tensor] for name, tensor in names.items()}
        net = class_of(shapes)
        if net is None or base.made not in net.denoisers:
            message = f"is a {net.made.__name__ if net else 'control net'}, and this base is a {base.made}"
            raise NoPlace([Reason(Code.NO_COMPONENT, "", message)])
        try:
            return net, names, net.denoisers[base.made](shapes, base)
        except NotForThis as error:
            raise NoPlace([Reason(Code.MISFIT, "", str(error))]) from error

    def state(self, names: Mapping[str, str], dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the tensors by their names in the net; names: as `configured` returns them."""
        tensors = self._file.tensors()
        return {name: tensors[tensor].to(dtype) for name, tensor in names.items()}

    def _unused(self) -> Iterator[Reason]:
        """Yield the tensors that the net would leave unread, though its class has places for them."""
        if ZERO in self._given and not bool(self._file.tensors()[ZERO].any()):
            yield from (
                Reason(Code.UNKNOWN_TENSOR, one, NOT_USED) for one in sorted(self._given) if one.startswith(UNUSED)
            )

    @cached_property
    def _wrong(self) -> list[Reason]:
        """What is wrong with tensors whatever the base."""
        reasons = []
        for name, tensor in sorted(self._file.tensors().items()):
            if name in self._ignored:
                continue
            if tensor.dtype not in FLOATS:
                dtype = str(tensor.dtype).removeprefix("torch.")
                reasons.append(Reason(Code.BAD_DTYPE, name, f"is {dtype}; a control net has float32, 16 or bfloat16"))
            elif not bool(tensor.isfinite().all()):
                reasons.append(Reason(Code.NOT_FINITE, name, "holds NaN or infinity"))
        return reasons


def expected_shapes(net: NetClass, config: Configuration) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a net of this configuration; nothing is computed."""
    try:
        # Some of diffusers' own classes use what diffusers calls deprecated
        with warnings.catch_warnings(action="ignore"), torch.device("meta"):
            made = net.made(**config)
    except (ValueError, TypeError, ZeroDivisionError, AssertionError, RuntimeError) as error:
        message = f"is no {net.made.__name__} for this base: {str(error).splitlines()[0]}"
        raise NoPlace([Reason(Code.MISFIT, "", message)]) from error
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}


def _original(names: Mapping[str, Any]) -> bool:
    return HINT in names or f"{ORIGINAL}{HINT}" in names


def _renamed(given: Mapping[str, Any], base: BaseDenoiser) -> dict[str, str]:
    """Return the file's tensors by diffusers' names; what the converter does not know keeps its own."""
    if "layers_per_block" not in base.config:
        return {name: name for name in given}
    # Names go through the converter in place of tensors: it moves them, and computes nothing
    moved: Mapping[str, str | None] = convert_controlnet_checkpoint({name: name for name in given}, dict(base.config))
    found = {name: tensor for name, tensor in moved.items() if tensor}
    return found | {name: name for name in given.keys() - set(found.values())}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _shown(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"
