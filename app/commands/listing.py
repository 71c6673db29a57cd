"""`radiata list`: generations, the newest first, or of those the ones that are asked for."""

import json
from typing import Annotated, Any

import typer

from app.commands import terminal
from app.commands.terminal import Url, out, plain
from app.commands.times import read_time
from app.shared.wire.generation import Status

PROMPT = 60  # characters of it that a row shows
STATUSES = ", ".join(Status)
LEAST = {"accepted": 10, "status": 9, "drawn with": 10, "prompt": 8}  # a day, the longest status, a word
SHOWN = 20  # where nobody says how many


def listed(
    status: Annotated[str | None, typer.Option(help=f"How they stand: {STATUSES}.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of their base model.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="What they were asked for with: `name`, `name:version`, `sha256:…`.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Another's, with a key of the scope admin.")] = None,
    starred: Annotated[
        bool | None, typer.Option("--starred/--no-starred", help="Whether they have a star.", show_default=False)
    ] = None,
    q: Annotated[str | None, typer.Option("--q", help="Words of their prompt, in any order.")] = None,
    seed: Annotated[int | None, typer.Option(help="Their seed.")] = None,
    since: Annotated[str | None, typer.Option(help="Accepted in the last `7d`, `12h`, `90m`, or since a day.")] = None,
    until: Annotated[str | None, typer.Option(help="Accepted before that.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="`name=text` that they have; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
    url: Url = None,
) -> None:
    """Generations, the newest first."""
    with terminal.connected(url) as client:
        asked = {"status": status, "model": model, "adapter": adapter, "owner": owner, "q": q, "seed": seed}
        asked |= {"starred": None if starred is None else str(starred).lower(), "metadata": metadata or None}
        for name, said in (("since", since), ("until", until)):
            asked[name] = read_time(f"--{name}", said, -1).isoformat() if said else None
        found = client.generations(limit, {name: said for name, said in asked.items() if said is not None})
    if as_json:
        for one in found:
            out.print(json.dumps(one, ensure_ascii=False), markup=False, highlight=False, soft_wrap=True)
        return
    table = terminal.listing("id", "accepted", "status", "drawn with", "seed", "prompt", box=None, least=LEAST)
    for one in found:
        table.add_row(*_row(one))
    out.print(table)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    request = one["request"]
    prompt = request["prompt"] if len(request["prompt"]) <= PROMPT else request["prompt"][: PROMPT - 1] + "…"
    used = ", ".join([request["model"], *(f"{use['name']}={use['strength']:g}" for use in request["adapters"])])
    status = one["status"] + (" *" if one["starred"] else "")
    accepted = one["created_at"][:19].replace("T", " ")
    return one["id"], accepted, status, plain(used), str(request["seed"]), plain(prompt)
