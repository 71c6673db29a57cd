"""The control nets of generations: nets and pictures are had once for each, and work while its pictures are drawn."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from PIL.Image import Image as Picture

from app.shared.errors import BadRequest
from app.shared.pictures import Pictures
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import ResolvedRequest
from app.shared.wire.map import MapWanted
from workers.adapters.cache import AdapterCache
from workers.control.applying import Control, Controls
from workers.control.maps import Maps, check_lines, placed_for_control
from workers.control.nets import Net, Nets
from workers.drawing.pictures_in import Canvas
from workers.drawing.placement import Placement
from workers.models.loading import LoadedModel

KIND = "control"


class Controller:
    """Has the control nets of a base ready, generation by generation."""

    def __init__(self, base: LoadedModel, cache: AdapterCache, pictures: Pictures, budget_bytes: int) -> None:
        self._base = base
        self._pictures = pictures
        self._maps = Maps(pictures)
        self._nets = Nets(base, cache, budget_bytes)

    @property
    def resident(self) -> frozenset[str]:
        """sha256 of every net that is in memory."""
        return self._nets.resident

    def prepared(self, request: ResolvedRequest) -> "Prepared":
        """Return the nets and pictures of a request.

        Raises as `AdapterCache.get` does, NotFound for a picture, BadRequest for one that does not fit.
        """
        uses = [use for use in request.adapters if use.kind == KIND]
        nets = self._nets.pin(uses)
        found = [self._control(use, net, request) for use, net in zip(uses, nets, strict=True)]
        return Prepared(self._base, found)

    def _control(self, use: ResolvedAdapter, net: Net, request: ResolvedRequest) -> Control:
        if use.image is None:
            raise BadRequest("image_missing", f"{use.ref!r} is a control net: it needs an image")
        size = (request.width, request.height)
        if use.preprocess == "none":
            placed = placed_for_control(self._pictures.load(use.image), size, request.fit)
            check_lines(use.ref, use.mode, placed)
            return Control(use, net, placed)
        settings = {"preprocess": use.preprocess, "fit": request.fit, "thresholds": use.thresholds}
        wanted = MapWanted.model_validate({"image": use.image, "width": size[0], "height": size[1]} | settings)
        made = self._maps.made(wanted)
        by_its_map = {"image": self._pictures.put(made).ref, "preprocess": "none", "thresholds": None}
        return Control(use.model_copy(update=by_its_map), net, made)


class Prepared:
    """The control nets of one generation."""

    def __init__(self, base: LoadedModel, controls: Sequence[Control]) -> None:
        self._base = base
        self._controls = controls
        self._now: Controls | None = None

    def told(self, request: ResolvedRequest) -> ResolvedRequest:
        """Return a request with the maps that are read in place of the pictures that they are made of."""
        uses = iter(one.use for one in self._controls)
        adapters = [next(uses) if use.kind == KIND else use for use in request.adapters]
        return request.model_copy(update={"adapters": adapters})

    def during(self, canvas: Canvas, seed: int) -> AbstractContextManager[None]:
        """Control one pass of a picture (context manager)."""
        made = self._base.denoiser() if self._controls else None
        if made is None:
            return nullcontext()
        placed = [replace(one, picture=_part(canvas, one.picture)) for one in self._controls]
        self._now = Controls(self._base.pipeline, made.component, placed, seed)
        return self._now.on()

    def at(self, step: int, steps: int) -> None:
        """Have the strengths of a step from now on."""
        if self._now:
            self._now.at(step, steps)


def _part(canvas: Canvas, picture: Picture) -> Picture:
    """Return what is drawn of a map of the first pass's size, at the size at which it is drawn."""
    return canvas.part(Placement.of(picture.size, canvas.size, "stretch").place(picture))


def apart(request: ResolvedRequest) -> ResolvedRequest:
    """Return a request without its control nets, which are no part of a stack."""
    return request.model_copy(update={"adapters": [use for use in request.adapters if use.kind != KIND]})
