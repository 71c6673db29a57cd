"""A base as it would be loaded, without its weights: every model from its configuration alone, on the meta device."""

from importlib.metadata import version
from math import prod
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import nn

from workers.models.components import class_of
from workers.models.folder import CONFIG, ModelFolder, Unservable
from workers.models.linked import linked
from workers.models.opening import judge_vocabulary, refuse, shortened

# Of the numbers of a model, that a file may have more or fewer: tables of positions, a projection that nobody reads
COUNTED_APART = 0.02


def outlined(folder: ModelFolder) -> Any:
    """Return the pipeline in a folder, its models without numbers; raises Unservable where it cannot be put together.

    Takes no time and no memory to speak of, however large the weights are: they are not read.
    """
    given: dict[str, Any] = {part: None for part, place in folder.parts.items() if place is None}
    given["safety_checker"] = None
    try:
        models = {part: _empty(folder, part, kind) for part, kind in folder.models()}
        with linked(folder) as source:
            pipeline = DiffusionPipeline.from_pretrained(source, local_files_only=True, **(given | models))
    except Exception as error:  # whatever it meets: a sentence is clearer than its traceback
        why = f"{type(error).__name__}: {shortened(str(error))}"
        raise Unservable(f"diffusers {version('diffusers')} cannot open {folder.path}: {why}") from error
    for part, model in models.items():
        _judge_shapes(folder, part, model)
    for name, part in pipeline.components.items():
        if not isinstance(part, nn.Module):
            judge_vocabulary(folder, name, getattr(part, "tokenizer", part))
    return pipeline


def _empty(folder: ModelFolder, part: str, named: tuple[str, str]) -> nn.Module:
    kind: Any = class_of(*named)
    place = folder.place(part)
    with torch.device("meta"):
        if issubclass(kind, ConfigMixin):
            config: Any = kind.load_config(str(place), local_files_only=True)
            model: Any = kind.from_config(config)
            return model
        return kind(kind.config_class.from_pretrained(str(place), local_files_only=True))


def _judge_shapes(folder: ModelFolder, part: str, model: nn.Module) -> None:
    """Raise Unservable where weights cannot be those of a configuration.

    In a folder, where one is stored in another shape; names that a model has not are not judged, since libraries read
    older names as well. Of a single file, whose names are others, the numbers are counted.
    """
    state = model.state_dict()
    headers = folder.tensors(part)
    if file := folder.files.get(part):
        stored = sum(prod(one.shape) for one in headers.values())
        wanted = sum(tensor.numel() for tensor in state.values())
        if abs(stored - wanted) > COUNTED_APART * wanted:
            told = f" ({family})" if (family := file.family()) else ""
            raise Unservable(
                f"{file.path} does not fit {folder.place(part) / CONFIG}{told}: it has {stored:,} numbers, and that "
                f"says {wanted:,}"
            )
        return
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name, shape in shapes.items() if name in headers and headers[name].shape != shape]
    if wrong and not hasattr(model.config, "quantization_config"):
        refuse(folder, part, wrong, "MISMATCH")
