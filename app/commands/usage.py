"""`radiata usage`: what was used, by owner and day."""

import json
from typing import Annotated, Any

import typer

from app.commands import terminal
from app.commands.terminal import Url, out, plain

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def usage(
    since: Annotated[str | None, typer.Option(help="The first day (2026-11-26), in UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="The last day.")] = None,
    owner: Annotated[
        str | None, typer.Option(help="Another's, or `*` for everybody's; needs a key of the scope admin.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As `GET /v1/usage` answers.")] = False,
    url: Url = None,
) -> None:
    """Device seconds, pictures, trained steps and bytes of jobs that have ended, by owner and day."""
    with terminal.connected(url) as client:
        found = client.usage(since=since, until=until, owner=owner)
    if as_json:
        out.print(json.dumps(found), markup=False, soft_wrap=True)
        return
    table = terminal.listing("day", "owner", "device s", "pictures", "steps", "bytes", "jobs")
    for one in found["days"]:
        table.add_row(one["day"], plain(one["owner"]), *_amounts(one))
    table.add_row("total", "", *_amounts(found["total"]))
    out.print(table)


def _amounts(one: dict[str, Any]) -> list[str]:
    jobs = one["generations"] + one["trainings"]
    return [
        f"{one['device_seconds']:.1f}",
        str(one["pictures"]),
        str(one["trained_steps"]),
        in_units(one["size_bytes"]),
        str(jobs),
    ]


def in_units(size: float) -> str:
    """Bytes as people read them."""
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
