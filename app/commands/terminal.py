"""What the commands of the command line share: what they print to, a client of the service, errors as sentences."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from app.commands.client import Client
from app.commands.setting_options import as_typed
from app.http.address import url_of
from app.shared.settings import BadSettings, read_settings
from radiata_client import Refused, Stranger, Unreachable
from radiata_client.address import read_url, readable_key
from radiata_client.errors import KeyNeeded

out = Console(highlight=False, emoji=False)  # `:apple:` in a prompt is what was typed
err = Console(stderr=True, highlight=False, emoji=False)
SPINNER = "line"  # of ASCII alone


@contextmanager
def told() -> Iterator[None]:
    """End a command with a sentence for every error that its user can mend."""
    try:
        yield
    except BadSettings as error:
        err.print(f"[red]settings:[/red] {plain(as_typed(str(error)))}", soft_wrap=True)
        raise typer.Exit(2) from error
    except Refused as refused:
        err.print(f"[red]refused:[/red] {plain(str(refused))}")
        for reason in refused.errors:
            about, message = reason.get("subject") or reason.get("field"), reason.get("message", "")
            if len(refused.errors) > 1 or message not in str(refused):
                err.print("  -", plain(f"{about}: {message}" if about else message))
        if isinstance(refused, KeyNeeded):
            err.print("give a key with `radiata --key …` or RADIATA_KEY")
        raise typer.Exit(1) from refused
    except Stranger as stranger:
        err.print(f"[red]no Radiata:[/red] {plain(str(stranger))}", soft_wrap=True)
        raise typer.Exit(2) from stranger
    except UnicodeEncodeError as error:
        err.print("[red]not UTF-8:[/red] what you typed cannot be sent")
        raise typer.Exit(2) from error


Url = Annotated[
    str | None,
    typer.Option(envvar="RADIATA_URL", help="Where the service is; unset, where RADIATA_HOST and RADIATA_PORT say."),
]


def address(url: str | None) -> str:
    """Return where the service is; raises BadSettings."""
    settings = read_settings()
    # Whoever moved the service with a setting means that one
    try:
        return read_url(url) if url else url_of(settings.host, settings.port)
    except ValueError as error:
        raise BadSettings(f"--url or RADIATA_URL: {error}") from error


def key() -> str | None:
    """Return the key of the service, as `radiata --key` or RADIATA_KEY gives it; raises BadSettings."""
    try:
        return readable_key(None)
    except ValueError as error:
        raise BadSettings(f"--key or RADIATA_KEY: {error}") from error


@contextmanager
def connected(url: str | None) -> Iterator[Client]:
    """A client whose errors end the command with a sentence."""
    with told():
        there = address(url)
        try:
            with Client(there, key()) as client:
                yield client
        except Unreachable as error:
            err.print(
                f"[red]nobody answers at {plain(there)}[/red] ({plain(str(error))}); start the service with "
                "`radiata up`, or give --url",
                soft_wrap=True,
            )
            raise typer.Exit(2) from error


def plain(text: str) -> str:
    """Return a text as one that is no markup: names come from outside."""
    return escape(text)


def listing(typed: str, *others: str, box: Box | None = HEAVY_HEAD, least: Mapping[str, int] | None = None) -> Table:
    """A table of a list for narrow terminals: what one types of a row is never cut, and the rest is folded.

    box: None where what is typed leaves no room for lines. least: characters that columns have whatever else is folded.
    """
    folded = (Column(name, overflow="fold", min_width=(least or {}).get(name)) for name in others)
    return Table(Column(typed, no_wrap=True), *folded, box=box, padding=(0, 1) if box else (0, 1, 0, 0))


def show(record: dict[str, Any]) -> None:
    """Print a record, a line for each of its values that says something; those of its verdict too."""
    table = Table(show_header=False, box=None)
    verdict = record.get("verdict") or {}
    for key, value in [*((key, value) for key, value in record.items() if key != "verdict"), *verdict.items()]:
        if value not in (None, "", [], {}):
            table.add_row(f"[bold]{key}[/bold]", plain(_text(value)))
    out.print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(str(inner) for inner in value) if isinstance(value, list) else str(value)
