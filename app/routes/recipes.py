"""How a picture was made: what its file says, read by intake, as a request that can be sent."""

from typing import Annotated

from fastapi import Depends, Header, Request, Response, UploadFile
from starlette.concurrency import run_in_threadpool

from app.accepting.recipes import meant, meant_by_text
from app.deps import Service, ServiceDep
from app.http.receiving import at_once, judge_end, judge_size, known, later, settled, stage
from app.http.routing import Router, answers, or_json
from app.http.spool import Spooled
from app.routes.images import WaitingPicture
from app.shared.discretion import hide
from app.shared.errors import PictureRefused
from app.shared.wire.recipe import MeantRequest, RecipeText
from app.shared.wire.upload import Upload

router = Router(prefix="/v1/images", tags=["images"])


async def _unlogged(said: RecipeText) -> RecipeText:
    hide([said.parameters])
    return said


@router.post_json("/recipe")
def read_text(said: Annotated[RecipeText, Depends(_unlogged)], service: ServiceDep) -> MeantRequest:
    """Read an infotext without a file."""
    return meant_by_text(service, said.parameters)


@router.post(
    "/recipe",
    responses={202: {"model": WaitingPicture}, **answers({507: "There is no room for the file"})},
    openapi_extra=or_json(RecipeText),
)
async def read(
    file: UploadFile,
    service: ServiceDep,
    request: Request,
    prefer: Annotated[str | None, Header(description="`respond-async`: answer 202, wait for no reading")] = None,
) -> MeantRequest:
    """Read how a picture was made, and answer the request that it means: nothing is drawn, and nothing kept.

    PNG, WebP, JPEG or AVIF with a recipe of ours or an infotext (`parameters`) of A1111, SD.Next, Forge or Civitai in
    it; or JSON with the text alone. Adapters are found by their hashes among those that the caller may use. What the
    request does not say is in `unmatched`, each with a reason. 202 if reading takes longer.
    """
    assert isinstance(file, Spooled)
    try:
        if not file.size:
            raise PictureRefused("image_empty", "the file is empty; send the bytes of a picture")
        judge_size(file.size, service.settings.max_image_mb, "max_image_mb")
        staged = await stage(service, "recipe", file.path, file.sha256, file.size)
    finally:
        await file.close()
    found = staged if at_once(prefer) else await settled(service, staged.id, request.is_disconnected)
    return await run_in_threadpool(_outcome, service, found)


@router.get("/recipe/{upload_id}", responses={202: {"model": WaitingPicture}})
def reading(upload_id: str, service: ServiceDep) -> MeantRequest:
    """The outcome of a reading that took longer: 202 while it waits, then what the file means."""
    return _outcome(service, known(service, upload_id, "recipe"))


def _outcome(service: Service, upload: Upload) -> MeantRequest:
    """What a file means, or a 202 while it is read; raises PictureRefused."""
    judge_end(upload, PictureRefused)
    if upload.written is None:
        waiting: Response = later(WaitingPicture(id=upload.id, status=upload.status), f"/v1/images/recipe/{upload.id}")
        return waiting  # type: ignore[return-value]
    hide([upload.written.infotext])
    return meant(service, upload.written)
