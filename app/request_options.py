"""Options of a command line for the fields of a request, read off the schema: a field that is added has one at once."""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo


def with_options(model: type[BaseModel], *spared: str, names: Mapping[str, str] | None = None) -> Callable[..., Any]:
    """Return a decorator that gives a command, whose last parameter is `**fields`, an option for each field of a model.

    spared: fields that the command asks for itself. names: options that are not called as their fields are.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [one for one in signature(command).parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        found = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=_option(field, names, name))
            for name, field in model.model_fields.items()
            if name not in spared
        ]
        keywords = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in own]
        command.__signature__ = Signature([*keywords, *found])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in [*keywords, *found]}
        return command

    return decorate


def _option(field: FieldInfo, names: Mapping[str, str] | None, name: str) -> Any:
    called = (names or {}).get(name, name.replace("_", "-"))
    text = (field.description or name.replace("_", " ")).replace("null is", "unset,")
    return Annotated[_plain(field.annotation), typer.Option(f"--{called}", help=text)]


def _plain(kind: Any) -> Any:
    """Return a type without the limits that stand on it: the service judges them."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return tuple[tuple(map(_plain, get_args(kind)))]  # pyright: ignore[reportInvalidTypeArguments]
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(map(_plain, get_args(kind)))]  # noqa: UP007  # of types that are known here alone
    return kind
