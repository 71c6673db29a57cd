"""The API alone, as the tests of `app` have it."""

from tests.app.conftest import api

__all__ = ["api"]
