"""How a picture was made, on the wire: what its file says, and the request that it means here."""

from typing import Any, Literal

from pydantic import Field

from app.shared.wire.values import Wire

MOST_CHARS = 1 << 18  # of a recipe or an infotext
MOST_NAMES = 32


class Written(Wire):
    """What a picture's file says, as intake has read it."""

    recipe: str = ""  # ours, as JSON
    infotext: str = ""
    others: list[str] = []  # keywords of further texts
    width: int = 0
    height: int = 0


class RecipeText(Wire):
    """An infotext without a file."""

    parameters: str = Field(min_length=1, max_length=MOST_CHARS, description="an infotext, or a recipe of ours as JSON")


class FoundAdapter(Wire):
    """An adapter of the request, and by what it was found."""

    name: str
    version: int
    sha256: str
    by: Literal["sha256", "autov2", "autov3", "name"]


class FoundRecipe(Wire):
    """What a request was read from."""

    source: Literal["recipe", "infotext"] = Field(description="a recipe of ours, or an infotext")
    recipe: dict[str, Any] | None = Field(None, description="the recipe, whole")
    infotext: str = Field("", description="the infotext, also where a recipe was read")
    adapters: list[FoundAdapter] = []
    others: list[str] = Field([], description="keywords of further texts in the file, which were not read")
    width: int | None = Field(None, description="pixels of the picture; null without one")
    height: int | None = None


class Unmatched(Wire):
    """Something that the request does not say, and why."""

    name: str = Field(description="as the file calls it")
    value: str = ""
    reason: str


class MeantRequest(Wire):
    """The request that a file means."""

    request: dict[str, Any] = Field(description="a body of `POST /v1/generations`")
    found: FoundRecipe
    unmatched: list[Unmatched] = []
