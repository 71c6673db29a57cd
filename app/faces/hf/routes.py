"""`/hf` and `/hf/models/{model}`: one picture a call, answered as its bytes."""

from fastapi import Request, Response

from app.accepting.fast_acceptance import accept
from app.deps import Service, ServiceDep
from app.faces.hf.request import NO_PROMPT, InferenceRequest, translated
from app.faces.pictures import file_of
from app.faces.waiting import drawn
from app.http.faults import refusal
from app.http.routing import Router
from app.routes.images import KINDS
from app.shared.discretion import hide

router = Router(prefix="/hf", include_in_schema=False)


@router.post_json("")
async def draw(body: InferenceRequest, service: ServiceDep, request: Request) -> Response:
    """Draw with the default model."""
    return await _answer(body, None, service, request)


@router.post_json("/models/{model:path}")
async def draw_with(model: str, body: InferenceRequest, service: ServiceDep, request: Request) -> Response:
    """Draw with a model, or with adapters on one (`base:a@0.8+b`)."""
    return await _answer(body, model, service, request)


@router.post("")
@router.post("/models/{model:path}")
def no_json() -> Response:
    """What is no JSON is a picture alone: the client sends it so where nothing stands beside it."""
    raise refusal(["prompt"], "missing", NO_PROMPT)


async def _answer(body: InferenceRequest, model: str | None, service: Service, request: Request) -> Response:
    """Draw, and answer once it is drawn; whoever goes away has it canceled."""
    said = body.parameters
    hide([said.prompt if said.prompt is not None else body.inputs, said.negative_prompt])
    kinds = ",".join(request.headers.getlist("accept"))  # the client adds its own to whatever it is given
    generation = await accept(service, translated(body, model, kinds))
    ended = await drawn(service, generation, request.is_disconnected)
    data = await file_of(service, ended, 0)
    return Response(data, media_type=KINDS[ended.request.output_format], headers={"X-Seed": str(ended.images[0].seed)})
