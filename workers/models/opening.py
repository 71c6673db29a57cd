"""A model folder into memory, through diffusers: whole, or a sentence that says why not.

diffusers and transformers go on where a weight is missing, with what a random generator gives, and tell it in a log
that we keep silent: here that is an error.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import nn

from workers.models.checkpoint import Checkpoint
from workers.models.components import denoiser_of
from workers.models.folder import CONFIG, ModelFolder, Unservable
from workers.models.linked import linked

TRANSFORMERS = "transformers.modeling_utils"  # logs what a checkpoint lacks, model by model, as a table
SINGLE_FILES = "diffusers.loaders.single_file_model"  # logs what of a file it did not use
UNREAD = re.compile(r"not used when initializing .*\['(.+)'\]", re.DOTALL)
REPORTED = re.compile(r"^(?P<weight>\S+)\s*\|\s*(?P<what>MISSING|MISMATCH)\b", re.MULTILINE)
TITLE = re.compile(r"([A-Z]\w+)\S* LOAD REPORT")  # there may be colours around it
EMPTY, LACKS = "meta tensor", "it lacks some of the weights"  # diffusers does not say which
VOCABULARY = "tokenizer.json"
LONGEST = 300  # characters of another library's message that are passed on
NAMED = 3  # weights that a sentence names


def opened(folder: ModelFolder, dtype: torch.dtype) -> Any:
    """Return the pipeline in a folder, on the CPU; raises Unservable where it, or one of its parts, is not whole."""
    given: dict[str, Any] = {part: None for part, place in folder.parts.items() if place is None}
    given |= {"safety_checker": None} | {part: _read(folder, part, file, dtype) for part, file in folder.files.items()}
    with linked(folder) as source, reports_of(TRANSFORMERS) as reports:
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                source, dtype=dtype, use_safetensors=True, local_files_only=True, **given
            )
        except Exception as error:  # whatever it meets: a sentence is clearer than its traceback
            _judge_reports(folder, reports)
            why = f"{type(error).__name__}: {shortened(str(error))}"
            raise Unservable(f"diffusers {version('diffusers')} cannot open {folder.path}: {why}") from error
    _judge_reports(folder, reports)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            _judge_loaded(folder, name, part)
        else:
            judge_vocabulary(folder, name, getattr(part, "tokenizer", part))
    return pipeline


def _read(folder: ModelFolder, part: str, file: Checkpoint, dtype: torch.dtype) -> nn.Module:
    """Return a part from a single file; raises Unservable where it is not the one that its configuration says."""
    what = f"{file.path} does not fit {folder.place(part) / CONFIG}"
    told = f" ({family})" if part == denoiser_of(folder.index) and (family := file.family()) else ""
    with reports_of(SINGLE_FILES) as reports:
        try:
            model = file.model(part, folder.place(part), folder.index, dtype)
        except Exception as error:  # whatever it meets: a sentence is clearer than its traceback
            why = f"{type(error).__name__}: {shortened(str(error))}"
            raise Unservable(f"{what}{told}: {LACKS if EMPTY in why else why}") from error
    if missing := [weight for weight, tensor in model.state_dict().items() if tensor.is_meta]:
        raise Unservable(f"{what}{told}: it lacks {_named(missing)}")
    if unread := [found[1] for report in reports if (found := UNREAD.search(report))]:
        raise Unservable(f"{what}{told}: it has more than that, {_named(unread[0].split(', '))}")
    return model


@contextmanager
def reports_of(name: str) -> Iterator[list[str]]:
    """Collect what a library reports of the models that are loaded meanwhile, under the name of its logger."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())
    logger = logging.getLogger(name)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.level, logger.propagate = before
        logger.removeHandler(handler)


def _judge_reports(folder: ModelFolder, reports: list[str]) -> None:
    for report in reports:
        if found := [(one["weight"], one["what"]) for one in REPORTED.finditer(report)]:
            title = TITLE.search(report)
            refuse(folder, title[1] if title else "a text encoder", [weight for weight, _ in found], found[0][1])


def _judge_loaded(folder: ModelFolder, name: str, part: nn.Module) -> None:
    if missing := [weight for weight, tensor in part.state_dict().items() if tensor.is_meta]:
        refuse(folder, name, missing, "MISSING")


def refuse(folder: ModelFolder, part: str, weights: list[str], what: str) -> None:
    """Raise Unservable for weights of a part that are MISSING, or a MISMATCH of its configuration."""
    found = "lack" if what == "MISSING" else "have in another shape"
    raise Unservable(f"the weights of {part} in {folder.path} {found} what its {CONFIG} says: {_named(weights)}")


def _named(weights: list[str]) -> str:
    more = f" and {len(weights) - NAMED} more" if len(weights) > NAMED else ""
    return f"{', '.join(sorted(weights)[:NAMED])}{more}"


def judge_vocabulary(folder: ModelFolder, name: str, tokenizer: Any) -> None:
    """Raise Unservable for a tokenizer without its files: transformers makes one that knows no word."""
    files = getattr(tokenizer, "vocab_files_names", None) or {}
    wanted = {VOCABULARY, *(file for file in files.values() if isinstance(file, str))}
    if files and not any((folder.place(name) / file).is_file() for file in wanted):
        raise Unservable(f"{folder.place(name)} has no vocabulary ({', '.join(sorted(wanted))}): download it whole")


def shortened(message: str) -> str:
    """Return the beginning of a message, in one line."""
    line = " ".join(message.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
