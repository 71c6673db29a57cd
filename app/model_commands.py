"""`radiata models …`: the base models of a service, and those that are named in the settings."""

from typing import Any

import typer

from app import terminal
from app.terminal import Url, out, plain, show

cli = typer.Typer(invoke_without_command=True, help="What each base model takes; add, list, show and remove them.")

UNSHOWN = ("obeys", "fingerprint", "versions", "suggestions")  # of a profile; what it does not obey is shown


@cli.callback()
def models(context: typer.Context, url: Url = None) -> None:
    """Every base model: its own values and limits, and the fields of a request that it refuses."""
    if context.invoked_subcommand:
        return
    with terminal.connected(url) as client:
        found = client.models()
    for one in found["models"]:
        show(shown(one, found.get("default")))
        out.print()
    for name, why in found["not_ready_why"].items():
        out.print(f"[yellow]{plain(name)}[/yellow] is not ready: {plain(why)}")


def shown(profile: dict[str, Any], default: str | None) -> dict[str, Any]:
    """Return a profile for people: what is the default is marked, and what is refused is named.

    default: name of the model of requests that name none.
    """
    said = {field: value for field, value in profile.items() if field not in UNSHOWN}
    if profile["name"] == default:
        said["name"] = f"{default} (default)"
    if modes := profile.get("apply_modes"):
        said["apply_modes"] = [f"{modes[0]} (default)", *modes[1:]]
    return said | {"refuses": [field for field, obeyed in profile.get("obeys", {}).items() if not obeyed]}
