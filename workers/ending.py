"""What commands of the device side print to, and how they end where their user can mend something."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from app.shared.settings import WRONG_SETTINGS, BadSettings

out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


@contextmanager
def told(*mendable: type[Exception]) -> Iterator[None]:
    """End a command with a sentence for wrong settings, files and values, and for errors of these kinds."""
    try:
        yield
    except BadSettings as error:
        err.print(f"settings: {error}", soft_wrap=True)
        sys.exit(WRONG_SETTINGS)
    except (*mendable, OSError, ValueError) as error:
        err.print(str(error), soft_wrap=True)
        sys.exit(1)
