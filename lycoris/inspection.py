"""What inspection found in a file: what the uploader, the page and the catalog show of it."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from lycoris.adapter import Adapter, read, read_names
from lycoris.architectures.detect import Base, at_hand, base_of_adapter, disagreement
from lycoris.errors import AdapterError, Code, FileRefused, NoPlace, Reason, shown
from lycoris.files.safetensors_file import FILE_CAP, Header
from lycoris.placement.resolve import Index, Plan, match
from lycoris.placement.shapes import Shapes

TEXT_CAP = 500  # characters of one value from the metadata
TRIGGERS = 24  # trigger words shown, the most frequent first
UNMATCHED = frozenset({Code.NO_COMPONENT, Code.NO_MODULE, Code.AMBIGUOUS})  # a layer without one place in the model
OFTEN = 0.5  # a word that is a trigger is in at least this share of the captions, counted by the most frequent word's
FACTS = (
    *("modelspec.title", "modelspec.author", "modelspec.description", "modelspec.license", "modelspec.usage_hint"),
    *("modelspec.trigger_phrase", "modelspec.architecture", "modelspec.prediction_type", "modelspec.date"),
    *("ss_output_name", "ss_base_model_version", "ss_sd_model_name", "ss_network_module", "ss_network_args"),
    *("ss_network_dim", "ss_network_alpha", "ss_steps", "ss_epoch", "ss_resolution", "ss_training_comment"),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a file is, what it holds, where it goes, and what speaks against it. JSON-ready through `as_dict`.

    Of a file that was accepted `unresolved` and `refused` are empty; of names alone they say why it would not be.

    Everything under `metadata` and `triggers` was written by a stranger: it is cut to size and control characters are
    written out, but it is text, to be shown as text and never as markup.
    """

    sha256: str | None  # None, as the other hashes, where only names and shapes are known
    autov2: str | None
    autov3: str | None
    file_bytes: int
    base: Base | None  # the architecture it was trained for, with the evidence; None: the file does not tell
    algorithms: Mapping[str, int]  # algorithm -> layers
    ranks: tuple[int, ...]
    components: Mapping[str, int]  # component -> layers: the model's own if it was judged against one
    layers: int
    resolved: int | None  # layers that found their place in the model and fit it; None: no model was given
    unresolved: tuple[str, ...]  # layers that the model has no one place for
    refused: tuple[Reason, ...]  # every reason, those of `unresolved` among them
    ignored: tuple[str, ...]
    embeddings: tuple[str, ...]  # trigger words of textual inversions bundled in the file
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
    """Return what a file holds and, if a model is given, where it goes; only names and shapes of the model are needed.

    source: a path or the bytes of a file; or names and shapes alone: a judged Header, its JSON as a mapping, or
    {tensor name: shape}. A file is accepted or refused: FileRefused (or NoPlace, if it is sound and only does not fit)
    has every reason of either kind. Of names alone nothing can be worn, so that nothing is raised for them but
    FileRefused for a header that no sound file has: `unresolved` and `refused` of the verdict say the same.
    """
    alone = isinstance(source, Header | Mapping)
    adapter, reasons = read_names(source, ignore) if alone else read(source, ignore, cap)
    return judged(adapter, reasons, components)


def judged(
    adapter: Adapter, reasons: Sequence[Reason], components: Index | Mapping[str, nn.Module | Shapes] | None = None
) -> Verdict:
    """Return the verdict on what `read` or `read_names` gave, as `inspect` does; a file is read once for many models.

    Raises FileRefused or NoPlace as `inspect` does.
    """
    refusal: type[AdapterError] = FileRefused if reasons else NoPlace
    index = components if isinstance(components, Index) else Index(components) if components is not None else None
    plan: Plan | None = None
    if index is not None:
        plan, misplaced = match(adapter, index)
        reasons = [*reasons, *misplaced]
    if reasons and adapter.hashes:  # of names alone nothing can be worn, so that nothing is refused
        raise refusal(reasons)
    base = base_of_adapter(adapter)
    if index is not None and not reasons:
        base = at_hand(base, index.base)
    placed = {target.layer for target in plan.targets} if plan else set()
    return Verdict(
        sha256=adapter.hashes.sha256 if adapter.hashes else None,
        autov2=adapter.hashes.autov2 if adapter.hashes else None,
        autov3=adapter.hashes.autov3 if adapter.hashes else None,
        file_bytes=adapter.file_bytes,
        base=base,
        algorithms=adapter.algorithms,
        ranks=adapter.ranks,
        components=_components(adapter, plan),
        layers=len(adapter.layers),
        resolved=len(placed) if plan else None,
        unresolved=tuple(dict.fromkeys(reason.subject for reason in reasons if reason.code in UNMATCHED)),
        refused=tuple(reasons),
        ignored=adapter.ignored,
        embeddings=tuple(adapter.embeddings),
        metadata=facts(adapter.metadata),
        triggers=triggers(adapter.metadata),
        warnings=(
            *adapter.doubts,
            *(plan.warnings if plan else ()),
            *disagreement(base, adapter.metadata, index.base if index else None),
        ),
    )


def facts(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a file's metadata that is worth showing, cut to size."""
    return {key: _clip(metadata[key]) for key in FACTS if metadata.get(key)}


def triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that most captions of a folder had, from kohya's `ss_tag_frequency` {folder: {tag: count}}.

    Where more words than could be triggers are about as frequent as the most frequent one, none of them stands out:
    such a folder had a caption of its own for every picture.
    """
    try:
        found = json.loads(metadata.get("ss_tag_frequency", "{}"))
    except (ValueError, RecursionError):  # a stranger's text: not being JSON is no reason to refuse a file
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
