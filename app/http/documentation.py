"""The API's documentation (OpenAPI) as it is served: FastAPI's, and the problems that it knows nothing of."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from app.shared.wire.generation import Generation
from app.shared.wire.recipe import RecipeText
from app.shared.wire.source import AdapterSource, DatasetSource

REFERENCES = "#/components/schemas/{model}"


class Fault(BaseModel):
    """One thing that is wrong with a request, or with an uploaded file."""

    pointer: str = Field(
        description="where: RFC 6901 into the body, a form's fields being those of an object, empty for all of it; "
        "outside of the body it begins with `/query/`, `/header/` or `/path/`"
    )
    code: str
    message: str
    allowed: list[Any] | dict[str, Any] | None = Field(
        description="what may stand there: the values, or limits in JSON Schema's words; null where neither tells"
    )
    field: str | None = Field(None, description="the same place with dots, as version 0.1 had it", deprecated=True)
    subject: str | None = Field(None, description="the tensor, module or component of a file that it is about")


class Problem(BaseModel):
    """An error as `application/problem+json` (RFC 9457) with a stable `code`."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    errors: list[Fault] = Field([], description="every place that is wrong; never empty where the status is 4xx")
    generation: Generation | None = Field(None, description="of `already_ended` alone: the generation as it ended")


def documented(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app; made once."""
    if app.openapi_schema is None:
        FastAPI.openapi(app)
        assert app.openapi_schema is not None
        shown = [(Fault, "serialization"), (Problem, "serialization")]
        shown += [
            (AdapterSource, "validation"),
            (DatasetSource, "validation"),
            (RecipeText, "validation"),
        ]  # of `or_json`
        _, schemas = models_json_schema(shown, ref_template=REFERENCES)
        components = app.openapi_schema.setdefault("components", {}).setdefault("schemas", {})
        components.update(schemas["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            components.pop(unused, None)
    return app.openapi_schema
