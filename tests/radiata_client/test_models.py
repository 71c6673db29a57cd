"""The types of the package are those of the service's own description."""

from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import create_model

from app.main import create_app
from app.shared.settings import Settings
from radiata_client import drawing, models

SCHEMAS = {  # what each is called in /openapi.json
    models.Progress: "Progress",
    models.Failure: "Failure",
    models.Image: "Image",
    models.Generation: "Generation",
    models.Adapter: "AdapterRecord",
    models.Picture: "ReceivedPicture",
    models.Dataset: "Dataset",
    models.TrainingProgress: "TrainingProgress",
    models.Training: "Training",
}
OF_EVENTS = {models.Preview}  # of no answer


@cache
def described() -> dict[str, Any]:
    settings = Settings(data_dir=Path("unused"), redis_url="redis://127.0.0.1:1/0")  # type: ignore[arg-type]
    return create_app(settings).openapi()["components"]["schemas"]


def kinds(schema: dict[str, Any], known: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """The JSON types of a schema, and the values of its enumerations."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return kinds(known[name], known)
    if choices := schema.get("anyOf"):
        found = [kinds(one, known) for one in choices]
        return frozenset().union(*(one[0] for one in found)), frozenset().union(*(one[1] for one in found))
    values = frozenset(schema.get("enum", [schema["const"]] if schema.get("const") else []))
    return frozenset([schema.get("type", "string" if "const" in schema else "any")]), values


def compare(name: str, mine: dict[str, Any], theirs: dict[str, Any], known: dict[str, Any]) -> None:
    for field, schema in mine["properties"].items():
        assert field in theirs["properties"], f"{name}.{field} is unknown to the service"
        said, is_so = kinds(schema, mine.get("$defs", {})), kinds(theirs["properties"][field], known)
        if field != "verdict":  # of answers about one adapter alone
            assert said == is_so, f"{name}.{field}"
    asked = set(mine.get("required", ()))
    assert asked <= {*theirs.get("required", ())}, f"{name}: {asked} may be missing"


@pytest.mark.parametrize("model", SCHEMAS, ids=lambda model: model.__name__)
def test_every_type_is_as_the_service_describes_it(model: type[models.Model]) -> None:
    compare(model.__name__, model.model_json_schema(), described()[SCHEMAS[model]], described())


def test_every_type_is_compared() -> None:
    assert {*models.Model.__subclasses__()} == {*SCHEMAS} | OF_EVENTS


def test_every_field_of_a_request_can_be_said_as_it_is() -> None:
    fields: dict[str, Any] = {name: (kind, None) for name, kind in get_type_hints(drawing.Drawing).items()}
    theirs, mine = described()["GenerationRequest"], create_model("Drawing", **fields).model_json_schema()
    compare("Drawing", mine, theirs, described())
    assert mine["properties"].keys() == theirs["properties"].keys() - {"prompt", "adapters"}


def test_adapters_are_written_in_several_shapes() -> None:
    whole = {"ref": "a", "strength": 0.5, "blocks": {"mid": 1.0}}
    for said in ({"a": {"strength": 0.5, "blocks": {"mid": 1.0}}}, [whole]):
        assert drawing.entries(said) == [whole]
    assert drawing.entries({"a": 0.8, "b": -1}) == [{"ref": "a", "strength": 0.8}, {"ref": "b", "strength": -1}]
    assert drawing.entries(["a", "b:2"]) == [{"ref": "a"}, {"ref": "b:2"}]
    with pytest.raises(TypeError, match="not the text"):
        drawing.entries("a")
