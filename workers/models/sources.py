"""Where a base comes from: what `RADIATA_MODELS` names, as a description of the files to open."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from huggingface_hub import snapshot_download

from app.shared.base_source import BaseSource
from workers.models.checkpoint import Checkpoint
from workers.models.components import IMAGE_ENCODER, class_of, denoiser_of, takes_image_encoder
from workers.models.families import FAMILIES
from workers.models.folder import CONFIG, INDEX, ModelFolder
from workers.models.image_encoders import further_of, is_further
from workers.models.lone import configured
from workers.models.own import NOTHING, Own, own_of
from workers.models.weight_files import Unservable, pickled
from workers.models.weight_names import FORMATS, PICKLES

BUNDLED = "bundled:"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
NEEDED = re.compile(r"vae|scheduler|.*(text_encoder|text_conditioner|tokenizer)(_\d)?")  # besides the denoiser
OF_A_PART = ["*.json", "*.safetensors", "*.txt", "*.model"]  # what is fetched of a hub repository that is one part


@dataclass(frozen=True)
class Source:
    """The files of a base: a folder as diffusers writes it, and what is taken from elsewhere."""

    folder: Path
    checkpoint: Checkpoint | None = None  # a file with the weights of several parts, or of the denoiser
    parts: Mapping[str, Path | None] = field(default_factory=dict)  # a folder or a file; None where it is left out
    own: Own = NOTHING
    image_encoders: Mapping[str, Path] = field(default_factory=dict)  # by name, beside its own part

    def opened(self) -> ModelFolder:
        """Return the folder with what is in place of its parts."""
        return ModelFolder(self.folder, self.checkpoint, self.parts)


def source_of(said: BaseSource) -> Source:
    """Return the files of a base; those on the hub are downloaded first.

    Raises FileNotFoundError where there are none, Unservable where they cannot be a base.
    """
    path = Path(said.source)
    if path.is_file():
        checkpoint = Checkpoint(path)
        folder = _configured(checkpoint, said)
    else:
        folder, checkpoint = find(said.source), None
    index = ModelFolder(folder).index
    checkpoint = checkpoint or _at_the_top(folder, denoiser_of(index))
    named = [part for part, kind in index.items() if isinstance(kind, list)]
    if IMAGE_ENCODER not in named and takes_image_encoder(class_of("diffusers", index["_class_name"])):
        named.append(IMAGE_ENCODER)
    takes = IMAGE_ENCODER in named
    own = own_of(folder, named, is_further if takes else lambda _: False)
    if unknown := [part for part in said.parts if part not in named and not (takes and is_further(part))]:
        raise Unservable(f"{folder / INDEX} names no part {unknown[0]!r}; it has {', '.join(named)}")
    parts = {part: _place(part, place, folder) for part, place in own.parts.items()}
    parts |= {part: _place(part, place, Path()) for part, place in said.parts.items()}
    for part, place in parts.items():
        if (part == IMAGE_ENCODER or is_further(part)) and place and place.is_file():
            raise Unservable(f"{part} is {place}; it is a folder, with a {CONFIG} beside the weights")
    encoders = further_of(parts)
    parts = {part: place for part, place in parts.items() if not is_further(part)}
    if needed := [part for part, place in parts.items() if place is None and _is_needed(part, index)]:
        raise Unservable(f"`{needed[0]}` of {folder} cannot be left out: no picture is drawn without it")
    return Source(folder, checkpoint, parts, own.own, encoders)


def _is_needed(part: str, index: Mapping[str, Any]) -> bool:
    """Tell whether a pipeline draws nothing without a part."""
    spare = [name for row in FAMILIES if row.pipeline == index["_class_name"] for name in row.spare]
    return part == denoiser_of(index) or (NEEDED.fullmatch(part) is not None and part not in spare)


def find(source: str) -> Path:
    """The folder of a model source; a hub id is downloaded first. Raises FileNotFoundError for a bundle that is not."""
    if source.startswith(BUNDLED):
        folder = Path(__file__).parent / source.removeprefix(BUNDLED)
        if not (folder / INDEX).is_file():
            raise FileNotFoundError(f"no bundled model {source.removeprefix(BUNDLED)!r}")
        return folder
    if Path(source).is_dir():
        return Path(source)
    if not HUB_ID.fullmatch(source) or source.endswith(FORMATS):
        raise FileNotFoundError(f"there is no folder or file {source!r}, and a hub id is of the form owner/name")
    return Path(DiffusionPipeline.download(source, use_safetensors=True))


def _configured(file: Checkpoint, said: BaseSource) -> Path:
    """Return the folder with the configurations for a file: of its name, beside it, the one that it is in, or made."""
    judge_suffix(file.path)
    beside = file.path.with_suffix("")
    for folder in (beside, file.path.parent):
        if (folder / INDEX).is_file():
            return folder
    if folder := configured(file, said.parts, beside):
        return folder
    raise Unservable(
        f"{file.path} has {file.family() or 'weights'} and no configuration: put the folder {beside.name!r} beside "
        f"it, with {INDEX} and the folders of the model's parts as diffusers writes them ({file.configured_by()}); "
        "of parts whose weights are in the file, config.json is enough"
    )


def judge_suffix(file: Path) -> None:
    """Raise Unservable for a file that is neither of safetensors nor GGUF."""
    if any(file.match(pattern) for pattern in PICKLES):
        raise pickled(file)
    if file.suffix not in FORMATS:
        raise Unservable(f"{file} is opened by nothing here: single files are {' or '.join(FORMATS)}")


def _at_the_top(folder: Path, part: str | None) -> Checkpoint | None:
    """Return the file at the top of a folder in which the denoiser has no weights; None where it has, or is no such."""
    files = sorted(file for file in folder.iterdir() if file.suffix in FORMATS)
    if part is None or not files or any((folder / part).glob("*.safetensors")):
        return None
    if len(files) > 1:
        named = ", ".join(file.name for file in files)
        raise Unservable(f"{folder} has several files at its top ({named}): name one of them in RADIATA_MODELS")
    return Checkpoint(files[0])


def _place(part: str, place: str | None, relative_to: Path) -> Path | None:
    """Return the folder or file of a part; one on the hub is downloaded first."""
    if place is None:
        return None
    path = relative_to / place
    if path.is_file():
        judge_suffix(path)
        return path
    if not path.is_dir():
        if not HUB_ID.fullmatch(place) or place.endswith(FORMATS):
            raise FileNotFoundError(f"{part}: there is no folder or file {place!r}")
        path = Path(snapshot_download(place, allow_patterns=OF_A_PART))
    return next((one for one in (path / part, path) if any(one.glob("*.json"))), path)
