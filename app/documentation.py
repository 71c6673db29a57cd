"""The API's documentation (OpenAPI) as it is served: FastAPI's, and the problems that it knows nothing of."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from app.shared.schema import Fault, Problem

REFERENCES = "#/components/schemas/{model}"


def documented(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app; made once."""
    if app.openapi_schema is None:
        FastAPI.openapi(app)
        assert app.openapi_schema is not None
        _, schemas = models_json_schema([(Fault, "serialization"), (Problem, "serialization")], ref_template=REFERENCES)
        components = app.openapi_schema.setdefault("components", {}).setdefault("schemas", {})
        components.update(schemas["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            components.pop(unused, None)
    return app.openapi_schema
