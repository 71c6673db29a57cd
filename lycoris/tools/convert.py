"""`convert --to`: the same changes under the names of kohya or of diffusers."""

from collections.abc import Mapping

from lycoris.adapter import Adapter
from lycoris.placement.resolve import resolve
from lycoris.placement.shapes import Shapes
from lycoris.tools.names import Namer, Style
from lycoris.tools.regroup import placed_changes, to_state_dict
from lycoris.tools.writing import Draft, metadata_of


def convert(adapter: Adapter, components: Mapping[str, Shapes], style: Style) -> tuple[Draft, list[str]]:
    """Return the adapter under the names of a style, for the model given by its shapes, and notes for the user.

    Changes stay bit for bit the same, except for a scale that diffusers' files cannot hold: it goes into lora_B, in
    float32 where the stored dtype would round. A LoRA over several modules (a fused qkv) is divided exactly, and LoRAs
    of modules that are one layer under kohya's names are joined exactly.
    Raises NoPlace, and ToolRefused for a layer that has no form under such names.
    """
    tensors, notes = to_state_dict(placed_changes(resolve(adapter, components).targets), Namer(style, components))
    done = {"tool": "convert", "to": style, "of": adapter.sha256}
    return Draft(tensors, metadata_of(adapter.metadata, **done)), [*notes, *_notes(adapter, style)]


def _notes(adapter: Adapter, style: Style) -> list[str]:
    notes: list[str] = []
    if adapter.embeddings:
        notes.append(f"embeddings are left out: {', '.join(sorted(adapter.embeddings))}")
    others = {name: count for name, count in adapter.algorithms.items() if name not in ("lora", "locon", "dora-lora")}
    if style == "diffusers" and others:
        listed = ", ".join(f"{name} {count}" for name, count in others.items())
        notes.append(f"diffusers itself applies only LoRA, not the rest of this file: {listed}")
    return notes
