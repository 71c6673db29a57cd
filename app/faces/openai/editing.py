"""The form of `POST /images/edits`: its pictures received, its text read as the JSON of generations would say it."""

import asyncio
import re
from typing import Any, Literal

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from app.accepting.generations import profile_of
from app.deps import Service
from app.faces.adapter_shapes import of_model
from app.faces.flattened import is_flattened, nested
from app.faces.judged import judged
from app.faces.openai.request import ImageRequest, translated
from app.http.faults import refusal
from app.http.forms import Form, read_form
from app.http.receiving import judge_end, judge_size, settled, stage
from app.http.spool import Spooled
from app.shared.errors import PictureRefused, Unavailable
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.picture import Fit
from app.shared.wire.upload import UploadKind
from app.shared.wire.values import Number

ONE, LIST, MASK, MARKUP = "image", "image[]", "mask", "markup"
SHAPES = ("adapters", "lora", "loras")
TEXTS = ("prompt", "negative_prompt", "user", "safety_identifier", "size", "model", *SHAPES)
PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")


class EditRequest(ImageRequest):
    """What such a form says beside its pictures."""

    input_fidelity: Literal["low", "high"] | None = None
    # By `extra_body`
    denoise: Number | None = None
    fit: Fit = "crop"


FORM = Form(
    texts=frozenset(EditRequest.model_fields),
    files=frozenset((ONE, LIST, MASK, MARKUP)),
    lists=frozenset((ONE, LIST)),
    also=lambda name: is_flattened(name, SHAPES),
)


async def read(service: Service, request: Request) -> tuple[EditRequest, GenerationRequest]:
    """Return what was sent, and the request that it means; raise BadRequest, Unavailable and what forms raise."""
    sent = await read_form(request, FORM)
    try:
        asked = _asked(sent)
        if MARKUP in sent:
            message = "no base here reads a picture with marks on it; say in the mask what is to be drawn anew"
            raise refusal([MARKUP], "not_obeyed", message)
        meant = translated(asked)  # so that nothing is decoded for a request that is refused anyway
        files: list[Any] = [*sent.getlist(ONE), *sent.getlist(LIST)]
        if not files:
            raise refusal([ONE], "missing", "there is no image; send the picture that is to be changed")
        uses = "reference_images" if await run_in_threadpool(_edits, service, asked, MASK in sent) else "init_image"
        if uses == "init_image" and len(files) > 1:
            message = f"{meant.model or 'this base'!r} begins from one picture; send one image"
            raise refusal([ONE], "too_many_pictures", message, {"maxItems": 1})
        refs = await asyncio.gather(*(_received(service, request, ONE, file) for file in files))
        mask = await _received(service, request, MASK, sent[MASK], "mask") if MASK in sent else None
    finally:
        await sent.close()
    if uses == "reference_images":
        pictures: dict[str, Any] = {"reference_images": list(refs), "denoise": asked.denoise}
    else:
        pictures = {"init_image": refs[0], "mask_image": mask, "denoise": asked.denoise, "fit": asked.fit}
    said = meant.model_dump(exclude_unset=True) | {key: one for key, one in pictures.items() if one is not None}
    return asked, judged(GenerationRequest, said)


def _asked(sent: FormData) -> EditRequest:
    texts = [(name, str(text)) for name, text in sent.multi_items() if name not in FORM.files]
    said: dict[str, Any] = {name: _value(name, text) for name, text in texts if "[" not in name}
    parts = nested((name, text) for name, text in texts if "[" in name)
    for name in parts.keys() & said.keys():
        raise refusal([name], "said_twice", f"{name} is said twice, in two shapes; say it once")
    return judged(EditRequest, said | parts)


def _value(name: str, text: str) -> Any:
    if name in TEXTS or name not in EditRequest.model_fields:
        return text
    if text in ("true", "false"):
        return text == "true"
    found = PLAIN.fullmatch(text)
    return text if not found else float(text) if found[2] else int(text)


def _edits(service: Service, asked: EditRequest, masked: bool) -> bool:
    """Whether the base changes pictures that it is shown, rather than drawing over one."""
    profile = profile_of(service, of_model(asked.model)[0] if asked.model else None)
    return bool(profile.obeys.get("reference_images")) and not masked


async def _received(service: Service, request: Request, field: str, file: Any, kind: UploadKind = "picture") -> str:
    """Return the ref of a picture that was sent."""
    assert isinstance(file, Spooled)
    try:
        judge_size(file.size or 0, service.settings.max_image_mb, "max_image_mb")
        staged = await stage(service, kind, file.path, file.sha256, file.size or 0)
        upload = await settled(service, staged.id, request.is_disconnected)
        judge_end(upload, PictureRefused)
    except PictureRefused as error:
        raise refusal([field], error.code, error.message) from error
    if upload.picture is None:
        raise Unavailable("image_not_decoded", "the picture is not decoded yet; ask again in a moment")
    return upload.picture.ref
