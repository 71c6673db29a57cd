"""Control of generations by nets and by LoRAs: pictures are read once for each, and what reads them works meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from PIL.Image import Image as Picture

from app.shared.errors import BadRequest
from app.shared.passes import passes
from app.shared.pictures import Pictures
from app.shared.settings import MIB, Settings
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import ResolvedRequest
from lycoris import FurtherInputs, Region
from workers.adapters.cache import AdapterCache
from workers.control.applying import Control, Controls
from workers.control.loras import Reading, Readings
from workers.control.maps import Maps, check_lines, placed_for_control
from workers.control.nets import Nets
from workers.drawing.pictures_in import Canvas
from workers.drawing.placement import Size
from workers.models.loading import LoadedModel
from workers.patience import Patience

KIND, WEIGHTS = "control", "weights"


class Controller:
    """Has the control nets of a base ready, generation by generation."""

    def __init__(
        self,
        base: LoadedModel,
        cache: AdapterCache,
        pictures: Pictures,
        settings: Settings,
        patience: Patience,
    ) -> None:
        self._base = base
        self._pictures = pictures
        self._maps = Maps(pictures, settings, patience)
        self._nets = Nets(base, cache, settings.control_cache_mb * MIB)

    @property
    def resident(self) -> frozenset[str]:
        """sha256 of every net that is in memory."""
        return self._nets.resident

    def prepared(self, request: ResolvedRequest, loras: Mapping[str, FurtherInputs], owner: str) -> "Prepared":
        """Return what reads pictures of a request, and these.

        loras: what of its adapters of weights reads one, by sha256. owner: whose the maps are that are made.
        Raises as `AdapterCache.get` does, NotFound for a picture, BadRequest for one that does not fit, or that nothing
        reads.
        """
        nets = iter(self._nets.pin([use for use in request.adapters if use.kind == KIND]))
        found = Prepared(self._base, request)
        if made_by := self._made_by(request):
            found.noted = {"preprocessors": made_by}
        sizes = [(one.width, one.height) for one in passes(request, self._base.profile)]
        for at, use in enumerate(request.adapters):
            if use.kind == KIND:
                told, found.maps[at] = self._read(use, request, sizes, owner)
                found.controls[at] = Control(told, next(nets), found.maps[at][sizes[0]])
            elif use.sha256 in loras:
                told, found.maps[at] = self._read(use, request, sizes, owner)
                found.readings[at] = Reading(told, loras[use.sha256], found.maps[at][sizes[0]])
            elif use.kind == WEIGHTS and (use.image or use.thresholds or use.preprocess != "none"):
                raise BadRequest("setting_of_another_kind", f"{use.ref!r} reads no picture on this base; leave it out")
        return found

    def _made_by(self, request: ResolvedRequest) -> dict[str, list[str]]:
        """Return the fingerprints of the models that make the maps of a request, by kind; raises BadRequest.

        That is where they are other ones than it was accepted for.
        """
        by = {use.preprocess: self._maps.made_by(use.preprocess) for use in request.adapters}
        found = {kind: models for kind, models in by.items() if models}
        for kind, models in found.items():
            if (request.preprocessors.get(kind) or models) != models:
                message = f"this was accepted for another {kind} model than the worker has now; send it again"
                raise BadRequest("other_preprocessor", message)
        return found

    def _read(
        self, use: ResolvedAdapter, request: ResolvedRequest, sizes: Sequence[Size], owner: str
    ) -> tuple[ResolvedAdapter, dict[Size, Picture]]:
        """Return the maps that an entry reads, by the size of the pass, and the entry as one that names them."""
        if use.image is None:
            raise BadRequest("image_missing", f"{use.ref!r} is for control: it needs an image")
        placed = placed_for_control(self._pictures.load(use.image), sizes, request.fit)
        if use.preprocess == "none":
            check_lines(use.ref, use.mode, placed[0])
            return use, dict(zip(sizes, placed, strict=True))
        made = [self._maps.made_of(one, use.preprocess, use.thresholds) for one in placed]
        refs = [self._pictures.put(one, owner).ref for one in made]
        # One map stands for the picture; with several, only the picture draws the same again
        told = {"image": refs[0], "preprocess": "none", "thresholds": None} if len(refs) == 1 else {"maps": refs}
        return use.model_copy(update=told), dict(zip(sizes, made, strict=True))


class Prepared:
    """What reads pictures in one generation, by its place in the request's list."""

    def __init__(self, base: LoadedModel, request: ResolvedRequest) -> None:
        self._base = base
        self._request = request
        self.controls: dict[int, Control] = {}
        self.readings: dict[int, Reading] = {}
        self.maps: dict[int, dict[Size, Picture]] = {}  # of each of them, by the size of the pass
        self.noted: dict[str, Any] = {}  # what the recipe says beside the request: fingerprints of what made the maps
        self.regions: Mapping[str, Region] = {}  # of the pass at hand, by sha256
        self._now: list[Controls | Readings] = []

    def told(self) -> ResolvedRequest:
        """Return the request with the maps that are read in place of the pictures that they are made of."""
        found = {**self.controls, **self.readings}
        adapters = [found[at].use if at in found else use for at, use in enumerate(self._request.adapters)]
        return self._request.model_copy(update={"adapters": adapters})

    @contextmanager
    def during(self, canvas: Canvas, seed: int) -> Iterator[None]:
        """Control one pass of a picture (context manager)."""
        with ExitStack() as undo:
            self._now = [*self._working(canvas, seed)]
            undo.callback(self._now.clear)
            for one in self._now:
                undo.enter_context(one.on())
            yield

    def at(self, step: int, steps: int) -> None:
        """Have the strengths of a step from now on."""
        for one in self._now:
            one.at(step, steps)

    def _working(self, canvas: Canvas, seed: int) -> Iterator[Controls | Readings]:
        maps = {at: canvas.part(of[canvas.size]) for at, of in self.maps.items()}
        controls = [replace(one, picture=maps[at]) for at, one in self.controls.items()]
        readings = [replace(one, picture=maps[at]) for at, one in self.readings.items()]
        made = self._base.denoiser() if controls or readings else None
        if made and controls:
            yield Controls(self._base.pipeline, made.component, controls, seed)
        if made and readings:
            yield Readings(self._base.pipeline, made.component, readings, seed, self.regions)


def apart(request: ResolvedRequest) -> ResolvedRequest:
    """Return a request without its control nets, which are no part of a stack."""
    return request.model_copy(update={"adapters": [use for use in request.adapters if use.kind != KIND]})
