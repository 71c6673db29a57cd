"""A worker serves what needs no other models for its maps than it has, and nothing else."""

from itertools import product

import pytest

from app.shared.preprocessing import Models, chosen, digest, served

ONE, OTHER = "1" * 64, "2" * 64
EVERY: list[Models] = [
    {kind: models for kind, models in (("depth", depth), ("pose", pose)) if models is not None}
    for depth, pose in product([None, [], [ONE], [OTHER]], [None, [], [ONE, OTHER], [OTHER, ONE]])
]


@pytest.mark.parametrize("had", EVERY)
def test_what_is_served_is_what_is_had_or_any_of_its_kind(had: Models) -> None:
    serves = {"", *served(had)}
    for needed in EVERY:
        has_all = all(kind in had and (not models or models == had[kind]) for kind, models in needed.items())
        assert (digest(needed) in serves) == has_all, needed


def test_each_need_has_a_name_of_its_own() -> None:
    assert len({digest(one) for one in EVERY}) == len(EVERY) and digest({}) == ""
    assert digest({"depth": [ONE], "pose": []}) == digest({"pose": [], "depth": [ONE]})


@pytest.mark.parametrize("kinds", [{"depth"}, {"pose"}, {"depth", "pose"}])
def test_what_is_chosen_is_had_whole_by_one_and_does_not_depend_on_who_is_named_first(kinds: set[str]) -> None:
    for makers in product(EVERY, repeat=2):
        for published in EVERY:
            found = chosen(kinds, makers, published)
            assert found == chosen(kinds, makers[::-1], published)
            able = [one for one in makers if kinds <= one.keys()]
            assert (found is None) == (not able)
            if found is not None:
                assert found.keys() == kinds and any(digest(found) in served(one) for one in able)
                whole = [one for one in able if all(one[kind] for kind in kinds)]
                assert not whole or all(found.values()), "what is on a machine goes first"
                if any(all(one[kind] == published.get(kind) != [] for kind in kinds) for one in able):
                    assert found == {kind: published[kind] for kind in kinds}
