"""Datasets in storage: named by pixels, captions and repeats alone."""

import pytest

from app.shared.datasets import Datasets, dataset_key, dataset_of
from app.shared.errors import DatasetRefused, Newer, NotFound, Unreadable
from app.shared.lifecycle import now
from app.shared.storage import Storage
from app.shared.wire.dataset import MAX_REPEATS, Dataset, DatasetPicture, DatasetReport


def picture(number: int, caption: str | None = "a cat", repeats: int = 1, name: str = "") -> DatasetPicture:
    return DatasetPicture(
        ref=f"image:{number:064x}", caption=caption, repeats=repeats, width=64, height=64, name=name or f"{number}.png"
    )


def made(*pictures: DatasetPicture) -> Dataset:
    return dataset_of(pictures, DatasetReport(), now())


def test_the_ref_is_of_content_alone() -> None:
    plain = made(picture(1), picture(2))
    assert made(picture(2, name="other/name.webp"), picture(1)).ref == plain.ref, "neither order nor names count"
    others = [made(picture(1)), made(picture(1), picture(2, "a dog")), made(picture(1), picture(2, repeats=2))]
    others += [made(picture(1), picture(2, None)), made(picture(1), picture(2, ""))]
    assert len({one.ref for one in [plain, *others]}) == len(others) + 1


def test_equal_pictures_are_one_that_is_seen_as_often() -> None:
    both = made(picture(1, repeats=2, name="a.png"), picture(1, repeats=3, name="b.png"), picture(1, "a dog"))
    assert [(one.caption, one.repeats) for one in both.pictures] == [("a cat", 5), ("a dog", 1)]
    assert both.ref == made(picture(1, "a dog"), picture(1, repeats=5)).ref


def test_it_is_kept_once_and_found_by_its_ref(storage: Storage) -> None:
    datasets, first = Datasets(storage), made(picture(1), picture(2, None))
    assert datasets.keep(first) == (first, True)
    assert datasets.keep(made(picture(2, None), picture(1))) == (first, False)
    assert (datasets.get(first.ref), list(datasets.refs())) == (first, [first.ref])
    datasets.delete(first.ref)
    for again in (datasets.get, datasets.delete):
        with pytest.raises(NotFound, match="POST /v1/datasets"):
            again(first.ref)


def test_what_nobody_could_read_again_is_not_made() -> None:
    half = MAX_REPEATS // 2
    assert made(picture(1, repeats=half), picture(1, repeats=half)).pictures[0].repeats == MAX_REPEATS
    with pytest.raises(DatasetRefused, match=r"'1\.png' is seen 10001 times an epoch.*at most 10000"):
        made(picture(1, repeats=half + 1), picture(1, repeats=half))


def test_a_report_says_what_is_in_the_pictures() -> None:
    report = made(picture(1, name="a.png"), picture(1, name="b.png"), picture(2, None), picture(3, "")).report
    assert (report.pictures, report.sizes, report.captions) == (3, {"64×64": 3}, {"file": 3})
    assert (report.missing, report.empty) == (["2.png"], ["3.png"])


def test_a_record_that_cannot_be_read_can_be_kept_again_and_deleted(storage: Storage) -> None:
    datasets, first = Datasets(storage), made(picture(1))
    key = dataset_key(first.ref)
    storage.put(key, b"")
    with pytest.raises(Unreadable):
        datasets.get(first.ref)
    assert datasets.keep(first) == (first, True) and datasets.get(first.ref) == first
    storage.put(key, b"{")
    datasets.delete(first.ref)
    assert list(datasets.refs()) == []
    storage.put(key, b'{"format": 99}')
    for newer in (lambda: datasets.keep(first), lambda: datasets.delete(first.ref)):
        with pytest.raises(Newer):
            newer()
    assert storage.get(key) == b'{"format": 99}'
