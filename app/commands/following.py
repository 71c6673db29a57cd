"""How a training goes, shown while its command follows it: a bar on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

LINE_S = 30.0  # between two lines, where less than a tenth of the steps was made
PARTS = 10
Told = Callable[[dict[str, Any]], None]


@contextmanager
def following(console: Console) -> Iterator[Told]:
    """Show the progress of a training; what it gives takes each progress as the service tells it."""
    if not console.is_terminal:
        yield Lines(lambda line: console.print(line, soft_wrap=True))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[how]}"), console=console, transient=True) as bar:
        task = bar.add_task("waiting", total=None, how="")

        def progress(data: dict[str, Any]) -> None:
            bar.update(task, description="training", completed=data["step"], total=data["steps"], how=how(data))

        yield progress


class Lines:
    """Tells progress in lines: the first, then one for each tenth of the steps, or where nothing was said for long."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._part, self._told = -1, 0.0

    def __call__(self, data: dict[str, Any]) -> None:
        """Tell of a progress, or not."""
        part = data["step"] * PARTS // data["steps"]
        if part > self._part or self._clock() - self._told >= LINE_S:
            self._part, self._told = part, self._clock()
            self._tell(", ".join(filter(None, (f"step {data['step']} of {data['steps']}", how(data)))))


def how(data: dict[str, Any]) -> str:
    """Return the loss and the remaining time of a progress, as far as they are known."""
    loss, left = data.get("loss"), data.get("remaining_s")
    said = [] if loss is None else [f"loss {loss:.4f}"]
    if left is not None:
        said.append(f"{left:.0f} s left" if left < 120 else f"{left / 60:.0f} min left")
    return ", ".join(said)
