"""Progress on stderr: one line that is overwritten on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Progress = Callable[[Sequence[Item], str], Iterable[Item]]
ON_TERMINAL, ELSEWHERE = 0.1, 10.0  # seconds between two lines


def silent(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Progress reporter that reports nothing."""
    del what
    return items


def on_stderr(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items, and report on stderr how many are done."""
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
