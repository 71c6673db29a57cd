"""How much memory a training takes besides its activations, and how an amount of it is told."""

FLOAT = 4  # bytes
COPIES = 4  # of each factor: itself, its gradient and two moments; a moving average is one more
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def factor_bytes(parameters: int, averaged: bool) -> int:
    """Return the bytes of so many trained numbers with all that is kept of each."""
    return parameters * FLOAT * (COPIES + averaged)


def amount(count: float) -> str:
    """Return a number of bytes as people read it: `3 MiB`."""
    for unit in UNITS[:-1]:
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} {UNITS[-1]}"
