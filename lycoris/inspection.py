"""`inspect`: the verdict on a file, alone or for a model, as the uploader, the page and the catalog show it."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lycoris.adapter import Adapter, read, read_names
from lycoris.architectures.detect import Architecture, architecture_of_adapter, disagreements, reported_architecture
from lycoris.dialects import trained_on
from lycoris.errors import AdapterError, Code, FileRefused, NoPlace, Reason, shown
from lycoris.files.checked_file import CheckedFile
from lycoris.files.safetensors_file import FILE_CAP, Header
from lycoris.placement.resolve import Index, Plan, match
from lycoris.placement.shapes import Shapes

TEXT_CAP = 500  # characters of one value from the metadata
TRIGGERS = 24  # trigger words shown, the most frequent first
UNMATCHED = frozenset({Code.NO_COMPONENT, Code.NO_MODULE, Code.AMBIGUOUS})  # a layer without one place in the model
OFTEN = 0.5  # a trigger word occurs at least this often, relative to the most frequent word of the captions
FACTS = (
    *("modelspec.title", "modelspec.author", "modelspec.description", "modelspec.license", "modelspec.usage_hint"),
    *("modelspec.trigger_phrase", "modelspec.architecture", "modelspec.prediction_type", "modelspec.date"),
    *("ss_output_name", "ss_base_model_version", "ss_sd_model_name", "ss_network_module", "ss_network_args"),
    *("ss_network_dim", "ss_network_alpha", "ss_steps", "ss_epoch", "ss_resolution", "ss_training_comment"),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The hashes, contents and placement of a file, and the reasons against it. JSON-ready through `as_dict`.

    `unresolved` and `refused` are empty for a file that was accepted; for names alone they hold the reasons for which a
    file would be refused.

    Everything under `metadata` and `triggers` comes from outside: it is cut to size and control characters are
    replaced, but it is text, to be shown as text and never as markup.
    """

    sha256: str | None  # None, as the other hashes, where only names and shapes are known
    autov2: str | None
    autov3: str | None
    file_bytes: int
    base: Architecture | None  # that it was trained for, with the evidence; None: the file does not show it
    algorithms: Mapping[str, int]  # algorithm -> layers
    ranks: tuple[int, ...]
    components: Mapping[str, int]  # component -> layers: the model's own components if a model was given
    layers: int
    resolved: int | None  # layers with a place in the model that they fit; None: no model was given
    unresolved: tuple[str, ...]  # layers with no place in the model, or several
    refused: tuple[Reason, ...]  # every reason, including those of `unresolved`
    ignored: tuple[str, ...]
    embeddings: tuple[str, ...]  # trigger words of textual inversions bundled in the file
    image_prompt: int  # tensors of an image prompt in the file
    metadata: Mapping[str, str]
    triggers: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON-ready data."""
        return asdict(self)


def inspect(
    source: str | os.PathLike[str] | bytes | Header | Mapping[str, Any],
    components: Index | Mapping[str, nn.Module | Shapes] | None = None,
    ignore: Sequence[str] = (),
    cap: int = FILE_CAP,
) -> Verdict:
    """Return the verdict on a file and, if a model is given, on its place there; names and shapes of the model suffice.

    source: a path or the bytes of a file; or names and shapes alone: a checked Header, its JSON as a mapping, or
    {tensor name: shape}. A file is accepted or refused: FileRefused (or NoPlace, if it is sound and only does not fit)
    has every reason of either kind. Names alone cannot be applied, so that FileRefused is raised only for a header that
    no sound file has; otherwise the verdict's `unresolved` and `refused` have the reasons.
    """
    alone = isinstance(source, Header | Mapping)
    adapter, reasons = read_names(source, ignore) if alone else read(source, ignore, cap)
    return judged(adapter, reasons, components)


def judged(
    adapter: Adapter,
    reasons: Sequence[Reason],
    components: Index | Mapping[str, nn.Module | Shapes] | None = None,
    stored: Sequence[str] | None = None,
) -> Verdict:
    """Return the verdict on an adapter that `read` or `read_names` returned; so a file is read once for many models.

    stored: what the model's weights are quantised to, as `stored_as` says; None where that is not known.
    Raises FileRefused or NoPlace as `inspect` does.
    """
    refusal: type[AdapterError] = FileRefused if reasons else NoPlace
    index = components if isinstance(components, Index) else Index(components) if components is not None else None
    plan: Plan | None = None
    if index is not None:
        plan, misplaced = match(adapter, index)
        reasons = [*reasons, *misplaced]
    if reasons and adapter.hashes:  # names alone cannot be applied, and are not refused
        raise refusal(reasons)
    found = architecture_of_adapter(adapter)
    if index is not None and not reasons:
        found = reported_architecture(found, index.architecture)
    placed = {target.layer for target in plan.targets} if plan else set()
    return Verdict(
        sha256=adapter.hashes.sha256 if adapter.hashes else None,
        autov2=adapter.hashes.autov2 if adapter.hashes else None,
        autov3=adapter.hashes.autov3 if adapter.hashes else None,
        file_bytes=adapter.file_bytes,
        base=found,
        algorithms=adapter.algorithms,
        ranks=adapter.ranks,
        components=_components(adapter, plan),
        layers=len(adapter.layers),
        resolved=len(placed) if plan else None,
        unresolved=tuple(dict.fromkeys(reason.subject for reason in reasons if reason.code in UNMATCHED)),
        refused=tuple(reasons),
        ignored=adapter.ignored,
        embeddings=tuple(adapter.embeddings),
        image_prompt=len(adapter.image_prompt),
        metadata=facts(adapter.metadata),
        triggers=triggers(adapter.metadata),
        warnings=(
            *adapter.doubts,
            *(plan.warnings if plan else ()),
            *disagreements(found, adapter.metadata, index.architecture if index else None),
            *trained_on.told(adapter.metadata, stored),
        ),
    )


def verdict_of(file: CheckedFile, ignored: Sequence[str] = ()) -> Verdict:
    """Return the verdict on a sound file that changes no weight, as far as this library has words for it."""
    return Verdict(
        sha256=file.hashes.sha256,
        autov2=file.hashes.autov2,
        autov3=file.hashes.autov3,
        file_bytes=len(file.data),
        base=None,
        algorithms={},
        ranks=(),
        components={},
        layers=0,
        resolved=None,
        unresolved=(),
        refused=(),
        ignored=tuple(sorted(ignored)),
        embeddings=(),
        image_prompt=0,
        metadata=facts(file.metadata),
        triggers=triggers(file.metadata),
        warnings=(),
    )


def facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a file's metadata that are shown, cut to size."""
    return {key: _clip(metadata[key]) for key in FACTS if metadata.get(key)}


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that most captions of a folder had, from kohya's `ss_tag_frequency` {folder: {tag: count}}.

    Where too many words are about as frequent as the most frequent one, none of them is a trigger: such a folder had a
    different caption for every picture.
    """
    try:
        found = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except (ValueError, RecursionError):  # text from outside: a file is not refused for it
        return ()
    counts: Counter[str] = Counter()
    for folder in found.values() if isinstance(found, dict) else ():
        counts.update(_often(folder) if isinstance(folder, dict) else {})
    return tuple(tag for tag, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TRIGGERS])


def _often(folder: Mapping[str, Any]) -> dict[str, int]:
    counted = {tag: count for tag, count in folder.items() if type(count) is int and count > 0 and tag.strip()}
    least = OFTEN * max(counted.values(), default=0)
    often = {shown(tag.strip()): count for tag, count in counted.items() if count >= least}
    return often if len(often) <= TRIGGERS else {}


def _clip(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text[:TEXT_CAP])


def _components(adapter: Adapter, plan: Plan | None) -> dict[str, int]:
    if plan is None:
        return adapter.components
    layers = {(target.component, target.layer) for target in plan.targets}
    return dict(sorted(Counter(component for component, _ in layers).items()))
