"""Errors as data: every reason by name, and of a whole model sent by mistake no more than can be read."""

import json

from lycoris import Code, FileRefused, Reason
from lycoris.errors import LISTED


def refused(count: int) -> FileRefused:
    return FileRefused(Reason(Code.UNKNOWN_TENSOR, f"tensor.{k}", "is read by nothing") for k in range(count))


def test_every_offender_of_an_ordinary_file_is_named() -> None:
    error = refused(LISTED)
    assert [reason["subject"] for reason in error.as_dict()["reasons"]] == [f"tensor.{k}" for k in range(LISTED)]
    assert json.loads(json.dumps(error.as_dict())) == {"error": "FileRefused", "reasons": error.listed}


def test_of_a_whole_model_the_first_are_named_and_the_rest_counted() -> None:
    error = refused(LISTED + 1843)
    assert len(error.reasons) == LISTED + 1843
    *named, last = error.listed
    assert [reason["subject"] for reason in named] == [f"tensor.{k}" for k in range(LISTED)]
    assert last == {"code": "unknown_tensor", "subject": "", "message": "and 1,843 more"}
    assert str(error).endswith(f"and {LISTED + 1843 - 20} more")
