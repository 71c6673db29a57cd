"""`radiata config`: what every setting is, and what says so."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from app.commands.setting_options import given_by
from app.commands.terminal import out, plain, told
from app.shared.environment import variable
from app.shared.models_file import ModelsFile
from app.shared.settings import Settings, read_settings


@dataclass(frozen=True)
class InForce:
    """One setting as it is; by: the option, variable or file that says so, none for a default."""

    name: str
    value: Any
    source: Literal["flag", "environment", "file", "default"]
    by: str | None


def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not as it is by default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON in place of a table.")] = False,
) -> None:
    """What every setting is, and where that comes from: a flag, the environment, models.json or the default.

    Flags are those of `radiata up`, to see what they would come to. Secrets are not shown.
    """
    with told():
        found = [one for one in in_force(read_settings()) if not changed or one.source != "default"]
    if as_json:
        said = {one.name: {"value": one.value, "from": one.source, "by": one.by} for one in found}
        out.print(json.dumps(said), soft_wrap=True, markup=False)
        return
    table = Table("setting", "value", "from", box=None)
    for one in found:
        text = one.value if isinstance(one.value, str) else "" if one.value is None else json.dumps(one.value)
        table.add_row(one.name, plain(text), _marked(one))
    out.print(table)


def _marked(one: InForce) -> str:
    return f"[bold]{plain(one.by)}[/bold]" if one.by else one.source


def in_force(settings: Settings) -> Iterator[InForce]:
    """Every setting, without what nobody should read."""
    from app.shared.discretion import Discretion

    hidden = Discretion(prompts=True)
    for name, value in settings.model_dump(mode="json").items():  # secrets as asterisks
        told_value = hidden(None, "", {name: value})[name]
        yield InForce(name, told_value, *_source(settings, name))


def _source(settings: Settings, name: str) -> tuple[Literal["flag", "environment", "file", "default"], str | None]:
    if option := given_by(name):
        return "flag", option
    if os.environ.get(variable(name)):
        return "environment", variable(name)
    file = ModelsFile(settings.data_dir)
    if name == "models" and file.read():
        return "file", str(file.path)
    return "default", None
