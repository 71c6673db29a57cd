"""`radiata models …`: the base models of a service, and those that are named in the settings."""

import os
import shutil
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from app.commands import terminal
from app.commands.client import Client
from app.commands.terminal import Url, listing, out, plain, show, told
from app.shared.base_source import read_source
from app.shared.models_file import FETCHED, ModelsFile, fetched_folder
from app.shared.settings import BadSettings, read_settings
from app.shared.shown import shown
from radiata_client import Refused, Stranger, Unreachable

cli = typer.Typer(invoke_without_command=True, help="What each base model takes; add, list, show and remove them.")


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


@cli.command(
    "add",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Look into a folder, a file or `hf:owner/repository`, fetched first, and name it. Needs the `worker` extra.",
)
def add(context: typer.Context) -> None:
    """Let the device side look into the files: nothing here knows torch."""
    with told():
        read_settings()
    _looked_into("add", *context.args)


@cli.command("list")
def list_models() -> None:
    """Every model of the settings, and what names it: the environment, `models.json` or neither."""
    with told():
        settings = read_settings()
    table = listing("name", "source", "parts from elsewhere", "named by")
    for name in settings.models:
        base = settings.base(name)
        parts = ", ".join(f"{part}: {place or 'left out'}" for part, place in base.parts.items())
        marked = f"{name} (default)" if name == settings.model else name
        table.add_row(*map(plain, (marked, base.source, parts, settings.named_by(name))))
    out.print(table)


@cli.command("show")
def show_model(name: str, url: Url = None) -> None:
    """One model: as the service has it, or else as its files say, which needs the `worker` extra."""
    with told():
        settings = read_settings()
        if name not in settings.models:
            raise BadSettings(f"no model {name!r}; there are {', '.join(settings.models)}")
        out.print(plain(f"{settings.base(name).source}, named by {settings.named_by(name)}"), soft_wrap=True)
        found: dict[str, Any] = {"models": []}
        with suppress(Unreachable, Refused, Stranger), Client(terminal.address(url), terminal.key()) as client:
            found = client.models()
    for profile in found["models"]:
        if profile["name"] == name:
            show(shown(profile, found.get("default")))
            return
    out.print("no service that has loaded it answers: this is what its files say")
    _looked_into("look", name)


@cli.command("rm")
def remove(
    name: str,
    files: Annotated[bool, typer.Option("--files", help="Delete what `add` fetched for it as well.")] = False,
) -> None:
    """Forget a model that `add` has named; its files stay, unless `add` fetched them and --files is given."""
    with told():
        settings = read_settings()
        models = ModelsFile(settings.data_dir)
        if name not in (named := models.read()):
            by = f": {settings.named_by(name)} names it" if name in settings.models else ""
            raise BadSettings(f"{name!r} is not in {models.path}{by}")
        folder = fetched_folder(settings.data_dir, name)
        ours = (folder / FETCHED).is_file() and not folder.is_symlink()
        models.remove(name)
        if files and ours:
            shutil.rmtree(folder)
    left = "" if files and ours else f"; its files stay in {read_source(named[name])}"
    out.print(plain(f"{name} is forgotten{left}"), soft_wrap=True)
    if files and not ours:
        out.print("`radiata models add` has not fetched them, so they are not deleted")


def _looked_into(*arguments: str) -> None:
    os.execv(sys.executable, [sys.executable, "-m", "workers", "models", *arguments])
