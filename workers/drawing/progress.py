"""How far a generation is, told step by step, and whether somebody has canceled it meanwhile."""

import time
from collections.abc import Callable

from app.shared import tracing
from app.shared.generations import Ledger
from app.shared.wire.generation import Generation

ASK_EVERY_S = 0.2  # between two looks, during the swap of a large stack, whether the generation was canceled


class Ended(Exception):
    """The generation ended while it was drawn: somebody canceled it."""


class Leaving(Exception):  # it is no fault
    """The engine is to end before the generation."""


class Progress:
    """The steps of one generation while it is drawn.

    Every method raises Ended soon after a cancel, and Leaving soon after the engine is told to end.
    """

    def __init__(
        self,
        ledger: Ledger,
        generation: Generation,
        leaving: Callable[[], bool],
        device_ms: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """device_ms: for which the device has worked on it."""
        self._device_ms = device_ms
        self._leaving = leaving
        self._ledger = ledger
        self._id = generation.id
        self._total = generation.progress.steps
        self._told = 0
        self._looked = time.monotonic()

    def taken(self, steps: int) -> None:
        """Tell that so many steps have been taken; each number is told once, and never a lower one after it."""
        if steps <= self._told:  # a scheduler may take more steps than were asked for, and a picture be drawn anew
            self.look()
        else:
            self._told = steps
            tracing.event("step", step=steps)
            self._stay()
            if not self._ledger.step(self._id, steps, self._total, round(self._device_ms())):
                raise Ended

    def look(self) -> None:
        """Ask whether it was canceled."""
        self._stay()
        if self._ledger.ended(self._id):
            raise Ended

    def _stay(self) -> None:
        if self._leaving():
            raise Leaving

    def glance(self) -> None:
        """Ask it now and then, for whoever calls again and again."""
        if time.monotonic() - self._looked > ASK_EVERY_S:
            self._looked = time.monotonic()
            self.look()
