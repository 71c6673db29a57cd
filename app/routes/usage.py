"""Usage: what jobs that have ended used, by owner and day."""

from typing import Annotated

from fastapi import Query, Request
from pydantic import BaseModel, Field

from app.deps import ServiceDep, as_owner
from app.http.routing import Router
from app.shared.owners import FIRST, FIRST_SAID
from app.shared.usage import total
from app.shared.wire.usage import Amounts, UsageDay
from app.shared.wire.values import Day

router = Router(prefix="/v1/usage", tags=["usage"])
EVERYBODY = "*"


class UsageAnswer(BaseModel):
    """What was used, day by day, and the sum of these days."""

    days: list[UsageDay] = Field(description="the first one first; days on which no job ended are left out")
    total: Amounts


@router.get("")
def usage(
    asked: Request,
    service: ServiceDep,
    since: Annotated[Day | None, Query(description="the first day, as `2026-11-26`, in UTC")] = None,
    until: Annotated[Day | None, Query(description="the last day")] = None,
    owner: Annotated[
        str | None,
        Query(
            pattern=r"^(\*|([a-z0-9][a-z0-9-]{0,31})?)$",
            description="another's, or `*` for everybody's, with the scope `admin`",
        ),
    ] = None,
) -> UsageAnswer:
    """What the caller's jobs used that have ended, each counted once, also where it was deleted since."""
    whose = as_owner(service, asked, owner).asker
    if owner is not None:
        whose = {EVERYBODY: None, FIRST_SAID: FIRST}.get(owner, owner)
    days = service.usage.days(whose, since, until)
    return UsageAnswer(days=days, total=total(days))
