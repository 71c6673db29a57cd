"""A folder as diffusers opens it: links to the parts of a base wherever they are, and an index that names them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from workers.models.folder import INDEX, ModelFolder
from workers.models.processors import of_prompts
from workers.models.weight_files import variant_of, without_variant


@contextmanager
def linked(folder: ModelFolder) -> Iterator[Path]:
    """Yield a folder to load a model from: its own, or one of links where a part is elsewhere or named otherwise."""
    ours, parts = of_prompts(folder), dict(folder.components())
    read = [part for part in parts if part not in folder.files and folder.place(part).is_dir()]
    variants = [part for part in read if variant_of(folder.place(part))]
    if not (ours or variants or folder.parts or folder.renamed):
        yield folder.path
        return
    with TemporaryDirectory(prefix="radiata-") as name:
        top = Path(name)
        for part in parts:
            if part not in variants:
                (top / part).symlink_to(folder.place(part).resolve())
        for part in variants:
            (top / part).mkdir()
            for link, file in without_variant(folder.place(part)).items():
                (top / part / link).symlink_to(file.resolve())
        (top / INDEX).write_text(json.dumps(folder.index | ours))
        yield top
