"""A dataset that somebody sent, from its zip to pictures in storage: called in a process that may die."""

from datetime import datetime

from app.shared.datasets import Dataset, DatasetPicture, Datasets, dataset_of
from app.shared.discretion import hide
from app.shared.errors import DatasetRefused, PictureRefused
from app.shared.owners import FIRST
from app.shared.pictures import Pictures
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.dataset import MAX_NAME, MAX_PICTURES, DatasetReport, Unreadable
from app.shared.wire.picture import StoredPicture
from workers.dataset_archive import Archive, refuse, shown
from workers.dataset_layout import is_text, layout_of
from workers.decoding import decode

THUMBNAIL = (128, 128)


class ReceivedDatasets:
    """Keeps the pictures of datasets, and what is said of them."""

    def __init__(self, storage: Storage, pictures: Pictures, settings: Settings) -> None:
        self._storage = storage
        self._pictures = pictures
        self._settings = settings

    def keep(
        self,
        data: bytes,
        default_caption: str | None,
        unreadable: Unreadable,
        created_at: datetime,
        owner: str = FIRST,
    ) -> tuple[Dataset, bool]:
        """Keep a dataset; say whether it was new. Raises DatasetRefused with every file that is wrong."""
        archive = Archive(data, self._settings.max_dataset_mb, self._settings.max_image_mb)
        texts = {name: archive.read(name) for name in archive.names if is_text(name)}
        hide([default_caption])
        layout = layout_of(archive.names, texts, default_caption)
        hide([default_caption, *(one.caption for one in layout.pictures)])
        refuse(layout.wrong)
        if len(layout.pictures) > MAX_PICTURES:
            message = f"the dataset has {len(layout.pictures)} pictures; at most {MAX_PICTURES} are taken"
            raise DatasetRefused("dataset_too_large", message)
        if not layout.pictures and len(archive.names) == 1 and not texts:
            message = f"{shown(archive.names[0])} is neither a zip nor a picture; send a zip, or pictures with captions"
            raise DatasetRefused("dataset_not_readable", message)
        kept: dict[str, tuple[StoredPicture, str]] = {}
        wrong: dict[str, str] = {}
        for one in layout.pictures:
            try:
                kept[one.name] = self._kept(archive.read(one.name), owner)
            except PictureRefused as error:
                wrong[one.name] = error.message
        if unreadable == "refuse":
            refuse(wrong, "dataset_picture_unreadable")
        if not kept:
            message = "there is no picture in it that can be read; send PNG, JPEG, WebP or AVIF files with captions"
            raise DatasetRefused("dataset_empty", message)
        pictures = [
            DatasetPicture(
                ref=kept[one.name][0].ref,
                caption=one.caption,
                repeats=one.repeats,
                width=kept[one.name][0].width,
                height=kept[one.name][0].height,
                thumbnail=kept[one.name][1],
                name=one.name[-MAX_NAME:],
                source=one.source,
            )
            for one in layout.pictures
            if one.name in kept
        ]
        names: dict[str, list[str]] = {}
        for one in pictures:
            names.setdefault(one.ref, []).append(one.name)
        report = DatasetReport(
            orphaned=layout.orphaned,
            duplicates=[those for those in names.values() if len(those) > 1],
            unreadable=wrong,
            ignored=[*layout.ignored, *archive.left],
        )
        return Datasets(self._storage, owner).keep(dataset_of(pictures, report, created_at))

    def _kept(self, data: bytes, owner: str) -> tuple[StoredPicture, str]:
        image, _ = decode(data)
        small = image.copy()
        small.thumbnail(THUMBNAIL)
        return self._pictures.put(image, owner), self._pictures.put(small, owner).ref
