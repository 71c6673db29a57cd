"""Webhooks: what was told to whom, and what was not; each of it once more."""

from typing import Annotated

from fastapi import Path as PathParameter
from fastapi import Query, Response
from pydantic import BaseModel, Field

from app.deps import ServiceDep
from app.http.routing import Router
from app.shared.webhooks import webhook_secret
from app.shared.wire.values import Limit
from app.shared.wire.webhook import Delivery

router = Router(prefix="/v1/webhooks", tags=["webhooks"])


class DeliveryList(BaseModel):
    """Deliveries, those first of which something was written last."""

    deliveries: list[Delivery]


@router.get("")
def deliveries(service: ServiceDep, limit: Annotated[Limit, Query()] = 50) -> DeliveryList:
    """The newest deliveries, made or not; what was made is kept for a week."""
    return DeliveryList(deliveries=service.webhooks.list(limit))


class Secret(BaseModel):
    """What messages are signed with."""

    secret: str = Field(description="`whsec_…`, for any library of Standard Webhooks")


@router.get("/secret")
def secret(service: ServiceDep, response: Response) -> Secret:
    """What the caller's webhooks are signed with, to be given to who receives them; each owner has another."""
    response.headers["Cache-Control"] = "no-store"
    return Secret(secret=webhook_secret(service.signer, service.settings, service.owner))


@router.post("/{generation_id}/redeliver", status_code=202)
def redeliver(generation_id: Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")], service: ServiceDep) -> Delivery:
    """Tell of a generation's end once more, now, with the same `webhook-id`; tried as long as at first."""
    delivery = service.webhooks.again(generation_id)
    service.courier.wake()
    return delivery
