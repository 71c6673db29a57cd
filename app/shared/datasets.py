"""Datasets: pictures with captions, stored under the hash of their content; their pixels are where every picture is.

So a ref means the same pixels and words for ever, whatever the files were called and whenever they were sent: who
changes a caption makes another dataset.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256

from app.shared.errors import DatasetRefused, Newer, NotFound
from app.shared.errors import Unreadable as UnreadableRecord
from app.shared.owners import FIRST
from app.shared.records import DATASET, SENT
from app.shared.storage import Storage
from app.shared.wire.dataset import (
    DATASET_PREFIX,
    MAX_REPEATS,
    Dataset,
    DatasetPicture,
    DatasetRef,
    DatasetReport,
    SentDataset,
    Unreadable,
)

__all__ = ["Dataset", "DatasetPicture", "DatasetRef", "Datasets", "dataset_key", "dataset_of"]

NAMED = 20  # pictures that a refusal names


def dataset_key(ref: DatasetRef, owner: str = FIRST) -> str:
    """Where the record of a dataset of an owner is stored."""
    return f"{_folder('datasets', owner)}/{ref.removeprefix(DATASET_PREFIX)}.json"


def sent_ref(file_sha256: str, default_caption: str | None, unreadable: Unreadable) -> DatasetRef:
    """Return the ref that is good for a dataset from when it is sent: of the bytes, and of what is said with them.

    Its own ref is of decoded pixels, which nobody knows yet. `Datasets` knows a dataset by both.
    """
    said = json.dumps([file_sha256, default_caption, unreadable])
    return DATASET_PREFIX + sha256(said.encode()).hexdigest()


def dataset_of(pictures: Sequence[DatasetPicture], report: DatasetReport, created_at: datetime) -> Dataset:
    """Return the dataset of these pictures, in its own order; those with the same pixels and caption are one.

    Such a one is seen as often as all of them together; raises DatasetRefused where that is more than MAX_REPEATS.

    report: what was found but is not in the pictures; what is in them is added to it.
    """
    merged: dict[tuple[str, bool, str], DatasetPicture] = {}
    for one in pictures:
        key = one.ref, one.caption is not None, one.caption or ""
        before = merged.get(key)
        merged[key] = before.model_copy(update={"repeats": before.repeats + one.repeats}) if before else one
    ordered = tuple(merged[key] for key in sorted(merged))
    _judge_repeats(ordered)
    content = [[one.ref, one.caption, one.repeats] for one in ordered]
    digest = sha256(json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()
    return Dataset(
        ref=DATASET_PREFIX + digest,
        pictures=ordered,
        report=report_of(report, pictures, ordered),
        created_at=created_at,
    )


def report_of(
    report: DatasetReport, pictures: Sequence[DatasetPicture], entries: Sequence[DatasetPicture]
) -> DatasetReport:
    """Return a report with what is in the pictures; entries: what they are once equal ones are one."""
    facts = {
        "pictures": len(entries),
        "captions": dict(Counter(one.source for one in entries)),
        "missing": [one.name for one in pictures if one.caption is None],
        "empty": [one.name for one in pictures if one.caption == ""],
        "sizes": dict(Counter(f"{one.width}×{one.height}" for one in entries)),
    }
    return report.model_copy(update=facts)


def _judge_repeats(entries: Sequence[DatasetPicture]) -> None:
    over = [one for one in entries if one.repeats > MAX_REPEATS]
    if over:
        told = [
            f"{one.name or one.ref!r} is seen {one.repeats} times an epoch, all files with its pixels and caption "
            f"together; at most {MAX_REPEATS}"
            for one in over
        ]
        more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
        reasons = [{"pointer": "", "code": "dataset_refused", "message": one, "allowed": None} for one in told[:NAMED]]
        raise DatasetRefused("dataset_refused", "; ".join(told[:3]) + more, reasons=reasons)


class Datasets:
    """Keeps the datasets of an owner by their content. Raises Unavailable as storage does."""

    def __init__(self, storage: Storage, owner: str = FIRST) -> None:
        self._storage = storage
        self._owner = owner

    def get(self, ref: DatasetRef) -> Dataset:
        """Return a dataset; raise NotFound (`dataset_unknown`) or Unreadable."""
        found = DATASET.get(self._storage, dataset_key(ref, self._owner))
        if found is None and (sent := SENT.get(self._storage, _sent_key(ref, self._owner))):
            found = DATASET.get(self._storage, dataset_key(sent.ref, self._owner))
        if found is None:
            raise NotFound(
                "dataset_unknown", f"there is no dataset {ref!r} here; `POST /v1/datasets` gives the ref of one"
            )
        return found

    def keep(self, dataset: Dataset) -> tuple[Dataset, bool]:
        """Keep a dataset unless it is there and can be read; return what is there now, and whether it was new.

        Raises Newer.
        """
        key = dataset_key(dataset.ref, self._owner)
        if self._storage.create(key, DATASET.write(dataset)):
            return dataset, True
        if known := DATASET.replaced(self._storage, key):
            return known, False
        self._storage.put(key, DATASET.write(dataset))  # the same content by its ref, so nothing else is lost
        return dataset, True

    def note(self, sent: DatasetRef, ref: DatasetRef) -> None:
        """Have a dataset known by the ref that was given when it was sent, too."""
        self._storage.put(_sent_key(sent, self._owner), SENT.write(SentDataset(ref=ref)))

    def delete(self, ref: DatasetRef) -> None:
        """Delete the record of a dataset, whether or not it can be read; its pictures stay, for others may have them.

        Raises NotFound and Newer.
        """
        try:
            key = dataset_key(self.get(ref).ref, self._owner)
        except Newer:
            raise
        except UnreadableRecord as error:
            key = error.key
        self._storage.delete(key)

    def refs(self) -> Iterator[DatasetRef]:
        """Yield the ref of every dataset, in no order."""
        for key in self._storage.keys(_folder("datasets", self._owner)):
            match = DATASET.keys.fullmatch(key)
            if match and key == dataset_key(DATASET_PREFIX + match[1], self._owner):
                yield DATASET_PREFIX + match[1]


def _sent_key(ref: DatasetRef, owner: str) -> str:
    return f"{_folder('datasets/sent', owner)}/{ref.removeprefix(DATASET_PREFIX)}.json"


def _folder(folder: str, owner: str) -> str:
    # A record says more than the hash of its ref: names of files, and when it was sent
    return f"{folder}/@{owner}" if owner else folder
