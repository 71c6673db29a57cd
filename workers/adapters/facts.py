"""What acceptance has to know of an adapter: found by intake, from the file and what a base's worker wrote down."""

from app.shared.facts import BaseSites, Fitting, Word
from app.shared.profiles import Shapes
from lycoris import Adapter, Bypass, Index, StackEntry, StackRefused, first_ranks, folded_trigger, positions, resolve
from workers.drawing.textual_inversion import encoders_of, length_of


def ranked(adapter: Adapter) -> bool:
    """Whether the first ranks of an adapter can be applied alone, for any number of them."""
    try:
        first_ranks(adapter, 1)
    except StackRefused:
        return False
    return True


def fitting(adapter: Adapter, shapes: Shapes, index: Index, base: BaseSites) -> Fitting:
    """Return how an adapter lies on a base of these shapes, on which it has a place; index: of the same shapes."""
    why = {one.subject: one.message for one in Bypass.of_sites(base.sites, index).obstacles([StackEntry(adapter)])}
    places: dict[str, dict[str, str]] = {}
    fixed: dict[str, dict[str, str]] = {}
    unmergeable: dict[str, dict[str, str]] = {}
    placeless: dict[str, dict[str, str]] = {}
    for target in resolve(adapter, index).targets:
        obstacle = why.get(f"{target.component}.{target.parameter}", "")
        found = places.setdefault(target.component, {})
        first = target.first_parameter  # by which it is in a block or not
        found[first] = found.get(first) or obstacle
        for into, hindered in ((fixed, base.fixed), (unmergeable, base.unmergeable)):
            known = hindered.get(target.component, {})
            if reasons := [known[name] for _, name in target.keys if name in known]:
                into.setdefault(target.component, {})[first] = reasons[0]
        if any(positions(target.component, name.rpartition(".")[0]) != "picture" for _, name in target.keys):
            placeless.setdefault(target.component, {})[first] = "has no positions in the picture"
    encoders = encoders_of(shapes)
    words = {}
    for trigger, vectors in adapter.embeddings.items():
        lengths = {encoders[role].component: length_of(rows) for role, rows in vectors.items() if role in encoders}
        words[trigger] = Word(folded=folded_trigger(trigger), vectors=lengths)
    return Fitting(places=places, words=words, fixed=fixed, unmergeable=unmergeable, placeless=placeless)
