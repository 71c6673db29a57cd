"""How long a training takes, before it is accepted: by what was trained on its base, else by what was drawn with it."""

from itertools import islice
from typing import Literal

from app.shared.generations import Ledger
from app.shared.trainings import Trainings
from app.shared.wire.generation import Generation, Status
from app.shared.wire.model import ModelProfile
from app.shared.wire.training import ResolvedTraining

LOOKED_AT = 50  # trainings of before
DRAWN = 20  # generations of before
BACK_AND_FORTH = 3  # forwards that a forward and its backward pass take
AGAIN = 1  # the forward that checkpointing makes anew


class Paces:
    """What is known of the speed of a service's machines."""

    def __init__(self, trainings: Trainings, ledger: Ledger) -> None:
        self._trainings, self._ledger = trainings, ledger

    def seconds(
        self, request: ResolvedTraining, profile: ModelProfile, pixels: int
    ) -> tuple[float | None, Literal["training", "drawing"] | None]:
        """Return how long a training takes, and by what that is told; None where nothing is known.

        pixels: of a picture.
        """
        shown = request.steps * request.batch_size * request.gradient_accumulation_steps
        if pace := self._trained(request):
            return round(shown / pace, 1), "training"
        if forward := self._drawn(profile):
            passes = BACK_AND_FORTH + AGAIN * request.gradient_checkpointing
            return round(shown * passes * forward * pixels, 1), "drawing"
        return None, None

    def _trained(self, request: ResolvedTraining) -> float | None:
        """Pictures a second of the newest training on the same base, of the same algorithm if there is one."""
        other = None
        for one in islice(self._trainings.newest_first(), LOOKED_AT):
            pace = one.progress.pictures_per_s
            if pace and one.request.base == request.base:
                if one.request.algorithm == request.algorithm:
                    return pace
                other = other or pace
        return other

    def _drawn(self, profile: ModelProfile) -> float | None:
        """Seconds a forward and pixel of the newest generation with the base."""
        found, _ = self._ledger.list(DRAWN, None)
        return next((pace for one in found if (pace := _forward(one, profile))), None)


def _forward(one: Generation, profile: ModelProfile) -> float | None:
    asked, took = one.request, one.timings_ms
    if one.status is not Status.SUCCEEDED or asked.base != profile.fingerprint or asked.init_image or not took:
        return None
    guided = profile.negative_over is not None and asked.guidance_scale > profile.negative_over
    forwards = asked.steps * asked.count * (1 + guided)
    return took.sample / 1000 / (forwards * asked.width * asked.height)
