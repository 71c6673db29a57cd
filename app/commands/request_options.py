"""Options of a command line for the fields of a request, read off the schema: a field that is added has one at once.

A field that is an object has an option for each of its own fields; the first that has to be said is called as the
object is: `--upscale 1.5 --upscale-denoise 0.3`.
"""

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, Signature, signature
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

FILE = "A file, or `image:…` of one that was sent: "


def with_options(
    model: type[BaseModel], *spared: str, names: Mapping[str, str] | None = None, files: frozenset[str] = frozenset()
) -> Callable[..., Any]:
    """Return a decorator that gives a command, whose last parameter is `**fields`, an option for each field of a model.

    spared: fields that the command asks for itself. names: options that are not called as their fields are. files:
    fields that name pictures.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        own = [one for one in signature(command).parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        found = [
            Parameter(
                option,
                Parameter.KEYWORD_ONLY,
                default=field.get_default(call_default_factory=True) if path == (option,) else None,
                annotation=_option(field, (names or {}).get(option, option), path, path[0] in files),
            )
            for option, path, field in _fields(model)
            if path[0] not in spared
        ]
        keywords = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in own]
        command.__signature__ = Signature([*keywords, *found])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in [*keywords, *found]}
        return command

    return decorate


def as_fields(model: type[BaseModel], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model that options say; raise ValueError where one says more of what is not asked for."""
    found: dict[str, Any] = {}
    for option, path, _ in _fields(model):
        if option not in said:
            continue
        if len(path) == 1:
            found[path[0]] = said[option]
        elif said[option] is not None:
            found.setdefault(path[0], {})[path[1]] = said[option]
    for option, path, field in _fields(model):
        if len(path) == 2 and field.is_required() and path[0] in found and path[1] not in found[path[0]]:
            raise ValueError(f"--{_called(option)} is missing: the other options of {path[0]} say more of it")
    return found


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, tuple[str, ...], FieldInfo]]:
    """Yield every field: the name of its parameter, where it is, and what it is."""
    for name, field in model.model_fields.items():
        inner = _object_of(field.annotation)
        if inner is None:
            yield name, (name,), field
            continue
        first = next((one for one, part in inner.model_fields.items() if part.is_required()), None)
        for one, part in inner.model_fields.items():
            yield (name if one == first else f"{name}_{one}"), (name, one), part


def _object_of(annotation: Any) -> type[BaseModel] | None:
    kinds = (annotation, *get_args(annotation))
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _called(option: str) -> str:
    return option.replace("_", "-")


def _option(field: FieldInfo, called: str, path: tuple[str, ...], is_file: bool) -> Any:
    text = (field.description or called.replace("_", " ")).replace("null is", "unset,")
    if len(path) == 2 and not field.is_required():
        text += f"; unset, {field.default}"
    kind, name = _plain(field.annotation), _called(called)
    metavar = " " if kind is bool else None  # a flag takes no value
    spelled = f"--{name}/--no-{name}" if field.default is True else f"--{name}"  # what is on can be turned off
    return Annotated[
        kind if len(path) == 1 else kind | None, typer.Option(spelled, help=FILE * is_file + text, metavar=metavar)
    ]


def _plain(kind: Any) -> Any:
    """Return a type without the limits that stand on it: the service judges them."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) is list:
        return list[tuple(map(_plain, get_args(kind)))]  # pyright: ignore[reportInvalidTypeArguments]
    if get_origin(kind) is tuple:
        return tuple[tuple(map(_plain, get_args(kind)))]  # pyright: ignore[reportInvalidTypeArguments]
    if get_origin(kind) in (Union, UnionType):
        return Union[tuple(map(_plain, get_args(kind)))]  # noqa: UP007  # of types that are known here alone
    return kind
