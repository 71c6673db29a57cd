"""Models that maps are made with: transformers' own, from folders of safetensors, kept while there is room.

They run on the CPU, in float32 and with one thread, wherever the base is: so a map is the same to the bit in intake,
which makes it to be looked at, and in the engine, which draws by it.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from rq.timeouts import JobTimeoutException

from app.shared.environment import variable
from app.shared.errors import BadRequest, Unavailable
from app.shared.settings import MIB, Settings
from workers.models.hub import Wanted, told, wanted_of
from workers.models.opening import TRANSFORMERS, reports_of, shortened
from workers.models.weight_files import weights_of
from workers.patience import Patience

FETCHED = ["*.json", "*.safetensors"]
READING = ("preprocessor_config.json", "processor_config.json")  # how pictures are read: a model has one of them
SETTING = variable("preprocessors")
MODELS_OF = {"depth": ("depth",), "pose": ("person", "pose")}  # kind of maps -> the models that make it
SHARD = re.compile(r"-\d{5}-of-\d{5}\.")  # in the name of a file that is one of several
PASSING = (408, 429)  # what a hub answers that may answer otherwise in a moment; all of 500 and over may


class ModelAway(Unavailable):
    """A model cannot be had from its hub right now: the hub does not answer, or there is no room for its files."""


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """A model that reads pictures, and what makes its input of one."""

    folder: Path
    model: Any
    processor: Any

    @property
    def nbytes(self) -> int:
        """Bytes of its weights."""
        return sum(tensor.nbytes for tensor in self.model.state_dict().values())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over its files."""
        return fingerprint_of(self.folder)


def fingerprint_of(folder: Path) -> str:
    """sha256 over the files of a model."""
    total = hashlib.sha256()
    for file in sorted(file for pattern in FETCHED for file in folder.glob(pattern)):
        with file.open("rb") as stream:
            total.update(f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def fingerprints(settings: Settings, known: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the fingerprints of the models of each kind of maps, of those kinds whose models are on this machine.

    known: kinds that are not looked for again.
    """
    wanted = {kind: names for kind, names in MODELS_OF.items() if kind not in known}
    named = settings.preprocessors.items()
    folders = {name: _at_hand(source) for name, source in named if any(name in names for names in wanted.values())}
    return {
        kind: [fingerprint_of(folder) for name in names if (folder := folders[name])]
        for kind, names in wanted.items()
        if all(folders.get(name) for name in names)
    }


class Preprocessors:
    """The models of `RADIATA_PREPROCESSORS`, loaded when they are needed; least recently used go first.

    patience: of the job that needs them, which waits for a hub that is away; without one, nobody waits.
    """

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        self._patience = patience or Patience(0)
        self._sources: Mapping[Any, str] = settings.preprocessors
        self._token = settings.hub_token
        self._budget = settings.control_cache_mb * MIB
        self._held: OrderedDict[str, Preprocessor] = OrderedDict()

    def get(self, name: str, made: Callable[[], type[Any]], judge: Callable[[Any], str | None]) -> Preprocessor:
        """Return one of them; raises BadRequest (`preprocess_unavailable`) with a sentence where it cannot be used.

        Raises ModelAway, of the same code, where it cannot be had right now.

        made: its class of transformers'. judge: says of a configuration why it cannot be used, or nothing.
        """
        if name not in self._held:
            if name not in self._sources:
                raise BadRequest("preprocess_unavailable", f"no {name} model is named: set it in {SETTING}")
            self._held[name] = self._patience.waits(self._loaded, name, made, judge)
        self._held.move_to_end(name)
        found = self._held[name]
        while len(self._held) > 1 and sum(one.nbytes for one in self._held.values()) > self._budget:
            self._held.popitem(last=False)
        return found

    def _loaded(self, name: str, made: Callable[[], type[Any]], judge: Callable[[Any], str | None]) -> Preprocessor:
        from transformers import AutoConfig, AutoImageProcessor  # seconds, for those who need them
        from transformers.image_processing_backends import PilBackend
        from transformers.utils import logging

        logging.disable_progress_bar()
        source = self._sources[name]
        try:
            folder = self._folder(source)
            if wrong := judge(AutoConfig.from_pretrained(folder, local_files_only=True)):
                raise ValueError(wrong)
            processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
            if not isinstance(processor, PilBackend):
                raise TypeError(f"its {type(processor).__name__} needs torchvision, which is not used here")
            with reports_of(TRANSFORMERS):
                model, told = made().from_pretrained(
                    folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
                )
            if missing := sorted(told["missing_keys"]):  # transformers goes on with random ones
                raise ValueError(f"its weights lack {', '.join(missing[:3])}")
        except Exception as error:  # whatever it meets: a sentence is clearer than its traceback
            for one in _chain(error):  # transformers makes its own errors of any
                if isinstance(one, JobTimeoutException | MemoryError):
                    raise one from None
            what, why = f"the {name} model {source!r} of {SETTING}", shortened(str(error))
            if isinstance(error, _NotFetched):
                raise ModelAway("preprocess_unavailable", f"{what} cannot be had right now: {why}") from error
            raise BadRequest("preprocess_unavailable", f"{what} cannot be used: {why}") from error
        return Preprocessor(folder, model.requires_grad_(False).eval(), processor)

    def _folder(self, source: str) -> Path:
        """Return the folder of a source; a repository on the hub is downloaded first."""
        if found := _at_hand(source):
            return found
        match _wanted(source):
            case Wanted(repository=repository, file=None, revision=revision) as wanted:
                token = self._token.get_secret_value() if self._token else None
                try:
                    found = snapshot_download(repository, revision=revision, allow_patterns=FETCHED, token=token)
                except Exception as error:  # its client's errors are those of whichever library it is made of
                    for one in filter(_lasting, _chain(error)):
                        with told(wanted, token):
                            raise one from None
                    if isinstance(error, ValueError):
                        raise
                    raise _NotFetched(str(error)) from error
                return Path(found)
            case _:
                raise ValueError("it is no folder, and a repository on the hub is written owner/name[@revision]")


def _wanted(source: str) -> Wanted | None:
    return wanted_of(source if source.startswith("hf:") else f"hf:{source}")


def _at_hand(source: str) -> Path | None:
    """Return the folder of a source that is on this machine; None of another, and of one that came in part.

    What was fetched once stays what it is, as a request that was accepted with its fingerprint needs it.
    """
    if Path(source).is_dir():
        return Path(source)
    match _wanted(source):
        case Wanted(repository=repository, file=None, revision=revision):
            try:
                here = snapshot_download(repository, revision=revision, allow_patterns=FETCHED, local_files_only=True)
                return Path(here) if _whole(Path(here)) else None
            except (OSError, ValueError):
                return None
        case _:
            return None


def _whole(folder: Path) -> bool:
    """Tell whether a model's files are all there; raises Unservable where weights are missing."""
    in_shards = any(SHARD.search(file.name) for file in weights_of(folder))
    described = (folder / "config.json").is_file() and any((folder / name).is_file() for name in READING)
    return described and (not in_shards or any(folder.glob("*.safetensors.index.json")))


class _NotFetched(Exception):
    """A repository did not come, and may come in a moment."""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, one after another."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _lasting(error: BaseException) -> bool:
    """Tell whether an error of a hub's client stays, however long one waits."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code < 500 and error.response.status_code not in PASSING
    return isinstance(error, HFValidationError | OfflineModeIsEnabled)


@contextmanager
def alike_everywhere() -> Iterator[None]:
    """Compute without gradients, and with one thread: the number of threads can decide the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
