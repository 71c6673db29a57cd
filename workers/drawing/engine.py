"""The engine: one base model, one patcher, one adapter cache; it draws one generation at a time."""

import hashlib
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import structlog
import torch
from PIL.Image import Image as Picture
from redis import Redis
from redis.exceptions import RedisError
from rq.timeouts import JobTimeoutException

from app.shared import tracing
from app.shared.discretion import hide, prompts_of
from app.shared.disobedience import disobeyed
from app.shared.errors import BadRequest, ModerationAway, RadiataError, Unavailable
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.infotext_written import infotext
from app.shared.metrics import count
from app.shared.moderation import Moderation
from app.shared.passes import passes, second_seed, total
from app.shared.preprocessing import served
from app.shared.prompts import any_length, texts
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.webhooks import webhook_secret
from app.shared.wire.generation import Generation, Image, ResolvedRequest, Status, Timings
from lycoris import AdapterError, NeverCalled
from workers.adapters.cache import open_cache
from workers.adapters.prefetch import Prefetcher
from workers.control.controller import Controller, Prepared, apart
from workers.drawing.applied_stack import AdapterApplier, AppliedStack
from workers.drawing.clock import Clock
from workers.drawing.encoding import encode
from workers.drawing.held_pictures import HeldPictures
from workers.drawing.identity import Identity
from workers.drawing.memory import give_back, ran_out, too_large
from workers.drawing.previews import Previews
from workers.drawing.progress import Ended, Leaving, Progress
from workers.drawing.recipe import recipe
from workers.drawing.regions import regions_of
from workers.drawing.sampling import Sampling, Spoilt
from workers.drawing.textual_inversion import textual_inversions
from workers.image_prompts.applying import Applied, ImagePrompts
from workers.models.loading import LoadedModel
from workers.models.tokens import readers
from workers.patience import Patience, PatientStorage

log = structlog.get_logger()

IDLE_CHECK_S = 0.1  # of verifying at a time, where nothing is drawn: an order that comes meanwhile waits for it
CHECK_SHARE = 0.005  # of a job's time, spent on verifying the model
NOT_PRISTINE = 70  # exit code of a process whose model is not (EX_SOFTWARE)
MOST_RESIDENT = 4096  # adapters of which a reply tells that they are in memory


class Engine:
    """Draws accepted generations with a base model, each with the adapters that it asks for."""

    def __init__(self, base: LoadedModel, storage: Storage, redis: Redis, settings: Settings) -> None:
        torch.use_deterministic_algorithms(True)
        self._base = base
        self._settings = settings
        self._leaving = False
        self._clock = Clock()
        self._patience = Patience(settings.storage_patience_s)
        self._storage = PatientStorage(storage, self._patience)
        self._redis = redis
        self._ledger = Ledger(self._storage, redis, settings)
        self._applier = AdapterApplier(base, settings.pristine)
        self._cache = open_cache(storage, settings, self._patience)
        profile = base.profile
        needs = served(profile.preprocessors)
        of = profile.name, settings.prefetch, profile.fingerprint, needs
        self._prefetcher = Prefetcher(self._cache, self._ledger, *of)
        pictures = self._pictures = HeldPictures(self._storage)
        self._sampling = Sampling(base, pictures)
        self._image_prompts = ImagePrompts(base, pictures)
        self._previews = Previews(base, redis, settings.data_dir / "previews")
        self._moderation = Moderation(settings, partial(webhook_secret, Signer(storage), settings))
        self._identity = Identity(base.components)
        self._controller = Controller(base, self._cache, pictures, settings, self._patience)

    @property
    def base(self) -> str:
        """Fingerprint of the base."""
        return self._base.profile.fingerprint

    @property
    def device(self) -> str:
        """On what it draws."""
        return self._base.profile.device

    @property
    def leaving(self) -> bool:
        """Whether this process is to end; from then on it draws nothing."""
        return self._leaving

    @property
    def active(self) -> list[str]:
        """sha256 of the adapters that are on the model."""
        return sorted({entry.adapter.sha256 for entry in self._applier.active})

    @property
    def resident(self) -> list[str]:
        """sha256 of adapters that are in memory, at most as many as a reply should carry."""
        return sorted(self._cache.resident | self._controller.resident)[:MOST_RESIDENT]

    def run(self, generation_id: str) -> None:
        """Draw a generation and end it; a generation that has ended meanwhile is left alone.

        Waits for storage that is away. Raises Unavailable where it is away for so long that not even a failure can be
        stored, or the engine is to leave, and RedisError; neither counts as a try.
        """
        try:
            # Ended: canceled while it waited for storage, before or after it was drawn
            with suppress(Ended), self._patience.during(lambda: self._look(generation_id)):
                self._run(generation_id)
        except Leaving:
            self._ledger.put_back(generation_id)
            raise Unavailable("worker_stopped", "the worker is stopped; another draws it from the beginning") from None

    def leave(self) -> None:
        """Put back what is drawn after the step that is being made: this process is to end."""
        self._leaving = True

    def _look(self, generation_id: str) -> None:
        if self._leaving:
            raise Leaving
        if self._ledger.ended(generation_id):
            raise Ended

    def _run(self, generation_id: str) -> None:
        generation = self._ledger.start(generation_id)
        if generation is None:
            return
        hide(prompts_of(generation.request))
        if generation.started_at:
            tracing.past("queue", _nanoseconds(generation.created_at), _nanoseconds(generation.started_at))
        if generation.request.base not in ("", self.base):  # its folder was changed under a worker that restarted it
            self._ledger.put_back(generation_id)
            raise Unavailable(
                "other_base", f"generation {generation_id} was accepted for another base than {self.base}"
            )
        try:
            begun = time.perf_counter()
            self._clock = Clock()
            with tracing.span("draw", generation=generation_id, model=self._base.profile.name):
                drawn = self._draw(generation)
            self._verify(CHECK_SHARE * (time.perf_counter() - begun))
        except Ended:
            self._ledger.discard(generation)
        except (RedisError, Leaving):
            raise
        except ModerationAway:  # for as long as storage may be: another try may find it there
            self._ledger.put_back(generation.id)
            raise
        except JobTimeoutException:
            self._verify(math.inf)
            seconds = self._settings.generation_timeout_s
            self._fail(
                generation,
                "timed_out",
                f"drawing took longer than RADIATA_GENERATION_TIMEOUT_S ({seconds} s) allows; ask for fewer pictures "
                "or steps, or have it raised",
            )
        except AdapterError as error:
            self._verify(math.inf)  # a damaged weight, too, makes a stack that is not finite
            self._fail(generation, "adapter_refused", str(error))
        except Spoilt as error:
            self._verify(math.inf)  # and a picture that is not
            self._fail(generation, error.code, error.message)
        except RadiataError as error:
            self._fail(generation, error.code, error.message)
        except Exception as error:  # the engine outlives any one generation; trying again would end the same
            if ran_out(error):
                give_back(error)
                code, message = "out_of_memory", too_large(generation.request, self._base.profile.device)
            else:
                code, message = "engine_error", f"{type(error).__name__}: {error}"
            log.exception(code, generation=generation_id)
            self._verify(math.inf)
            self._fail(generation, code, message)
        else:
            done = {"status": Status.SUCCEEDED, "progress": _all_done(generation)}
            if self._ledger.finish(generation.model_copy(update=drawn | done)):
                self._count(generations_succeeded=1, images=generation.request.count)
            else:
                self._ledger.discard(generation)
            log.info(
                "generation_ended",
                generation=generation_id,
                model=self._base.profile.name,
                prompt=generation.request.prompt,
            )
        finally:
            self._pictures.forget()
            self._prefetcher.rest()

    def idle(self) -> None:
        """Verify a part of the pristine weights; end the process on a mismatch, as `run` does."""
        self._verify(IDLE_CHECK_S)

    def _verify(self, seconds: float) -> None:
        """Verify pristine weights for that many seconds (law 2); on a mismatch this process must draw nothing more.

        It ends before the generation does: RQ sees it die, and the job is done again by a new one with a fresh model.
        """
        lost = [*self._identity.lost(), *self._applier.verify(seconds)]
        if lost:
            log.error("not_pristine", weights=lost[:10], count=len(lost))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(NOT_PRISTINE)

    def _fail(self, generation: Generation, code: str, message: str) -> None:
        spent = {"device_seconds": self._clock.device_ms / 1000}
        self._ledger.fail(generation.model_copy(update=spent), code, message)
        self._ledger.discard(generation)
        self._count(generations_failed=1)

    def _count(self, **amounts: float) -> None:
        count(self._redis, amounts | self._cache.counters.take())

    def _draw(self, generation: Generation) -> dict[str, Any]:
        """Return the fields of the generation that say what was drawn, and how."""
        request = generation.request
        self._check_obeyed(request)
        clock = self._clock
        progress = Progress(self._ledger, generation, lambda: self._leaving, lambda: clock.device_ms)
        stack = apart(request)
        adapters = self._cache.pin(stack.adapters)
        controls = self._controller.prepared(request, self._applier.reading(stack, adapters), generation.owner)
        clock.lap("load")
        drawing = passes(request, self._base.profile)
        regions = [regions_of(one, (request.width, request.height), self._pictures, self._base) for one in drawing]
        applied = [self._applier.plan(apart(one), adapters, of) for one, of in zip(drawing, regions, strict=True)]
        images, told = [], generation.model_copy(update={"request": controls.told()})
        held: list[tuple[Image, bytes]] = []  # until the hook, where there is one, has said yes to all
        words = textual_inversions(self._base, [entry for stage in applied[0].stages for entry in stage.stack])
        with words, self._image_prompts.applied(stack, adapters) as prompts:
            self._check_length(request)
            for index in range(request.count):
                picture = None
                while picture is None:
                    try:
                        picture = self._picture(generation, index, drawing, applied, prompts, controls, progress, clock)
                    except NeverCalled as error:
                        applied = [one.anew(error) for one in applied]
                held.append(self._encoded(told, index, picture, applied[0], controls))
                if not self._moderation.there:
                    images.append(self._store(told, *held.pop()))
                clock.lap("store", then_works=index + 1 < request.count)
        if held:
            images = self._moderated(told, held)
            clock.lap("store", then_works=False)
        assert generation.started_at is not None
        queued = (generation.started_at - generation.created_at).total_seconds() * 1000
        timings = Timings(queued=queued, total=queued + sum(clock.laps.values()), **clock.laps)
        count(self._redis, {f"{lap}_seconds": clock.laps[lap] / 1000 for lap in ("swap", "sample")})
        mode, because = applied[0].choice
        spent = {"timings_ms": timings, "device_seconds": clock.device_ms / 1000}
        return {"images": images, "applied": mode, "applied_because": because, **spent}

    def _check_obeyed(self, request: ResolvedRequest) -> None:
        """Refuse what the pipeline would drop or round; acceptance may have judged by an older worker's profile."""
        for wrong in disobeyed(self._base.profile, request):
            raise BadRequest(wrong.code, wrong.message)
        own = {one.fingerprint for one in self._base.profile.image_encoders.values()}
        if any(use.image_encoder and use.image_encoder not in own for use in request.adapters):
            message = "this was accepted for another image encoder than the base has now; send it again"
            raise BadRequest("other_image_encoder", message)

    def _check_length(self, request: ResolvedRequest) -> None:
        """Refuse a prompt that no text encoder reads whole: the pipeline would drop its end without a word."""
        if any_length(self._base.profile, request):
            return
        found = list(readers(self._base.pipeline))
        for field, parts, those in texts(request, [reader.component for reader in found]):
            over = [(found[at].count(*(part.text for part in parts)), found[at].most) for at in those]
            if over and all(length > most for length, most in over):
                length, most = max(over, key=lambda pair: pair[1])
                raise BadRequest("prompt_too_long", f"the {field} is {length} tokens long; this model reads {most}")

    def _picture(
        self,
        generation: Generation,
        index: int,
        drawing: Sequence[ResolvedRequest],
        applied: Sequence[AppliedStack],
        prompts: Applied,
        controls: Prepared,
        progress: Progress,
        clock: Clock,
    ) -> Picture:
        """Draw one picture, pass by pass; raise NeverCalled where not all layers are reached that it should change."""
        seed, taken_before = generation.request.seed + index, total(generation.request) * index
        picture = None
        for request, stack in zip(drawing, applied, strict=True):
            self._applier.apply(stack, 0, progress.glance)
            prompts.at(0, total(request), stack.regions)
            controls.regions = stack.regions
            clock.lap("swap")
            self._prefetcher.begin()

            def after_step(
                taken: int, stack: AppliedStack = stack, steps: int = total(request), before: int = taken_before
            ) -> None:
                progress.taken(before + taken)
                self._applier.apply(stack, taken, progress.glance)
                prompts.at(taken, steps, stack.regions)
                controls.at(taken, steps)

            own_seed = seed if picture is None else second_seed(seed)
            # What the hook has not seen is shown to nobody
            shown = None if self._moderation.there else self._previews.of(generation.id, index, taken_before)
            picture = self._sampling.picture(request, own_seed, after_step, picture, controls, shown)
            self._applier.check_called()
            taken_before += total(request)
            clock.lap("sample", then_works=False)
        assert picture is not None
        return picture

    def _moderated(self, generation: Generation, held: Sequence[tuple[Image, bytes]]) -> list[Image]:
        """Store pictures once the operator's hook has said yes to each; raises Moderated, and ModerationAway."""
        request = generation.request.model_dump(mode="json")
        for image, data in held:
            asked = generation.id, generation.owner, image.index, generation.request.output_format, data
            try:
                self._patience.waits(partial(self._moderation.picture, *asked, request=request))
            except Unavailable as error:  # whose patience has ended
                raise ModerationAway(error.code, error.message) from error
        return [self._store(generation, *one) for one in held]

    def _encoded(
        self, generation: Generation, index: int, picture: Picture, applied: AppliedStack, controls: Prepared
    ) -> tuple[Image, bytes]:
        request, seed = generation.request, generation.request.seed + index
        made_by = recipe(request, seed, self._base.profile, *applied.choice)
        made_by |= self._sampling.noted | controls.noted
        data = encode(picture, made_by, infotext(request, seed), request.output_format, request.quality)
        image = Image(
            index=index,
            url=f"/v1/images/{generation.id}/{index}.{request.output_format}",
            seed=seed,
            width=picture.width,
            height=picture.height,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
        )
        return image, data

    def _store(self, generation: Generation, image: Image, data: bytes) -> Image:
        self._storage.put(image_key(generation.id, image.index, generation.request.output_format), data)
        self._ledger.image(generation.id, image)
        return image


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp() * 1e9)


def _all_done(generation: Generation) -> Any:
    return generation.progress.model_copy(update={"step": generation.progress.steps})
