"""The names that files have for the modules of a live model, all made from the model's own paths."""

import re
from collections.abc import Callable, Collection, Iterator

from lycoris.dialects.fused import fused_names
from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.original import Shapes, original_names
from lycoris.dialects.row_slice import RowSlice

CLIP = "text_model."  # transformers 5.6 dropped this level from CLIPTextModel, but not from its sibling with projection

# The depth of a language model's layers depends on the model around it, and on transformers' version
DEPTHS = ("", "model.", "language_model.", "language_model.model.", "model.language_model.")
_LANGUAGE = re.compile(rf"(?:{'|'.join(map(re.escape, DEPTHS))})(?P<inner>layers\.\d+\..+)")


def own_path(component: str, path: str) -> Iterator[str]:
    """Yield the path as the model has it."""
    del component
    yield path


def without_container(component: str, path: str) -> Iterator[str]:
    """Yield `to_out` for `to_out.0`: early diffusers files name the projection, not the list it is in."""
    del component
    if path.endswith(".to_out.0"):
        yield path.removesuffix(".0")


def cut_short(component: str, path: str) -> Iterator[str]:
    """Yield `sformer_blocks.…` for `transformer_blocks.…`: files from which a prefix was cut one time too often."""
    del component
    if path.startswith("transformer_blocks."):
        yield path.removeprefix("tran")


def text_encoder(component: str, path: str) -> Iterator[str]:
    """Yield the other spelling of a CLIP module: with `text_model.` if the model has none, and without it if it has."""
    if "text_encoder" in component:
        yield path.removeprefix(CLIP) if path.startswith(CLIP) else CLIP + path


def language_model(component: str, path: str) -> Iterator[str]:
    """Yield a language model's layer at every other depth: Qwen, Gemma and Llama are text encoders too."""
    found = _LANGUAGE.fullmatch(path) if "text_encoder" in component else None
    if found:
        yield from (spelling for depth in DEPTHS if (spelling := depth + found["inner"]) != path)


ALIASES: tuple[Callable[[str, str], Iterator[str]], ...] = (
    own_path,
    without_container,
    cut_short,
    text_encoder,
    language_model,
)


def aliases(component: str, modules: Collection[str], shapes: Shapes) -> Iterator[tuple[str, tuple[RowSlice, ...]]]:
    """Yield every dotted name that a file may have for modules of this component, with the rows that the name means."""
    for path in modules:
        for spelling in ALIASES:
            for name in spelling(component, path):
                yield name, (RowSlice(path),)
    for name, path in ldm_names(modules):
        yield name, (RowSlice(path),)
    yield from fused_names(modules, shapes)
    yield from original_names(modules, shapes)
