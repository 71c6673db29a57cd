"""Pictures on the command line: sent before they are named, made into maps, asked how they were made."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from app.commands import terminal
from app.commands.client import Client
from app.commands.request_options import as_fields, with_options
from app.commands.terminal import Url, err, out, plain
from app.shared.wire.map import Made, MapRequest
from app.shared.wire.picture import REF_PREFIX, picture_fields


def send(client: Client, body: dict[str, Any], kind: type[BaseModel]) -> None:
    """Put refs in place of the files that fields of a body name, once they are sent."""
    for name in picture_fields(kind) & body.keys():
        said = body[name]
        body[name] = [sent(client, one) for one in said] if isinstance(said, list) else said and sent(client, said)


def sent(client: Client, picture: str) -> str:
    """Return the ref of a picture, sent now unless it is one already; raises typer.BadParameter for no file."""
    if picture.startswith(REF_PREFIX):
        return picture
    if not Path(picture).is_file():
        raise typer.BadParameter(f"there is no file {picture!r}")
    found = client.picture(Path(picture))
    for note in found.get("notes", []):
        err.print(f"{plain(picture)}: {plain(note)}")
    return found["ref"]


def recipe(
    file: Annotated[Path, typer.Argument(help="A picture, or a text file with infotext.", exists=True, dir_okay=False)],
    url: Url = None,
) -> None:
    """Read how a picture was made (ours, A1111's, Civitai's), and print the request that it means as JSON."""
    with terminal.connected(url) as client:
        found = client.recipe_of(_text_of(file)) if file.suffix.lower() == ".txt" else client.recipe(file)
    for one in found["unmatched"]:
        err.print(f"[yellow]{plain(one['name'])}:[/yellow] {plain(one['reason'])}")
    out.print(json.dumps(found["request"], indent=2, ensure_ascii=False), markup=False, soft_wrap=True)


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{str(file)!r} is no text in UTF-8") from error


@with_options(MapRequest, "preprocess")
def preprocess(
    file: Annotated[str, typer.Argument(help="A picture, or `image:…` of one that was sent.")],
    kind: Annotated[Made, typer.Option(help="What is made of it.")] = "canny",
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.")] = Path("map.png"),
    url: Url = None,
    **fields: Any,
) -> None:
    """Make the map of a picture that a control net would read, and save it."""
    asked = {name: value for name, value in as_fields(MapRequest, fields).items() if value is not None}
    with terminal.connected(url) as client:
        found = client.map_of(sent(client, file), asked | {"preprocess": kind})
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(client.image(f"/v1/images/{found['ref']}"))
    out.print(f"{output}  {found['width']}×{found['height']}  {found['ref']}", soft_wrap=True)
