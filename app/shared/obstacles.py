"""What hinders a way of applying adapters, in few words: acceptance and the engine say it alike."""

from collections.abc import Iterable

NAMED = 3  # layers that are named of those that one thing hinders, and things


def told(obstacles: Iterable[tuple[str, str]]) -> str:
    """Return what hinders which layers; obstacles: (layer, why)."""
    layers: dict[str, dict[str, None]] = {}
    for layer, why in obstacles:
        layers.setdefault(why, {})[layer] = None
    shown = [f"{_few([*names], ', ')}: {why}" for why, names in layers.items()]
    return _few(shown, "; ")


def _few(words: list[str], between: str) -> str:
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return between.join(words[:NAMED]) + more
