"""What was used: of one job, as it is stored, and of an owner's days, as it is told."""

from datetime import date
from typing import Annotated

from pydantic import Field

from app.shared.wire.values import Owner, Wire

Count = Annotated[int, Field(ge=0)]


class Used(Wire):
    """What a job used that has ended; day: of its end, in UTC. It holds no word of what was asked for."""

    day: date
    device_ms: Count = 0
    pictures: Count = 0
    steps: Count = 0
    size_bytes: Count = 0


class UsedByTraining(Wire):
    """What a training used, kept for ever: also once it is removed."""

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    owner: Owner = ""
    used: Used


class Amounts(Wire):
    """Sums over jobs that have ended, whatever became of them since."""

    generations: int = Field(0, description="that have ended, in whichever way")
    trainings: int = Field(0, description="likewise")
    device_seconds: float = Field(0, description="for which a worker's device drew, swapped adapters or trained")
    pictures: int = Field(0, description="that were stored")
    trained_steps: int = 0
    size_bytes: int = Field(0, description="of these pictures, and of adapters that trainings made")


class UsageDay(Amounts):
    """One owner's day, in UTC: of all jobs that ended on it."""

    day: date
    owner: str = Field(description="`first` is the first owner")
