"""From pictures to the examples of a step: sizes, latents and texts, each computed once, and chance by the step."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from app.shared.buckets import Bucket, Buckets
from app.shared.errors import BadRequest
from workers.models.latents import encoded, shaped
from workers.models.loading import LoadedModel
from workers.training.batches import Batches
from workers.training.chance import generator
from workers.training.kept import Kept, key_of, on
from workers.training.objective import Example, Objective
from workers.training.pictures import TrainingPicture, cut
from workers.training.plan import TrainingPlan
from workers.training.recording import Recorded, Recorder
from workers.training.wording import judge, text_at


class Examples:
    """The examples of every step of a training. Raises BadRequest for pictures and captions that cannot be trained."""

    def __init__(
        self,
        base: LoadedModel,
        plan: TrainingPlan,
        pictures: Sequence[TrainingPicture],
        recorder: Recorder,
        objective: Objective,
        kept: Kept,
    ) -> None:
        if not pictures:
            raise BadRequest("dataset_empty", "there is no picture to train")
        judge(pictures, plan, base)
        self._base, self._plan, self._pictures = base, plan, pictures
        self._recorder, self._objective, self._kept = recorder, objective, kept
        buckets = Buckets(base.profile, plan.area)
        self.buckets = [buckets.of(picture.name, picture.width, picture.height) for picture in pictures]
        sizes, repeats = [one.size for one in self.buckets], [one.repeats for one in pictures]
        self.batches = Batches(sizes, repeats, plan.batch_size, plan.seed)
        self._plain = {"", *(text for picture in pictures for text in picture.captions)}

    def prepare(self, told: Callable[[int, int], None] | None = None) -> None:
        """Encode every picture, so that one that cannot be is known at once; told: how many are, of how many."""
        for size in {bucket.size for bucket in self.buckets}:
            self._recorder.record("", *size)
        for done, picture in enumerate(self._pictures, start=1):
            for mirrored in (False, True) if self._plan.mirror else (False,):
                self._latents(picture, self.buckets[done - 1], mirrored)
            if told:
                told(done, len(self._pictures))

    def batch(self, index: int) -> list[Example]:
        """Return the examples of a batch."""
        found = []
        for place, number in enumerate(self.batches.batch(index)):
            named = (self._plan.seed, "batch", index, place)
            picture, bucket = self._pictures[number], self.buckets[number]
            mirrored = self._plan.mirror and bool(torch.rand(1, generator=generator(*named, "mirror")) < 0.5)
            call = self._call(text_at(picture, self._plan, *named), bucket)
            latents = self._latents(picture, bucket, mirrored).to(self._base.pipeline.device)
            clean = shaped(self._base.pipeline, latents, call.sample.float())
            found.append(self._objective.example(clean, call, *named))
        return found

    def _latents(self, picture: TrainingPicture, bucket: Bucket, mirrored: bool) -> Tensor:
        profile = self._base.profile
        made_by = (profile.fingerprint, profile.dtype, profile.device)
        key = key_of("latents", picture.ref, bucket.size, bucket.box, mirrored, *made_by)
        return self._kept.value(key, lambda: self._encoded(picture, bucket, mirrored))

    def _encoded(self, picture: TrainingPicture, bucket: Bucket, mirrored: bool) -> Tensor:
        with torch.no_grad():
            latents = encoded(self._base.pipeline, cut(picture.pixels(), bucket, mirrored)).float()
        if not bool(torch.isfinite(latents).all()):
            dtype = self._base.profile.dtype
            message = f"the codec's latents of picture {picture.name!r} are not finite in {dtype}; take another dtype"
            raise BadRequest("latents_not_finite", message)
        return latents

    def _call(self, text: str, bucket: Bucket) -> Recorded:
        if self._plan.text_encoder:
            return self._recorder.record(text, *bucket.size, grad=True)
        if text not in self._plain:  # shuffled: as many texts as there are steps
            return self._recorder.record(text, *bucket.size)
        profile = self._base.profile
        key = key_of("text", text, bucket.size, profile.fingerprint, profile.dtype, profile.device)
        found = self._kept.value(key, lambda: self._fields(text, bucket))
        sample, shape, arguments, mu = on(found, self._base.pipeline.device)
        return Recorded(sample, shape, arguments, mu)

    def _fields(self, text: str, bucket: Bucket) -> tuple[Any, ...]:
        call = self._recorder.record(text, *bucket.size)
        return call.sample, call.shape, dict(call.arguments), call.mu
