"""Datasets: pictures with captions that adapters are trained on."""

import zipfile
from hashlib import file_digest
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import Annotated

from fastapi import Depends, Form, Header, Query, Request, Response, UploadFile
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from app.accepting.foretelling import buckets_of
from app.accepting.generations import profile_of
from app.deps import Service, ServiceDep
from app.http import receiving
from app.http.faults import detail, fault, pointer, refusal
from app.http.receiving import at_once, judge_end, judge_size, known, later, settled, stage
from app.http.routing import UNKNOWN, Router, answers, or_json
from app.http.spool import Spooled
from app.shared.datasets import Dataset, DatasetPicture, dataset_of, sent_ref
from app.shared.discretion import hide
from app.shared.errors import Conflict, DatasetRefused, Newer, NotFound, Unreadable
from app.shared.lifecycle import now
from app.shared.text import no_control_characters
from app.shared.wire.dataset import DATASET_PATTERN, Caption, DatasetRef, DatasetSummary, Recaption
from app.shared.wire.dataset import Unreadable as WhatOfUnreadable
from app.shared.wire.source import DatasetSource
from app.shared.wire.upload import Upload, UploadStatus

router = Router(prefix="/v1/datasets", tags=["datasets"])

ZIP = b"PK"
SAME_TIME = (1980, 1, 1, 0, 0, 0)  # of every file that is packed here: the same files are the same bytes
RefPath = Annotated[str, PathParameter(pattern=DATASET_PATTERN)]


class WaitingDataset(BaseModel):
    """A dataset that waits to be read; its ref is good already."""

    id: str
    ref: DatasetRef | None = Field(description="null while it is fetched")
    source: str = Field("", description="where it is fetched from; empty for what was sent")
    fetched_bytes: int = Field(0, description="of what is fetched: bytes that are here")
    size_bytes: int = Field(description="0 while that is not known")
    status: UploadStatus


class DatasetList(BaseModel):
    """Every dataset, newest first."""

    datasets: list[DatasetSummary] = Field(description="without their pictures")


async def _fetched_unlogged(said: DatasetSource) -> DatasetSource:
    hide([said.default_caption])  # in the context of the whole request, which a thread's is a copy of
    return said


async def _recaptioned_unlogged(said: Recaption) -> Recaption:
    hide(said.captions.values())
    return said


@router.post_json("", status_code=202)
def fetch(said: Annotated[DatasetSource, Depends(_fetched_unlogged)], service: ServiceDep) -> Response:
    """Fetch the zip of a dataset from a hub or another host, and read it as one that is sent."""
    facts = {"default_caption": said.default_caption, "unreadable": said.unreadable}
    begun = receiving.fetch(service, "dataset", said.source, said.sha256, **facts)
    return _outcome(service, begun)  # type: ignore[return-value]


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": Dataset},
        202: {"model": WaitingDataset},
        **answers({507: "There is no room for the files"}),
    },
    openapi_extra=or_json(DatasetSource),
)
async def upload(
    file: list[UploadFile],
    service: ServiceDep,
    request: Request,
    response: Response,
    default_caption: Annotated[Caption | None, Form(description="of pictures that come without one")] = None,
    unreadable: Annotated[
        WhatOfUnreadable, Form(description="what becomes of a picture that cannot be read: the dataset is refused")
    ] = "refuse",
    prefer: Annotated[str | None, Header(description="`respond-async`: answer 202, wait for no reading")] = None,
) -> Dataset:
    """Send pictures with captions: 201 with ref and report, 200 if they were there, 202 if reading takes longer.

    A zip, or pictures and captions as one `file` each: 256 at most, each being a file on the
    API's disk while it is read; more of them go as one zip. Captions are `name.txt` beside `name.png`,
    `metadata.jsonl` or `metadata.csv` (`file_name`, `text`) in a folder, or the name of a folder `10_word`, which also
    says how often its pictures are seen in an epoch. Or JSON with a `source`, from which a zip is fetched. The ref is a
    hash of pixels, captions and repeats; that of a 202 stands for the same.
    """
    hide([default_caption])
    spooled = [one for one in file if isinstance(one, Spooled)]
    try:
        judge_size(sum(one.size or 0 for one in spooled), service.settings.max_dataset_mb, "max_dataset_mb")
        _judge_text(default_caption, "default_caption")
        with NamedTemporaryFile(prefix="radiata-dataset-") as packed:
            path, digest, size = await run_in_threadpool(_packed, spooled, Path(packed.name))
            ref = sent_ref(digest, default_caption, unreadable)
            if found := await run_in_threadpool(_known, service, ref):
                response.status_code = 200
                response.headers["Location"] = f"/v1/datasets/{found.ref}"
                return await run_in_threadpool(_bucketed, service, found)
            said = {"default_caption": default_caption, "unreadable": unreadable}
            staged = await stage(service, "dataset", path, digest, size, **said)
    finally:
        for one in spooled:
            await one.close()
    found = staged if at_once(prefer) else await settled(service, staged.id, request.is_disconnected)
    answer = await run_in_threadpool(_outcome, service, found)
    if isinstance(answer, Dataset):
        response.status_code = 201 if found.new else 200
        response.headers["Location"] = f"/v1/datasets/{answer.ref}"
    return answer


@router.get("/uploads/{upload_id}", responses={202: {"model": WaitingDataset}})
def upload_status(upload_id: str, service: ServiceDep) -> Dataset:
    """What a sent dataset came to: 202 while it waits, then the dataset, or 422 with the reasons."""
    return _outcome(service, known(service, upload_id, "dataset"))


@router.get("")
def datasets(service: ServiceDep) -> DatasetList:
    """Every dataset, newest first; one that cannot be read is left out."""
    found = []
    for ref in service.datasets.refs():
        try:
            one = service.datasets.get(ref)
        except (NotFound, Unreadable):
            continue
        facts = {"pictures": len(one.pictures), "captions": one.report.captions, "created_at": one.created_at}
        found.append(DatasetSummary(ref=one.ref, **facts))
    return DatasetList(datasets=sorted(found, key=lambda one: (one.created_at, one.ref), reverse=True))


@router.get("/{ref}", responses=answers(UNKNOWN))
def dataset(
    ref: RefPath,
    service: ServiceDep,
    model: Annotated[str | None, Query(description="of which `buckets` of the report tell; the default one")] = None,
) -> Dataset:
    """One dataset with its pictures and report; pictures and thumbnails are at `/v1/images/{ref}`."""
    return _bucketed(service, service.datasets.get(ref), model)


@router.patch("/{ref}", status_code=201, responses={200: {"model": Dataset}})
def recaption(
    ref: RefPath,
    said: Annotated[Recaption, Depends(_recaptioned_unlogged)],
    service: ServiceDep,
    response: Response,
) -> Dataset:
    """Give pictures other captions: answers with the dataset that this makes, under its own ref; this one stays."""
    old = service.datasets.get(ref)
    for picture, caption in said.captions.items():
        _judge_text(caption, "captions", picture)
    if unknown := sorted(said.captions.keys() - {one.ref for one in old.pictures}):
        faults = [
            fault(pointer(["captions", one]), "image_unknown", "this dataset has no such picture") for one in unknown
        ]
        message = detail(faults)
        raise NotFound("image_unknown", message, reasons=faults)

    def edited(one: DatasetPicture) -> DatasetPicture:
        new = {"caption": said.captions[one.ref].strip(), "source": "edited"} if one.ref in said.captions else {}
        return one.model_copy(update=new)

    kept, new = service.datasets.keep(dataset_of([edited(one) for one in old.pictures], old.report, now()))
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/v1/datasets/{kept.ref}"
    return _bucketed(service, kept)


@router.delete("/{ref}", status_code=204, responses=answers({409: "A training that has not ended needs it"}))
def delete(ref: RefPath, service: ServiceDep) -> None:
    """Delete a dataset that no waiting or running training needs. Its pictures stay: others, and recipes, name them."""
    found = _known(service, ref)
    needed = {ref, found.ref if found else ref}
    _judge_needed(service, needed)
    service.datasets.delete(ref)
    try:
        _judge_needed(service, needed)
    except Conflict:  # it was accepted between the two; one that is accepted later looks itself
        if found:
            service.datasets.keep(found)
        raise


def _judge_needed(service: Service, refs: set[str]) -> None:
    for one in service.trainings.living():
        if one.request.dataset in refs:
            message = f"training {one.id} ({one.request.name}) needs this dataset; cancel it, or wait for its end"
            raise Conflict("dataset_needed", message)


def _bucketed(service: Service, dataset: Dataset, model: str | None = None) -> Dataset:
    """A dataset whose report tells at which sizes a model is trained on it; none that is ready: as it is stored."""
    if model:
        profile = profile_of(service, model)
    else:
        try:
            profile = service.profiles.found(service.settings.model)
        except Unreadable:
            profile = None
    found = buckets_of(dataset.pictures, profile, None) if profile else []
    buckets = {f"{one.width}×{one.height}": one.pictures for one in found}
    return dataset.model_copy(update={"report": dataset.report.model_copy(update={"buckets": buckets})})


def _packed(files: list[Spooled], into: Path) -> tuple[Path, str, int]:
    """Return the file of a zip, its hash and its size: the one that was sent, or one of the files that were."""
    if not any(one.size for one in files):
        raise DatasetRefused("dataset_empty", "nothing was sent; send a zip, or pictures with captions")
    if len(files) == 1:
        with files[0].path.open("rb") as sent:
            if sent.read(len(ZIP)) == ZIP:
                return files[0].path, files[0].sha256, files[0].size or 0
    names = [one.filename or "" for one in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"two files are called {twice[0]!r}; give each its own name, with its folder if need be"
        raise DatasetRefused("dataset_refused", message)
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as archive:
        for one in sorted(files, key=lambda one: one.filename or ""):
            member = zipfile.ZipInfo(one.filename or "", SAME_TIME)
            with one.path.open("rb") as sent, archive.open(member, "w") as packed:
                copyfileobj(sent, packed)
    with into.open("rb") as written:
        return into, file_digest(written, "sha256").hexdigest(), into.stat().st_size


def _judge_text(text: str | None, *place: str) -> None:
    try:
        no_control_characters(text or "")
    except ValueError as error:
        raise refusal(place, "control_characters", str(error)) from error


def _known(service: Service, ref: DatasetRef) -> Dataset | None:
    try:
        return service.datasets.get(ref)
    except Newer:
        raise
    except (NotFound, Unreadable):  # reading the bytes again mends what cannot be read
        return None


def _outcome(service: Service, upload: Upload) -> Dataset:
    """The dataset, or a 202 while it is read; raises DatasetRefused."""
    judge_end(upload, DatasetRefused)
    if upload.dataset is None:
        ref = sent_ref(upload.sha256, upload.default_caption, upload.unreadable) if upload.sha256 else None
        facts = {"source": upload.source, "fetched_bytes": upload.fetched_bytes, "size_bytes": upload.size_bytes}
        waiting = WaitingDataset(id=upload.id, ref=ref, status=upload.status, **facts)
        return later(waiting, f"/v1/datasets/uploads/{upload.id}")  # type: ignore[return-value]
    return _bucketed(service, service.datasets.get(upload.dataset))
