"""Forms read strictly: UTF-8, every field known and once, text where text is meant and a file where a file is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from fastapi import Request, UploadFile, params
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Sent
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from app.http.faults import fault, named, pointer, refused
from app.http.spool import Spooled
from app.shared.errors import WrongType

MOST_FIELDS = 256
MOST_FILES = 256
MULTIPART = b"multipart/form-data"


@dataclass(frozen=True)
class Form:
    """The fields of a form, by what they hold."""

    texts: frozenset[str]
    files: frozenset[str]
    lists: frozenset[str]  # of them, those that may be said more than once
    also: Callable[[str], object] = "".startswith  # whether a text of such a name may be sent too, any number of times


def form_of(fields: Sequence[Any]) -> Form | None:
    """Return the form that a route takes in its body, or None where it takes JSON or nothing."""
    if not any(isinstance(one.field_info, params.Form) for one in fields):
        return None
    kinds = {one.alias: one.field_info.annotation for one in fields}
    files = frozenset(name for name, kind in kinds.items() if UploadFile in parts_of(kind))
    return Form(
        texts=frozenset(kinds) - files,
        files=files,
        lists=frozenset(name for name, kind in kinds.items() if list in parts_of(kind)),
    )


async def read_form(request: Request, form: Form) -> FormData:
    """Return a form as it was sent; raise WrongType, BadRequest with all that is wrong, or HTTPException (400)."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != MULTIPART or options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise WrongType("not_a_form", "the body is a form; send it as multipart/form-data, its text in UTF-8")
    try:
        sent = await _Parser(request.headers, request.stream(), max_fields=MOST_FIELDS, max_files=math.inf).parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
    names = [name for name, _ in sent.multi_items()]
    more = frozenset(filter(form.also, names))
    faults = list(named(names, form.texts | form.files | more, form.lists | more))
    for name, value in sent.multi_items():
        if name in form.files and not isinstance(value, Sent):
            faults.append(fault(pointer([name]), "not_a_file", f"{name!r} is a file; send it with a file name"))
        if name in form.texts | more and isinstance(value, Sent):
            faults.append(fault(pointer([name]), "not_text", f"{name!r} is text; send it without a file name"))
    if faults:
        await sent.close()
        raise refused(faults)
    return sent


class _Parser(MultiPartParser):
    """Starlette's, but that what is no UTF-8 is not read as Latin-1, and that files are spooled here."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            if self._current_files > MOST_FILES:  # Starlette would not say what to do instead
                raise MultiPartException(f"it has more than {MOST_FILES} files; send those of a dataset as one zip")
            self._files_to_close_on_error.pop().close()  # Starlette's own, in its place
            part.file = Spooled(part.file.filename, part.file.headers)
            self._files_to_close_on_error.append(_Closing(part.file))  # type: ignore[arg-type]

    def on_part_end(self) -> None:
        try:
            self._current_part.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MultiPartException(f"a field is not UTF-8 at byte {error.start}") from error
        super().on_part_end()


class _Closing:
    """The files that the parser closes when it fails."""

    def __init__(self, file: Spooled) -> None:
        self.close = file.discard


def parts_of(kind: Any) -> set[Any]:
    """Return a type, what it is made of, and their origins: of `list[str] | None`, among others list."""
    inner = [part for one in get_args(kind) for part in parts_of(one)]
    return {kind if get_origin(kind) is None else get_origin(kind), *inner}
