"""Under which names files call the modules of a live model. Names are only ever made from the model's own paths."""

from collections.abc import Callable, Collection, Iterator

from lycoris.dialects.ldm import ldm_names
from lycoris.dialects.native import Shapes, native_names
from lycoris.dialects.part import Part

CLIP = "text_model."  # transformers 5.6 dropped this level from CLIPTextModel, but not from its sibling with projection


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


SPELLINGS: tuple[Callable[[str, str], Iterator[str]], ...] = (own_path, without_container, cut_short, text_encoder)


def names(component: str, modules: Collection[str], shapes: Shapes) -> Iterator[tuple[str, tuple[Part, ...]]]:
    """Yield every dotted name under which a file may mean something of this component, and the parts that it means."""
    for path in modules:
        for spelling in SPELLINGS:
            for name in spelling(component, path):
                yield name, (Part(path),)
    for name, path in ldm_names(modules):
        yield name, (Part(path),)
    yield from native_names(modules, shapes)
