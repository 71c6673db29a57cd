"""`load`: from the bytes of a file to an Adapter, or to every reason why it cannot be worn exactly."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import torch
from torch import Tensor

from lycoris.algorithms.change import Change
from lycoris.algorithms.detection import read_group
from lycoris.algorithms.tlora import TLoRA
from lycoris.dialects import DIALECTS
from lycoris.dialects.adapter_config import AdapterConfig
from lycoris.dialects.embeddings import embedding_of
from lycoris.dialects.header_config import PLAIN, Configured, header_configs
from lycoris.dialects.kohya_metadata import PRINCIPAL, tlora_start
from lycoris.dialects.parsed_name import Place
from lycoris.dialects.suffixes import MAGNITUDE, adapter_name, transposed
from lycoris.dialects.unsupported import why_unread
from lycoris.errors import Code, FileRefused, Reason, shown
from lycoris.file_settings import SHARED, VERA, Completion
from lycoris.files.peft_folder import open_bundle
from lycoris.files.safetensors_file import DTYPES, FILE_CAP, Hashes, Header, hashes, judge, judge_names, tensors_of
from lycoris.kernels.linalg import finite

Names = Header | Mapping[str, Any]  # a judged header, its JSON as a mapping, or only tensor name -> shape
# Of an alpha: converters leave kohya's behind, and of the plain ones what is no number may mean anything
NOT_TAKEN = ("ss_network_alpha", *PLAIN)


@dataclass(frozen=True, eq=False)
class Layer:
    """What an adapter holds for one module: a change of its weight, of its bias, or of both."""

    components: tuple[str, ...]  # the parts of a model that it may be of; none means any
    module: str  # the module's path, or that path flattened with underscores, as the file spells it
    changes: Mapping[str, Change]  # parameter ("weight", "bias") -> its change

    @property
    def name(self) -> str:
        """What messages call the layer."""
        return _name(self.components, self.module)

    @property
    def algorithm(self) -> str:
        """The name of the algorithm that changes the weight, or the bias if that is all there is."""
        return (self.changes.get("weight") or self.changes["bias"]).name

    @property
    def rank(self) -> int | None:
        """The rank of the layer's factors, or None where there is none."""
        return self.changes["weight"].rank if "weight" in self.changes else None


@dataclass(frozen=True, eq=False)
class Adapter:
    """One adapter file, read and found sound; which model it fits is not known yet."""

    hashes: Hashes | None  # None: only names and shapes are known, and nothing can be worn
    layers: tuple[Layer, ...]
    ignored: tuple[str, ...]  # tensors left out because the uploader said so
    metadata: Mapping[str, str] = field(repr=False)
    doubts: tuple[str, ...]  # unusual, though not refused
    file_bytes: int
    nbytes: int  # bytes of the tensors held in memory
    embeddings: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)  # see dialects/embeddings

    @property
    def sha256(self) -> str:
        """The file's identity; empty where only names and shapes are known."""
        return self.hashes.sha256 if self.hashes else ""

    @property
    def algorithms(self) -> dict[str, int]:
        """How many layers each algorithm has."""
        return dict(sorted(Counter(layer.algorithm for layer in self.layers).items()))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that occur, in order."""
        return tuple(sorted({layer.rank for layer in self.layers if layer.rank is not None}))

    @property
    def components(self) -> dict[str, int]:
        """How many layers each component has, as far as the names tell ("" where they do not)."""
        return dict(sorted(Counter(layer.components[0] if layer.components else "" for layer in self.layers).items()))


def load(source: str | os.PathLike[str] | bytes, ignore: Sequence[str] = (), cap: int = FILE_CAP) -> Adapter:
    """Return the adapter in a safetensors file, given by path or as its bytes.

    ignore: shell patterns (`*`, `?`, `[…]`) over tensor names; what they match is left out and listed in `ignored`.
    cap: bytes above which a file is not read. Raises FileRefused, with every tensor and layer that is wrong.
    """
    adapter, reasons = read(source, ignore, cap)
    if reasons:
        raise FileRefused(reasons)
    return adapter


def read(
    source: str | os.PathLike[str] | bytes, ignore: Sequence[str] = (), cap: int = FILE_CAP
) -> tuple[Adapter, list[Reason]]:
    """Return what can be read of an adapter and what is wrong with the rest; raise FileRefused for a bad header."""
    bundle = open_bundle(source, cap)
    data = bundle.weights
    header = judge(data)
    hashed = hashes(data, header, bundle.sha256)
    return _read(tensors_of(data), header, ignore, hashed, len(data), bundle.config)


def read_names(names: Names, ignore: Sequence[str] = ()) -> tuple[Adapter, list[Reason]]:
    """Return what the names, dtypes and shapes of an adapter's tensors alone tell, and what is wrong with them.

    The tensors of such an adapter hold no numbers (they are on the meta device) but for single ones, which are 1.
    Raises FileRefused for names and shapes that no sound header has.
    """
    header = names if isinstance(names, Header) else judge_names(names)
    tensors = {
        name: torch.ones(entry.shape, dtype=DTYPES[entry.dtype], device="cpu" if prod(entry.shape) == 1 else "meta")
        for name, entry in header.entries.items()
    }
    return _read(tensors, header, ignore, None, 0)


def _read(
    given: Mapping[str, Tensor],
    header: Header,
    ignore: Sequence[str],
    hashes: Hashes | None,
    file_bytes: int,
    config: AdapterConfig | None = None,
) -> tuple[Adapter, list[Reason]]:
    ignored = {name for name in given if any(fnmatchcase(name, pattern) for pattern in ignore)}
    tensors = {name: tensor for name, tensor in given.items() if name not in ignored}
    reasons: list[Reason] = []
    embeddings = _embeddings(tensors, reasons)
    layers: list[Layer] = []
    of_layers = {name: tensor for name, tensor in tensors.items() if embedding_of(name) is None}
    reasons += _several(of_layers)
    groups = _by_module(of_layers, reasons)
    shared = {suffix: tensors[name] for suffix, name in _shared(groups, reasons).items()}
    completion = Completion(_configured(header, config, reasons), header.metadata, _claimed(groups), shared)
    for (components, module), names in groups.items():
        try:
            parts = completion.of(_parts(names, tensors), components, module)
        except FileRefused as refusal:
            reasons += refusal.reasons
            continue
        group = read_group(parts)
        title = _name(components, module)
        reasons += [Reason(code, names.get(suffix or "", title), message) for code, suffix, message in group.problems]
        if not group.problems:
            layers.append(Layer(components, module, group.changes))
    reasons += [reason for refusal in completion.problems() for reason in refusal.reasons]
    reasons += _wrong_start(header.metadata, layers)
    if not layers and not embeddings and not reasons:
        reasons.append(Reason(Code.EMPTY, "", "the file holds no layer to wear, and no embedding"))
    adapter = Adapter(
        hashes=hashes,
        layers=tuple(layers),
        ignored=tuple(sorted(ignored)),
        metadata=header.metadata,
        doubts=(*_doubts(header, layers, embeddings), *completion.doubts()),
        file_bytes=file_bytes,
        nbytes=sum(tensor.nbytes for tensor in tensors.values()),
        embeddings=embeddings,
    )
    return adapter, list(dict.fromkeys(reasons))  # one of all layers is one


def _embeddings(tensors: Mapping[str, Tensor], reasons: list[Reason]) -> dict[str, dict[str, Tensor]]:
    """Return trigger word -> text encoder -> vectors; what cannot be any, or takes the place of others, is a reason."""
    found: dict[str, dict[str, Tensor]] = {}
    for name in sorted(tensors):
        embedding = embedding_of(name)
        if embedding is None:
            continue
        vectors, held = tensors[name], found.setdefault(embedding.trigger, {})
        if embedding.encoder in held:
            reasons.append(Reason(Code.DUPLICATE, name, "lands on the same place as another embedding"))
        if vectors.ndim not in (1, 2) or not vectors.is_floating_point():
            reasons.append(Reason(Code.BAD_SHAPE, name, "is no embedding: that is rows of vectors of real numbers"))
            continue
        if not finite(vectors.float()):
            reasons.append(Reason(Code.NOT_FINITE, name, "holds NaN or infinity"))
        held[embedding.encoder] = vectors
    return found


def _by_module(names: Iterable[str], reasons: list[Reason]) -> dict[tuple[tuple[str, ...], str], dict[str, str]]:
    """Return (components, module) -> suffix -> tensor name; a tensor with no place of its own is a reason."""
    groups: dict[tuple[tuple[str, ...], str], dict[str, str]] = defaultdict(dict)
    for name in sorted(names):
        place, why = place_of(name), why_unread(name)
        if place is None or why:
            reasons.append(Reason(Code.UNKNOWN_TENSOR, name, why or "no algorithm here reads a tensor of this name"))
            continue
        group = groups[place.components, place.module]
        if place.suffix in group:
            reasons.append(Reason(Code.DUPLICATE, name, f"lands on the same place as {group[place.suffix]}"))
        group.setdefault(place.suffix, name)
    return groups


def _shared(groups: dict[tuple[tuple[str, ...], str], dict[str, str]], reasons: list[Reason]) -> dict[str, str]:
    """Take out of the groups what belongs to every layer, suffix -> tensor name; whom it belongs to must be there."""
    keys = [key for key, names in groups.items() if names.keys() <= SHARED]
    shared = {suffix: name for key in keys for suffix, name in groups.pop(key).items()}
    if len(keys) > 1 or (keys and not any(names.keys() & VERA for names in groups.values())):
        found = ", ".join(shared.values())
        reasons.append(Reason(Code.UNKNOWN_TENSOR, found, "belongs to VeRA's layers, of which there must be some"))
    return shared


def _several(names: Iterable[str]) -> Iterable[Reason]:
    found = sorted({adapter_name(name) for name in names} - {""})
    if len(found) > 1:  # a half of one and a half of the other would pass for a whole
        listed = shown(", ".join(found))
        yield Reason(
            Code.DUPLICATE, "", f"the file holds {len(found)} adapters of PEFT: {listed}; send them one by one"
        )


def place_of(name: str) -> Place | None:
    """Return the place of a tensor in the first dialect that knows its name; None: nothing here reads it."""
    return next((place for dialect in DIALECTS if (place := dialect(name))), None)


def upright(name: str, tensor: Tensor) -> Tensor:
    """Return a file's tensor as the algorithms know it, or one of theirs as the file has it: the transpose, or it."""
    return tensor.transpose(0, -1).contiguous() if transposed(name) else tensor


def _parts(names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a layer's tensors by suffix, of the weight that the model has."""
    parts = {suffix: upright(name, tensors[name]) for suffix, name in names.items()}
    if MAGNITUDE in parts and "dora_scale" not in parts and any(map(transposed, names.values())):
        # PEFT's magnitudes are of the rows of what it multiplies: of an embedding's transpose
        parts["dora_scale"] = parts.pop(MAGNITUDE).reshape(1, -1)
    return parts


def _wrong_start(metadata: Mapping[str, str], layers: Iterable[Layer]) -> Iterable[Reason]:
    start = tlora_start(metadata)
    if start == PRINCIPAL:
        return
    message = f"is a T-LoRA that began as the {shown(start)} part of the weight, which its tensors do not tell again"
    for layer in layers:
        if isinstance(layer.changes.get("weight"), TLoRA):
            yield Reason(Code.BAD_METADATA, layer.name, message)


def _configured(header: Header, config: AdapterConfig | None, reasons: list[Reason]) -> Sequence[Configured]:
    """Return what stands beside the tensors of their scales, in adapter_config.json and in the header."""
    configured = [] if config is None else [Configured((), config)]
    try:
        return [*configured, *header_configs(header.metadata, header.left_out)]
    except FileRefused as refusal:
        reasons += refusal.reasons
        return configured


def _claimed(groups: Iterable[tuple[tuple[str, ...], str]]) -> frozenset[str]:
    return frozenset(component for components, _ in groups for component in components)


def _doubts(header: Header, layers: Sequence[Layer], embeddings: Iterable[str]) -> Iterable[str]:
    if embeddings:
        yield f"holds embeddings, which change prompts and no weight: {', '.join(embeddings)}"
    if header.left_out:
        yield f"metadata too long to keep: {', '.join(header.left_out[:10])}"
    unscaled = [layer for layer in layers if "weight" in layer.changes and layer.changes["weight"].unscaled]
    if unscaled:
        said = ", ".join(key for key in NOT_TAKEN if key in header.metadata)
        why = f" (what the header has as {said} is not taken)" if said else ""
        yield f"{len(unscaled)} of {len(layers)} layers have no alpha: worn as if it were their rank{why}"


def _name(components: Sequence[str], module: str) -> str:
    return f"{components[0]}.{module}" if components else module
