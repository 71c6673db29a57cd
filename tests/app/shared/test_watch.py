"""A look at what changes, by a clock that the test sets."""

from app.shared.watch import Watch


def test_silence_is_what_did_not_change() -> None:
    now = [0.0]
    watch = Watch[str](3, lambda: now[0])
    assert watch.silent({"a": 1, "b": None}, 8) == []
    for second in (3, 6):
        now[0] = second
        assert watch.silent({"a": 1, "b": second}, 8) == []
    now[0] = 9
    assert watch.silent({"a": 1, "b": 9, "c": 0}, 8) == ["a"]
    now[0] = 12
    assert watch.silent({"a": 2, "b": 9}, 8) == [], "one that speaks again is not silent"


def test_an_outage_is_nobodys_silence() -> None:
    """However long nobody could look: only so much is added by one look, and whoever lives speaks before the next."""
    now = [0.0]
    watch = Watch[str](3, lambda: now[0])
    watch.silent({"lives": 1, "dead": 1}, 8)
    now[0] = 600
    assert watch.silent({"lives": 1, "dead": 1}, 8) == []
    for second in (603, 606):
        now[0] = second
        found = watch.silent({"lives": second, "dead": 1}, 8)
    assert found == ["dead"]
