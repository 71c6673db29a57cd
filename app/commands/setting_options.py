"""Every setting as an option of the commands that serve, read off `Settings`: one that is added has one at once.

What is given is put into the environment while the command runs: it is read, judged and handed on to the processes that
the command starts as a variable is, and comes before one of that name.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from app.shared.environment import variable
from app.shared.settings import Settings

GROUPS = {  # panels of the help, and what names of settings in them begin with; the first that fits
    "Where it listens, and for whom": ("host", "port", "open", "allowed_", "cors_", "root_", "public_", "trusted_"),
    "What it stands on": ("data_", "redis_", "storage_"),
    "Models and devices": (
        *("models", "default_", "device", "dtype", "threads", "pristine", "hub_", "civitai_", "preprocessors"),
        *("adapter_cache", "control_cache", "disk_cache", "prefetch"),
    ),
    "Limits": ("max_", "limit_", "inspect_", "upload_", "fetch_"),
    "Work and workers": (
        *("accept_", "generation_", "drain_", "retries", "affinity_", "lost_", "sweep_"),
        "training_",
    ),
    "Logs, secrets and what is kept": ("log_", "otel_", "signed_", "webhook_", "keep_"),
}
OTHERS = "Other settings"
BASE = "named_bases"  # parameter of `--model`
ABOUT_BASE = (
    "A base model: a folder, a file, a hub id or `bundled:…`, or NAME=… of one. May be given several times, and "
    f"comes in place of {variable('models')}; the first is the default."
)
SEEN = " Others on this machine may see what a command was given: better in the environment."

_given: dict[str, str] = {}  # variable -> the option that stands in for it, while a command runs


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that has an option for each setting besides its own, and runs with what is given of them."""
    own = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in signature(command).parameters.values()]
    found = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, field))
        for name, field in Settings.model_fields.items()
    ]
    base = typer.Option("--model", help=ABOUT_BASE, rich_help_panel=_group("models"), metavar="[NAME=]SOURCE")
    found.append(Parameter(BASE, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[list[str] | None, base]))
    names = {one.name for one in own}

    @wraps(command)
    def run(**said: Any) -> Any:
        with _in_force({name: said[name] for name in said if name not in names and said[name] is not None}):
            return command(**{name: said[name] for name in said if name in names})

    run.__signature__ = Signature([*own, *found])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in [*own, *found]}
    return run


def option_of(name: str) -> str:
    """Return the option of a setting."""
    return f"--{name.replace('_', '-')}"


def given_by(name: str) -> str | None:
    """Return the option that has given a setting to the command that runs, or None."""
    return _given.get(variable(name))


def as_typed(text: str) -> str:
    """Return a sentence about settings with the options that were typed in place of the variables they stand for."""
    for one, option in sorted(_given.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(f"{one}:", f"{option}:")
    return text


@contextmanager
def _in_force(said: Mapping[str, Any]) -> Iterator[None]:
    if BASE in said and "models" in said:
        raise typer.BadParameter("--model and --models say the same: give one of them")
    texts = {name: str(value) for name, value in said.items() if name != BASE}
    options = {name: option_of(name) for name in texts}
    if bases := said.get(BASE):
        texts["models"], options["models"] = json.dumps(_named(bases)), "--model"
    before = {variable(name): os.environ.get(variable(name)) for name in texts}
    os.environ.update({variable(name): text for name, text in texts.items()})
    _given.update({variable(name): option for name, option in options.items()})
    try:
        yield
    finally:
        _given.clear()
        for one, value in before.items():
            os.environ.pop(one, None)
            if value is not None:
                os.environ[one] = value


def _named(bases: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in bases:
        name, equals, source = text.partition("=")
        if not equals:  # its last part: of a path, a hub id or `bundled:…`
            last = PurePosixPath(text.rpartition(":")[2])
            name, source = last.stem if last.suffix in (".safetensors", ".gguf") else last.name, text
        if not (name and source):
            raise typer.BadParameter(f"--model: {text!r} names no model; one is written NAME=SOURCE")
        if name in found:
            raise typer.BadParameter(f"--model: two are called {name!r}; name one of them otherwise: NAME=SOURCE")
        found[name] = source
    return found


def _option(name: str, field: FieldInfo) -> Any:
    text, option, kinds = field.description or "", option_of(name), _kinds(field.annotation)
    if any("Secret" in str(kind) for kind in kinds):
        text += SEEN
    more: dict[str, Any] = {"help": text, "rich_help_panel": _group(name), "show_default": False}
    if kinds == [bool]:
        return Annotated[bool | None, typer.Option(f"{option}/--no-{option[2:]}", metavar=" ", **more)]
    return Annotated[str | None, typer.Option(option, metavar=_metavar(kinds), **more)]


def _metavar(kinds: list[Any]) -> str:
    """Return what stands for a value in the help; what it may be, `Settings` judges."""
    for kind in kinds:
        if get_origin(kind) is Literal:
            return f"[{'|'.join(get_args(kind))}]"
    for kind, said in ((dict, "JSON"), (float, "NUMBER"), (int, "NUMBER"), (tuple, "A,B,…")):
        if any((get_origin(one) or one) is kind for one in kinds):
            return said
    return "TEXT"


def _kinds(annotation: Any) -> list[Any]:
    """Return the types that a field may be of, without the limits on them."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Literal, dict, tuple) or not get_args(annotation):
        return [annotation]
    return [kind for one in get_args(annotation) if one is not type(None) for kind in _kinds(one)]


def _group(name: str) -> str:
    return next((group for group, begins in GROUPS.items() if name.startswith(begins)), OTHERS)
