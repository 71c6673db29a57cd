"""The names and shapes of a base model, from the headers of its folder: enough to judge an adapter, nothing loaded."""

import os
from pathlib import Path

from lycoris.errors import Code, FileRefused, Reason
from lycoris.files import judge_file


def shapes_of_folder(folder: str | os.PathLike[str]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return component -> {parameter name: shape} of a diffusers folder, from `<component>/*.safetensors`.

    Raises FileRefused if a header is bad, or if no component there has safetensors weights.
    """
    components: dict[str, dict[str, tuple[int, ...]]] = {}
    for path in sorted(Path(folder).glob("*/*.safetensors")):
        entries = judge_file(path).entries
        components.setdefault(path.parent.name, {}).update({name: entry.shape for name, entry in entries.items()})
    if not components:
        message = "no component folder with *.safetensors in it"
        raise FileRefused([Reason(Code.UNREADABLE, str(folder), message)])
    return components
