"""What is said of a picture at one showing: a wording, shuffled or left out, decided by the step alone."""

from collections.abc import Sequence

import torch

from app.shared.errors import BadRequest
from workers.models.loading import LoadedModel
from workers.models.tokens import readers
from workers.training.chance import generator
from workers.training.pictures import TrainingPicture
from workers.training.plan import TrainingPlan

SEPARATOR = ","


def text_at(picture: TrainingPicture, plan: TrainingPlan, *named: object) -> str:
    """Return the final text of a showing; named: what it is for, the training's seed first."""
    chance = generator(*named, "text")
    draws = torch.rand(2, generator=chance, dtype=torch.float64)
    if float(draws[0]) < plan.caption_dropout_rate:
        return ""
    text = picture.captions[int(float(draws[1]) * len(picture.captions))]
    if not plan.shuffle_caption:
        return text
    pieces = [piece.strip() for piece in text.split(SEPARATOR)]
    kept, moved = pieces[: plan.keep_tokens], pieces[plan.keep_tokens :]
    order = torch.randperm(len(moved), generator=chance).tolist()
    return f"{SEPARATOR} ".join([*kept, *(moved[at] for at in order)])


def judge(pictures: Sequence[TrainingPicture], plan: TrainingPlan, base: LoadedModel) -> None:
    """Refuse captions that no text encoder reads whole, by name, and operations that change no caption.

    They are counted as a request's prompt is. Raises BadRequest.
    """
    reading = list(readers(base.pipeline))
    for picture in pictures:
        for text in picture.captions:
            over = [(reader.count(text), reader.most) for reader in reading]
            if over and all(length > most for length, most in over):
                length, most = max(over, key=lambda pair: pair[1])
                message = f"the caption of {picture.name!r} is {length} tokens long; this base reads {most}"
                raise BadRequest("caption_too_long", message)
    pieces = max(text.count(SEPARATOR) + 1 for picture in pictures for text in picture.captions)
    if plan.shuffle_caption and pieces <= plan.keep_tokens + 1:
        message = f"no caption has two pieces between commas after the first {plan.keep_tokens}: nothing is shuffled"
        raise BadRequest("training_void_option", message)
