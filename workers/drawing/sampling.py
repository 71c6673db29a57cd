"""One picture: a pipeline's call for a request, with schedulers and a generator of its own."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from PIL.Image import Image as Picture
from torch import Tensor, nn
from transformers import CLIPTextModel

from app.shared.errors import BadRequest, RadiataError
from app.shared.passes import drawn_by
from app.shared.pictures import Pictures
from app.shared.prompts import PROMPTS
from app.shared.wire.generation import ResolvedRequest
from workers.control.controller import Prepared
from workers.drawing.beginning import Beginning
from workers.drawing.pictures_in import Canvas, whole, without
from workers.drawing.previews import Shown
from workers.models.device_memory import decodes
from workers.models.inpainting import black_or_white, of_latents, reading
from workers.models.latents import encoded, enlarged, noise_like, preparing
from workers.models.loading import LoadedModel
from workers.models.obeys import call_arguments
from workers.models.references import read_size, shown
from workers.models.samplers import make
from workers.models.weighted_prompts import weighted_arguments

MAIN = "scheduler"  # whose steps are those of a request; a prior's are not
ARRIVE = frozenset({"SCMScheduler"})  # schedulers whose last timestep is where the picture arrives, and no step to it
TEXTS = frozenset((*PROMPTS, *PROMPTS.values()))  # arguments of a call
OUTPUTS = ("images", "image", "frames")  # what pipelines call their pictures

AfterStep = Callable[[int], None]


class Spoilt(RadiataError):
    """A picture was drawn that must not be stored: it is not finite, or of another size than the one asked for."""


class Sampling:
    """Draws single pictures with a base model, whatever adapters are on it."""

    def __init__(self, base: LoadedModel, pictures: Pictures | None = None) -> None:
        self._base = base
        self._pictures = pictures
        self.noted: dict[str, Any] = {}  # of the last picture, what its recipe says beside the request
        parts = vars(base.pipeline)
        # The folder's own schedulers, pristine
        self._own = {name: part for name, part in parts.items() if isinstance(part, SchedulerMixin)}
        self._decoders = [part.decoder for part in parts.values() if decodes(part)]
        for part in parts.values():
            if isinstance(part, CLIPTextModel) and not hasattr(part, "text_model"):
                # There diffusers 0.42 looks for the last norm to skip layers; in transformers 5 it is the part itself
                object.__setattr__(part, "text_model", part)  # no module of itself

    def picture(
        self,
        request: ResolvedRequest,
        seed: int,
        after_step: AfterStep,
        before: Picture | None = None,
        controls: Prepared | None = None,
        show: Shown | None = None,
    ) -> Picture:
        """Return the picture of one pass of a request, from this seed; the same whatever was drawn before.

        after_step: called whenever a scheduler has made a step, with how many of the pass's steps are taken by then:
        every number up to the last in turn, some of them several times (0 as long as a prior draws). What it raises
        stops the drawing. before: what it begins from, in place of `init_image`. controls: the request's control nets.
        show: called after each step of the pass, before `after_step`; it changes nothing.
        Raises Spoilt, and BadRequest for pictures that it cannot begin from.
        """
        pipeline, profile = self._base.pipeline, self._base.profile
        # Some pipelines draw from torch's own generator, whatever they are given
        torch.manual_seed(seed)
        # A CPU generator draws the same latents for every device
        generator = torch.Generator("cpu").manual_seed(seed)
        (drawn, *_) = request.drawn or drawn_by(request, request.steps, profile.denoise_rounding)
        canvas, native = self._canvas(request, before), profile.inpaint == "native"
        asked = request.model_copy(update=dict(zip(("width", "height"), canvas.drawn, strict=True)))
        wanted = call_arguments(asked, pipeline, profile.obeys)
        self.noted = canvas.noted
        if references := [self._load(ref) for ref in request.reference_images]:
            wanted |= shown(pipeline, references)
            sizes = [read_size(pipeline, one.size, canvas.drawn) for one in references]
            self.noted = self.noted | {"reference_sizes": sizes}
        with ExitStack() as undo:
            undo.enter_context(torch.inference_mode())
            beginning = self._beginning(request, canvas, drawn, before)
            if controls:
                undo.enter_context(controls.during(canvas, seed))
            if native:
                undo.enter_context(self._reading(canvas))
            if beginning:
                if hasattr(prepares := preparing(pipeline), "prepare_latents"):
                    undo.callback(vars(prepares).pop, "prepare_latents")
                    prepare = prepares.prepare_latents
                    prepares.prepare_latents = beginning.prepared(of_latents(pipeline, prepare) if native else prepare)
                else:  # Ernie-Image draws its noise in the call itself
                    wanted["latents"] = beginning.prepared(noise_like)(pipeline, beginning.latents, generator)
            showing = functools.partial(show, canvas.drawn) if show else None
            steps = {
                name: self._scheduled(request, drawn, name, generator, after_step, beginning, undo, showing)
                for name in self._own
            }
            if references:
                undo.callback(pipeline.vae.encoder.register_forward_pre_hook(_in_own_dtype).remove)
            for decoder in self._decoders:
                undo.callback(decoder.register_forward_hook(self._check_decoded).remove)
            if request.prompt_syntax == "weighted":
                wanted |= dict.fromkeys(TEXTS & wanted.keys()) | weighted_arguments(pipeline, request)
            picture = _first(pipeline(**wanted, generator=generator))
            self._check_finite(steps[MAIN].sample)  # of pipelines that draw pixels, and have nothing to decode
        after_step(drawn)
        if picture.size != canvas.drawn:
            made, size = (f"{width}×{height}" for width, height in (picture.size, canvas.drawn))
            message = f"{profile.name!r} has drawn {made} where {size} was asked for; ask for {made}"
            raise Spoilt("size_not_obeyed", message)
        return canvas.answer(picture)

    def _canvas(self, request: ResolvedRequest, before: Picture | None) -> Canvas:
        init = before or (self._load(request.init_image) if request.init_image else None)
        mask = self._load(request.mask_image) if request.mask_image else None
        return Canvas.of(request, self._base.profile, init, mask)

    def _reading(self, canvas: Canvas) -> AbstractContextManager[None]:
        """Have a base that is made for inpainting read what it draws into."""
        if canvas.placed is None or canvas.mask is None:
            raise BadRequest("mask_missing", f"{self._base.profile.name!r} draws nothing without a picture and a mask")
        mask = black_or_white(canvas.part_of_mask(canvas.mask))
        return reading(self._base.pipeline, canvas.part(canvas.placed), mask)

    def _load(self, ref: str) -> Picture:
        assert self._pictures is not None
        return self._pictures.load(ref)

    def _beginning(
        self, request: ResolvedRequest, canvas: Canvas, drawn: int, before: Picture | None
    ) -> Beginning | None:
        """Return what a picture is begun from; None where it is begun from noise alone."""
        if canvas.placed is None:
            return None
        pipeline, parts = self._base.pipeline, canvas.part_of_steps()
        if parts is not None and float(parts.max()) * drawn < 1:
            message = f"the mask is nowhere light enough for one of {drawn} steps: nothing would be drawn anew"
            raise BadRequest("mask_empty", message)
        anew = request.denoise == 1
        if before is not None and request.upscale and request.upscale.method == "latent":
            small, (width, height) = whole(before, self._base.profile.size_multiple), canvas.drawn
            latents = encoded(pipeline, small)
            rows, columns = latents.shape[-2:]
            latents = enlarged(latents, rows * height // small.height, columns * width // small.width)
        else:
            picture = canvas.part(canvas.placed)
            if anew and canvas.mask is not None:
                picture = without(picture, canvas.part_of_mask(canvas.mask))
            latents = encoded(pipeline, picture)
        held = None if self._base.profile.inpaint == "native" else parts
        return Beginning(pipeline, latents, request.steps - drawn, anew=anew, mask=held)

    def _scheduled(
        self,
        request: ResolvedRequest,
        drawn: int,
        name: str,
        generator: torch.Generator,
        after_step: AfterStep,
        beginning: Beginning | None,
        undo: ExitStack,
        show: Callable[..., None] | None,
    ) -> "_Steps":
        """Give the pipeline a fresh scheduler under this name until undone, and return what counts its steps."""
        main = name == MAIN
        sampler, sigmas = (request.sampler, request.sigmas) if main else (None, None)
        scheduler = make(sampler, self._own[name], sigmas, generator)
        if beginning and main:
            scheduler = beginning.late(scheduler)
        steps = _Steps(scheduler, drawn if main else 0, after_step, beginning if main else None, show if main else None)
        scheduler.step = functools.wraps(scheduler.step)(steps)  # pipelines read its signature
        undo.callback(install, self._base.pipeline, name, self._own[name])
        install(self._base.pipeline, name, scheduler)
        return steps

    def _check_decoded(self, _decoder: nn.Module, latents: tuple[Any, ...], pixels: Any) -> None:
        """Check latents and pixels where these are decoded: as a PIL image they would be black."""
        self._check_finite(*latents, pixels)

    def _check_finite(self, *values: Any) -> None:
        if all(bool(torch.isfinite(value).all()) for value in values if isinstance(value, Tensor)):
            return
        dtype = self._base.profile.dtype
        narrow = "set RADIATA_DTYPE=bfloat16 (or float32)" if dtype == "float16" else "lower guidance_scale"
        message = f"the picture has left the range of {dtype}: {narrow}, or lower the strengths of the adapters"
        raise Spoilt("picture_not_finite", message)


class _Steps:
    """A scheduler's `step` that counts.

    A scheduler may run the model more often than it has steps (PNDM once, Heun nearly twice as often): the steps of the
    request are spread evenly over its own.
    """

    def __init__(
        self,
        scheduler: Any,
        steps: int,
        after_step: AfterStep,
        beginning: Beginning | None = None,
        show: Callable[..., None] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._step = scheduler.step
        self._steps = steps
        self._after_step = after_step
        self._beginning = beginning
        self._show = show
        self._made = 0
        self._taken = 0
        self.sample: Any = None  # of the last step

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        given = dict(zip(("model_output", "timestep", "sample"), arguments, strict=False)) | named
        if self._beginning and not self._made:
            self._beginning.check(given["sample"])
        made = self._step(*arguments, **named)
        self._made += 1
        timesteps = len(self._scheduler.timesteps) - (self._scheduler.__class__.__name__ in ARRIVE)
        if self._beginning:
            made = self._beginning.held(made, self._made, timesteps)
        self.sample = made[0]
        reached = min(self._steps * self._made // timesteps, self._steps)
        if self._show:
            self._show(self._scheduler, given["timestep"], given["model_output"], given["sample"], made, reached)
        for taken in range(min(self._taken + 1, reached), reached + 1):
            self._after_step(taken)
        self._taken = reached
        return made


def install(pipeline: Any, name: str, scheduler: Any) -> None:
    """Put a scheduler in the place of the one of this name, in pipelines inside the pipeline too."""
    before = getattr(pipeline, name)
    inner = [part for part in vars(pipeline).values() if isinstance(part, DiffusionPipeline)]
    for holder in (pipeline, *inner):
        for place in [place for place, part in vars(holder).items() if part is before]:
            setattr(holder, place, scheduler)


def _in_own_dtype(encoder: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast what a codec reads: Z-Image-Omni gives it a reference in bfloat16, whatever it computes in."""
    return (inputs[0].to(next(encoder.parameters()).dtype), *inputs[1:])


def _first(output: Any) -> Picture:
    """Return the first picture of what a pipeline returns: of a batch, and there of the frames."""
    found = next(getattr(output, name) for name in OUTPUTS if hasattr(output, name))
    while not isinstance(found, Picture):
        found = found[0]
    return found
