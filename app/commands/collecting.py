"""`radiata gc`: what nothing refers to any more is removed."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from app.commands.terminal import err, out, plain, told
from app.shared.errors import RadiataError
from app.shared.settings import read_settings


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go, and remove nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON in place of a table.")] = False,
) -> None:
    """Remove what nothing refers to any more, on a service that may run: what killed processes left, and bytes that
    nothing needs, which go an hour after that was first seen."""
    from redis.exceptions import RedisError

    from app.shared.collecting import Collecting
    from app.shared.connection import connect
    from app.shared.storage import Storage

    with told():
        settings = read_settings()
        try:
            with connect(settings) as redis:
                found = Collecting(Storage(settings.store_url), redis, settings).run(dry_run)
        except (RadiataError, RedisError) as error:
            err.print(f"[red]not done:[/red] {plain(str(error))}", soft_wrap=True)
            raise typer.Exit(1) from error
    if as_json:
        out.print(json.dumps({"removed": not dry_run, "kinds": [asdict(one) for one in found]}), soft_wrap=True)
        return
    table = Table("what", "would go" if dry_run else "went", "bytes", "in an hour", box=None)
    for one in found:
        table.add_row(one.kind, str(one.count), decimal(one.bytes), str(one.later))
    out.print(table)
