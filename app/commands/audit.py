"""`radiata audit`: what was changed, by whoever reaches the service's storage."""

from datetime import date
from typing import Annotated

import typer
from rich.padding import Padding

from app.commands.terminal import err, out, plain, told
from app.shared.errors import RadiataError
from app.shared.owners import FIRST_SAID
from app.shared.settings import BadSettings, read_settings
from app.shared.wire.audit import AuditLine


def audit(
    since: Annotated[str | None, typer.Option(help="The first day (2026-11-26).")] = None,
    until: Annotated[str | None, typer.Option(help="The last day.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> None:
    """Every change of keys, adapters and settings."""
    from app.shared.audit import Audit
    from app.shared.storage import Storage

    with told():
        days = _day("--since", since), _day("--until", until)
        try:
            found = list(Audit(Storage(read_settings().store_url)).lines(*days))
        except RadiataError as error:
            err.print(f"[red]not done:[/red] {plain(error.message)}", soft_wrap=True)
            raise typer.Exit(1) from error
    if as_json:
        for line in found:
            out.print(line.model_dump_json(), markup=False, highlight=False, soft_wrap=True)
        return
    for line in found:
        out.print(f"{line.at:%Y-%m-%d %H:%M:%S}  [bold]{line.action}[/bold]{_whose(line)}", soft_wrap=True)
        for name, value in line.facts.items():  # below, for a table of 80 columns has no room for all settings
            out.print(Padding(plain(f"{name}={value}"), (0, 0, 0, 4), expand=False))


def _whose(line: AuditLine) -> str:
    if line.action == "settings.changed":
        return ""
    return f"  {plain(line.subject)}  of {line.owner or FIRST_SAID}"


def _day(option: str, text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise BadSettings(f"{option}: {text!r} is no day; one is written 2026-11-26") from error
