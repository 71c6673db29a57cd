"""`radiata webhooks …`: what was told to whom, once more, and what it is signed with."""

import typer

from app.commands import terminal
from app.commands.terminal import Url, out, plain

cli = typer.Typer(no_args_is_help=False, invoke_without_command=True, help="Show webhooks, and call them once more.")


@cli.callback()
def webhooks(context: typer.Context, url: Url = None) -> None:
    """Every delivery that is to be made, and those of the last week."""
    if context.invoked_subcommand:
        return
    with terminal.connected(url) as client:
        found = client.deliveries()
    table = terminal.listing("generation", "event", "to", "status", "tries", "last")
    for one in found:
        last = one["last"][-1] if one["last"] else {}
        said = last.get("error") or str(last.get("status") or "")
        table.add_row(one["id"], one["event"], plain(one["url"]), one["status"], str(one["tries"]), plain(said))
    out.print(table)


@cli.command()
def redeliver(generation: str, url: Url = None) -> None:
    """Tell of the end of GENERATION once more, now."""
    with terminal.connected(url) as client:
        client.redeliver(generation)
    out.print(f"{plain(generation)} is told again")


@cli.command()
def secret(url: Url = None) -> None:
    """Print what your webhooks are signed with, for who receives them."""
    with terminal.connected(url) as client:
        out.print(plain(client.webhook_secret()), soft_wrap=True)
