"""A field of a request has an option, an object one for each of its fields, and what they say is the request again."""

from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from app.commands.request_options import FILE, as_fields, with_options
from app.shared.wire.picture import PictureIn, picture_fields


class Inner(BaseModel):
    """An object among the fields."""

    scale: Annotated[float, Field(gt=1)] = Field(description="by how much")
    method: Literal["one", "another"] = Field("one", description="how")


class Asked(BaseModel):
    """Fields of every kind."""

    start: PictureIn | None = Field(None, description="begins here")
    shown: list[PictureIn] = Field(default_factory=list, description="all of these")
    larger: Inner | None = Field(None, description="once more")
    size: tuple[int, int] | None = None
    name: str = "plain"


cli = typer.Typer()
found: list[dict[str, Any]] = []


@cli.command()
@with_options(Asked, "name", names={"start": "from"}, files=picture_fields(Asked))
def ask(**fields: Any) -> None:
    """Keep what is said."""
    found.append(as_fields(Asked, fields))


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("", {}),
        ("--from a.png --shown b.png --shown c.png", {"start": "a.png", "shown": ["b.png", "c.png"]}),
        ("--larger 1.5", {"larger": {"scale": 1.5}}),
        (
            "--larger 1.5 --larger-method another --size 3 4",
            {"larger": {"scale": 1.5, "method": "another"}, "size": (3, 4)},
        ),
    ],
)
def test_what_is_typed_is_what_is_asked(typed: str, asked: dict[str, Any]) -> None:
    found.clear()
    result = CliRunner().invoke(cli, typed.split())
    assert result.exit_code == 0, result.output
    assert found == [{"start": None, "shown": [], "size": None} | asked]


def test_an_object_is_asked_for_by_the_field_that_it_needs() -> None:
    result = CliRunner().invoke(cli, ["--larger-method", "another"])
    assert isinstance(result.exception, ValueError) and "--larger is missing" in str(result.exception)


def test_help_says_which_are_files() -> None:
    text = " ".join(CliRunner().invoke(cli, ["--help"]).output.replace("│", " ").split())
    assert f"{FILE}begins here" in text and f"{FILE}all of these" in text and f"{FILE}by how much" not in text
