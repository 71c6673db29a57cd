"""Under which names files call the modules of a live model. Names are only ever made from the model's own paths."""

import re
from collections.abc import Callable, Collection, Iterator

from lycoris.dialects.fused import fused_names
from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.original import Shapes, native_names
from lycoris.dialects.row_slice import Part

CLIP = "text_model."  # transformers 5.6 dropped this level from CLIPTextModel, but not from its sibling with projection

# How deep a language model's layers lie depends on what is wrapped around it, and on transformers' version
DEPTHS = ("", "model.", "language_model.", "language_model.model.", "model.language_model.")
_LANGUAGE = re.compile(rf"(?:{'|'.join(map(re.escape, DEPTHS))})(?P<inner>layers\.\d+\..+)")


def own_path(component: str, path: str) -> Iterator[str]:
    """Yield the path as the model has it."""
    del component
    yield path


def without_container(component: str, path: str) -> Iterator[str]:
    """Yield `to_out` for `to_out.0`: early diffusers files speak of the projection, not of the list it is in."""
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
    if component.startswith("text_encoder"):
        yield path.removeprefix(CLIP) if path.startswith(CLIP) else CLIP + path


def language_model(component: str, path: str) -> Iterator[str]:
    """Yield a layer of a language model as if it lay at every other depth: Qwen, Gemma, Llama read prompts too."""
    found = _LANGUAGE.fullmatch(path) if component.startswith("text_encoder") else None
    if found:
        yield from (spelling for depth in DEPTHS if (spelling := depth + found["inner"]) != path)


SPELLINGS: tuple[Callable[[str, str], Iterator[str]], ...] = (
    own_path,
    without_container,
    cut_short,
    text_encoder,
    language_model,
)


def names(component: str, modules: Collection[str], shapes: Shapes) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Yield every dotted name under which a file may mean something of this component, and the parts that it means."""
    for path in modules:
        for spelling in SPELLINGS:
            for name in spelling(component, path):
                yield name, (Part(path),)
    for name, path in ldm_names(modules):
        yield name, (Part(path),)
    yield from fused_names(modules, shapes)
    yield from native_names(modules, shapes)
