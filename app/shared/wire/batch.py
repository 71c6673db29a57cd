"""Several requests on the wire, accepted together."""

from pydantic import Field

from app.shared.wire.generation import Generation, GenerationRequest
from app.shared.wire.values import Wire

MOST_REQUESTS = 100


class Batch(Wire):
    """Requests that are accepted all or none."""

    requests: list[GenerationRequest] = Field(
        min_length=1, max_length=MOST_REQUESTS, description="each as `POST /v1/generations` takes one, in their order"
    )


class AcceptedBatch(Wire):
    """What was made of the requests of a batch, in their order."""

    generations: list[Generation]
