"""`load`: from the bytes of a file to an Adapter, or to every reason why it cannot be applied exactly."""

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
from lycoris.dialects.header_config import PLAIN_KEYS, Configured, header_configs
from lycoris.dialects.image_prompts import image_prompt_name
from lycoris.dialects.kohya_metadata import PRINCIPAL, tlora_start
from lycoris.dialects.parsed_name import ParsedName
from lycoris.dialects.suffixes import MAGNITUDE, adapter_name, transposed
from lycoris.dialects.unsupported import why_unsupported
from lycoris.errors import Code, FileRefused, Reason, shown
from lycoris.file_settings import FILE_WIDE, VERA_OWN, FileSettings
from lycoris.files.peft_folder import open_bundle
from lycoris.files.safetensors_file import DTYPES, FILE_CAP, Hashes, Header, hashes, judge, judge_names, tensors_of
from lycoris.kernels.linalg import finite

Names = Header | Mapping[str, Any]  # a judged header, its JSON as a mapping, or only tensor name -> shape
# Entries for an alpha that are not used: converters keep kohya's, and a plain entry may be no number
IGNORED_ALPHAS = ("ss_network_alpha", *PLAIN_KEYS)


@dataclass(frozen=True, eq=False)
class Layer:
    """The changes that an adapter has for one module: of its weight, of its bias, or of both."""

    components: tuple[str, ...]  # of the model that it may be for; empty means any
    module: str  # the module's path, or that path flattened with underscores, as the file spells it
    changes: Mapping[str, Change]  # parameter ("weight", "bias") -> its change

    @property
    def name(self) -> str:
        """The layer's name in messages."""
        return _name(self.components, self.module)

    @property
    def algorithm(self) -> str:
        """The name of the algorithm that changes the weight, or the bias if only that is changed."""
        return (self.changes.get("weight") or self.changes["bias"]).name

    @property
    def rank(self) -> int | None:
        """The rank of the layer's factors, or None where there is none."""
        return self.changes["weight"].rank if "weight" in self.changes else None


@dataclass(frozen=True, eq=False)
class Adapter:
    """One adapter file, read and found sound, before it is placed on a model."""

    hashes: Hashes | None  # None: only names and shapes are known, and nothing can be applied
    layers: tuple[Layer, ...]
    ignored: tuple[str, ...]  # tensors left out because they match `ignore`
    metadata: Mapping[str, str] = field(repr=False)
    doubts: tuple[str, ...]  # unusual, but not refused
    file_bytes: int
    nbytes: int  # bytes of the tensors held in memory
    embeddings: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, repr=False)  # see dialects/embeddings
    image_prompt: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # see dialects/image_prompts

    @property
    def sha256(self) -> str:
        """The file's sha256; empty where only names and shapes are known."""
        return self.hashes.sha256 if self.hashes else ""

    @property
    def algorithms(self) -> dict[str, int]:
        """Number of layers by algorithm."""
        return dict(sorted(Counter(layer.algorithm for layer in self.layers).items()))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of the layers, in order."""
        return tuple(sorted({layer.rank for layer in self.layers if layer.rank is not None}))

    @property
    def components(self) -> dict[str, int]:
        """Number of layers by component; "" for layers whose names have no component."""
        return dict(sorted(Counter(layer.components[0] if layer.components else "" for layer in self.layers).items()))


def load(source: str | os.PathLike[str] | bytes, ignore: Sequence[str] = (), cap: int = FILE_CAP) -> Adapter:
    """Return the adapter in a safetensors file, given by path or as its bytes.

    ignore: shell patterns (`*`, `?`, `[…]`) over tensor names; matching tensors are left out and listed in `ignored`.
    cap: bytes above which a file is not read. Raises FileRefused, with every tensor and layer that is wrong.
    """
    adapter, reasons = read(source, ignore, cap)
    if reasons:
        raise FileRefused(reasons)
    return adapter


def read(
    source: str | os.PathLike[str] | bytes, ignore: Sequence[str] = (), cap: int = FILE_CAP
) -> tuple[Adapter, list[Reason]]:
    """Return the readable part of an adapter and a reason for every other; raise FileRefused for a bad header."""
    bundle = open_bundle(source, cap)
    data = bundle.weights
    header = judge(data)
    hashed = hashes(data, header, bundle.sha256)
    return _read(tensors_of(data), header, ignore, hashed, len(data), bundle.config)


def read_names(names: Names, ignore: Sequence[str] = ()) -> tuple[Adapter, list[Reason]]:
    """Return an adapter made of names, dtypes and shapes alone, and the reasons against it.

    Its tensors have no values (they are on the meta device), except those of one element, which are 1. Raises
    FileRefused for names and shapes that no sound header has.
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
    image_prompt = _image_prompt(tensors, reasons)
    layers: list[Layer] = []
    of_layers = {
        name: tensor
        for name, tensor in tensors.items()
        if embedding_of(name) is None and image_prompt_name(name) is None
    }
    reasons += _several_adapters(of_layers)
    groups = _by_module(of_layers, reasons)
    shared = {suffix: tensors[name] for suffix, name in _file_wide(groups, reasons).items()}
    configured = _configured(header, config, reasons)
    file_settings = FileSettings(configured, header.metadata, _named_components(groups), shared)
    for (components, module), names in groups.items():
        try:
            completed = file_settings.completed(_tensors_of_layer(names, tensors), components, module)
        except FileRefused as refusal:
            reasons += refusal.reasons
            continue
        group = read_group(completed)
        title = _name(components, module)
        reasons += [Reason(code, names.get(suffix or "", title), message) for code, suffix, message in group.problems]
        if not group.problems:
            layers.append(Layer(components, module, group.changes))
    reasons += [reason for refusal in file_settings.problems() for reason in refusal.reasons]
    reasons += _wrong_start(header.metadata, layers)
    if not layers and not embeddings and not image_prompt and not reasons:
        reasons.append(Reason(Code.EMPTY, "", "the file holds no layer to apply, no embedding and no image prompt"))
    adapter = Adapter(
        hashes=hashes,
        layers=tuple(layers),
        ignored=tuple(sorted(ignored)),
        metadata=header.metadata,
        doubts=(*_doubts(header, layers, embeddings), *file_settings.doubts()),
        file_bytes=file_bytes,
        nbytes=sum(tensor.nbytes for tensor in tensors.values()),
        embeddings=embeddings,
        image_prompt=image_prompt,
    )
    return adapter, list(dict.fromkeys(reasons))  # a reason that several layers share counts once


def _embeddings(tensors: Mapping[str, Tensor], reasons: list[Reason]) -> dict[str, dict[str, Tensor]]:
    """Return trigger word -> text encoder -> vectors; add a reason for each invalid or duplicate embedding."""
    found: dict[str, dict[str, Tensor]] = {}
    for name in sorted(tensors):
        embedding = embedding_of(name)
        if embedding is None:
            continue
        vectors, by_encoder = tensors[name], found.setdefault(embedding.trigger, {})
        if embedding.encoder in by_encoder:
            reasons.append(Reason(Code.DUPLICATE, name, "has the same word and text encoder as another tensor"))
        if vectors.ndim not in (1, 2) or not vectors.is_floating_point():
            reasons.append(Reason(Code.BAD_SHAPE, name, "is no embedding: it must be one vector or rows of vectors"))
            continue
        if not finite(vectors.float()):
            reasons.append(Reason(Code.NOT_FINITE, name, "holds NaN or infinity"))
        by_encoder[embedding.encoder] = vectors
    return found


def _image_prompt(tensors: Mapping[str, Tensor], reasons: list[Reason]) -> dict[str, Tensor]:
    """Return the tensors of an image prompt under their names in IP-Adapter's layout; add a reason for each bad one."""
    found: dict[str, Tensor] = {}
    for name in sorted(tensors):
        same, tensor = image_prompt_name(name), tensors[name]
        if same is None:
            continue
        if same in found:
            reasons.append(Reason(Code.DUPLICATE, name, f"is the same tensor of an image prompt as {same}"))
        if not tensor.is_floating_point():
            message = f"is of {str(tensor.dtype).removeprefix('torch.')}, which no weight of an image prompt is"
            reasons.append(Reason(Code.BAD_DTYPE, name, message))
        elif not finite(tensor.float()):
            reasons.append(Reason(Code.NOT_FINITE, name, "holds NaN or infinity"))
        found[same] = tensor
    return found


def _by_module(names: Iterable[str], reasons: list[Reason]) -> dict[tuple[tuple[str, ...], str], dict[str, str]]:
    """Return (components, module) -> suffix -> tensor name; add a reason for each unknown or duplicate tensor."""
    groups: dict[tuple[tuple[str, ...], str], dict[str, str]] = defaultdict(dict)
    for name in sorted(names):
        parsed, why = parsed_name(name), why_unsupported(name)
        if parsed is None or why:
            reasons.append(Reason(Code.UNKNOWN_TENSOR, name, why or "no algorithm here reads a tensor of this name"))
            continue
        group = groups[parsed.components, parsed.module]
        if parsed.suffix in group:
            reasons.append(Reason(Code.DUPLICATE, name, f"is the same tensor of a layer as {group[parsed.suffix]}"))
        group.setdefault(parsed.suffix, name)
    return groups


def _file_wide(groups: dict[tuple[tuple[str, ...], str], dict[str, str]], reasons: list[Reason]) -> dict[str, str]:
    """Remove file-wide tensors (VeRA's A and B) from the groups; add a reason if no VeRA layer uses them."""
    keys = [key for key, names in groups.items() if names.keys() <= FILE_WIDE]
    shared = {suffix: name for key in keys for suffix, name in groups.pop(key).items()}
    if len(keys) > 1 or (keys and not any(names.keys() & VERA_OWN for names in groups.values())):
        found = ", ".join(shared.values())
        reasons.append(Reason(Code.UNKNOWN_TENSOR, found, "belongs to VeRA layers, and the file has none"))
    return shared


def _several_adapters(names: Iterable[str]) -> Iterable[Reason]:
    found = sorted({adapter_name(name) for name in names} - {""})
    if len(found) > 1:  # tensors of two adapters would be taken for one layer
        listed = shown(", ".join(found))
        yield Reason(
            Code.DUPLICATE, "", f"the file holds {len(found)} adapters of PEFT: {listed}; send them one by one"
        )


def parsed_name(name: str) -> ParsedName | None:
    """Return a tensor's name as the first dialect that knows it parses it; None if no dialect does."""
    return next((parsed for dialect in DIALECTS if (parsed := dialect(name))), None)


def oriented(name: str, tensor: Tensor) -> Tensor:
    """Transpose the tensor if PEFT stores this one transposed; the function is its own inverse."""
    return tensor.transpose(0, -1).contiguous() if transposed(name) else tensor


def _tensors_of_layer(names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a layer's tensors by suffix, oriented as the model's weight is."""
    by_suffix = {suffix: oriented(name, tensors[name]) for suffix, name in names.items()}
    if MAGNITUDE in by_suffix and "dora_scale" not in by_suffix and any(map(transposed, names.values())):
        # PEFT's magnitudes are those of the rows of the product, which is an embedding's transpose
        by_suffix["dora_scale"] = by_suffix.pop(MAGNITUDE).reshape(1, -1)
    return by_suffix


def _wrong_start(metadata: Mapping[str, str], layers: Iterable[Layer]) -> Iterable[Reason]:
    start = tlora_start(metadata)
    if start == PRINCIPAL:
        return
    message = f"is a T-LoRA initialised with the {shown(start)} part of the weight, which its tensors do not hold"
    for layer in layers:
        if isinstance(layer.changes.get("weight"), TLoRA):
            yield Reason(Code.BAD_METADATA, layer.name, message)


def _configured(header: Header, config: AdapterConfig | None, reasons: list[Reason]) -> Sequence[Configured]:
    """Return the configurations outside the tensors: adapter_config.json and the header's."""
    configured = [] if config is None else [Configured((), config)]
    try:
        return [*configured, *header_configs(header.metadata, header.left_out)]
    except FileRefused as refusal:
        reasons += refusal.reasons
        return configured


def _named_components(groups: Iterable[tuple[tuple[str, ...], str]]) -> frozenset[str]:
    return frozenset(component for components, _ in groups for component in components)


def _doubts(header: Header, layers: Sequence[Layer], embeddings: Iterable[str]) -> Iterable[str]:
    if embeddings:
        yield f"holds embeddings, which change prompts and no weight: {', '.join(embeddings)}"
    if header.left_out:
        yield f"metadata too long to keep: {', '.join(header.left_out[:10])}"
    unscaled = [layer for layer in layers if "weight" in layer.changes and layer.changes["weight"].unscaled]
    if unscaled:
        unused = ", ".join(key for key in IGNORED_ALPHAS if key in header.metadata)
        why = f" (the header's {unused} is not used)" if unused else ""
        yield f"{len(unscaled)} of {len(layers)} layers have no alpha: it is taken to be their rank{why}"


def _name(components: Sequence[str], module: str) -> str:
    return f"{components[0]}.{module}" if components else module
