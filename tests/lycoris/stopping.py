"""An interruption between any two lines, as Ctrl-C and RQ's alarm may come."""

from collections.abc import Collection
from types import FrameType
from typing import Any


class Stop(BaseException):
    """Like KeyboardInterrupt, but ours."""


class StopAtLine:
    """For sys.settrace: raises Stop before the line of these files that is run as the n-th."""

    def __init__(self, files: Collection[str | None], line: int) -> None:
        self._files = files
        self.left = line

    def __call__(self, frame: FrameType, event: str, _: Any) -> "StopAtLine | None":
        if frame.f_code.co_filename not in self._files:
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                raise Stop
        return self
