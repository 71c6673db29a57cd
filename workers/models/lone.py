"""A lone file as a base: a folder of configurations made for it, with a tokenizer from wherever there is one."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import snapshot_download

from workers.models.checkpoint import Checkpoint
from workers.models.made import VOCABULARY, Kind, made
from workers.models.weight_files import Unservable

WORDS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # the files of a vocabulary, one way or the other
LENGTH = 77  # tokens that a CLIP reads
SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
_MADE: list[TemporaryDirectory[str]] = []  # until this process ends: a base's files are read again for its fingerprint


def configured(file: Checkpoint, parts: Mapping[str, str | None], beside: Path) -> Path | None:
    """Return a folder of configurations for a file; None for one of a kind whose configurations cannot be made.

    parts: those that the settings take from elsewhere. beside: where a tokenizer may lie. Raises Unservable where a
    part is nowhere, with what to do.
    """
    file.judge()
    try:
        found = made(file.header)
    except Unservable as error:
        raise Unservable(
            f"{file.path}: {error}; with its configurations in the folder {beside.name!r} beside it, more can be told"
        ) from error
    if found is None:
        return None
    kind, configs = found
    here = TemporaryDirectory(prefix="radiata-made-")
    _MADE.append(here)
    folder = Path(here.name)
    index = configs.pop("")
    (folder / "model_index.json").write_text(json.dumps(index))
    for part, config in configs.items():
        (folder / part).mkdir()
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part / name).write_text(json.dumps(config))
    for part in ("vae", *kind.encoders):
        if part not in parts and part not in file.parts(index):
            raise Unservable(f"{file.path} has no weights of its {part}: name a folder or a file of them as `{part}`")
    for part in kind.tokenizers:
        if part not in parts:
            _write_tokenizer(_words(file.path, kind, parts, beside), folder / part, kind.tokenizers[part])
    return folder


def _write_tokenizer(words: Path, folder: Path, padding: str) -> None:
    folder.mkdir()
    for name in _vocabulary(words):
        shutil.copyfile(words / name, folder / name)
    said = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "pad_token": padding, **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def _words(checkpoint: Path, kind: Kind, parts: Mapping[str, str | None], beside: Path) -> Path:
    """Return a folder with CLIP's vocabulary: beside the file, named in the settings, or on the hub."""
    named = [Path(place) for part in kind.tokenizers if (place := parts.get(part))]
    for folder in (beside / "tokenizer", beside, *named):
        if _vocabulary(folder):
            return folder
    try:
        return Path(snapshot_download(VOCABULARY, allow_patterns=[name for names in WORDS for name in names]))
    except Exception as error:  # whatever its client meets
        raise Unservable(
            f"{checkpoint} has weights of {kind.name}, whose configurations are known here, and no tokenizer: put "
            f"{' and '.join(WORDS[1])} of {VOCABULARY} into {beside / 'tokenizer'}, or name a folder of them as "
            f"`tokenizer` ({type(error).__name__} at the hub)"
        ) from error


def _vocabulary(folder: Path) -> tuple[str, ...]:
    """Return the names of the files of a vocabulary in a folder; none where it has none."""
    return next((names for names in WORDS if all((folder / name).is_file() for name in names)), ())
