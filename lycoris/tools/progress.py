"""How far a long work has come, on stderr: one line written over on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[Sequence[Item], str], Iterable[Item]]
ON_TERMINAL, ELSEWHERE = 0.1, 10.0  # seconds between two lines


def silent(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Return the items; the `Progress` of those who do not want to be told."""
    del what
    return items


def told(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items, and say on stderr how many of them are done."""
    terminal = sys.stderr.isatty()
    every = ON_TERMINAL if terminal else ELSEWHERE
    last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - last >= every:
            last = now
            line = f"{what}: {done} of {len(items)} ({100 * done // len(items)} %)"
            print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
        yield item
    if terminal:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
