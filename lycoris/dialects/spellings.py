"""Under which names files call a module of a live model. Names are only ever made from the model's own paths.

This is where other schemes for the same modules join (LDM/SGM, BFL): each a row of SPELLINGS.
"""

from collections.abc import Callable, Iterator

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


def text_encoder(component: str, path: str) -> Iterator[str]:
    """Yield the other spelling of a CLIP module: with `text_model.` if the model has none, and without it if it has."""
    if component.startswith("text_encoder"):
        yield path.removeprefix(CLIP) if path.startswith(CLIP) else CLIP + path


SPELLINGS: tuple[Callable[[str, str], Iterator[str]], ...] = (own_path, without_container, text_encoder)


def spellings(component: str, path: str) -> set[str]:
    """Return every name, dotted and flattened, under which a file may mean this module of this component."""
    dotted = {name for spelling in SPELLINGS for name in spelling(component, path)}
    return dotted | {name.replace(".", "_") for name in dotted}
