"""Uploaded files by kind: which kind a file is of, and its verdict on one base after another.

A new kind is a class with the members of `UploadedFile` and a line in `opened`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from app.shared.facts import AdapterFacts, BaseDenoiser, BaseSites, Fitting
from app.shared.profiles import Profiles, Shapes
from app.shared.wire.adapter import AdapterKind
from app.shared.wire.model import ModelProfile
from lycoris import Adapter, AdapterError, Code, FileRefused, Index, NoPlace, Reason, checked, judged, read
from workers.adapters.facts import fitting, ranked
from workers.control.file import ControlFile
from workers.control.loras import divided
from workers.drawing.textual_inversion import misfits
from workers.image_prompts import judging as image_prompts
from workers.image_prompts.places import places_of


@dataclass(frozen=True)
class KnownBase:
    """A base as its worker wrote it down; each record is read when it is asked for, and may raise Unreadable."""

    profiles: Profiles
    profile: ModelProfile

    @cached_property
    def shapes(self) -> Shapes:
        """Shapes of its weights; raises Unavailable where they were not written yet."""
        return self.profiles.shapes(self.profile.name)

    @cached_property
    def index(self) -> Index:
        """The same, for placing layers."""
        return Index(self.shapes)

    @property
    def sites(self) -> BaseSites | None:
        """Its layers that take adapters beside them."""
        return self.profiles.sites(self.profile)

    @property
    def denoiser(self) -> BaseDenoiser | None:
        """How its denoiser is made."""
        return self.profiles.denoiser(self.profile)


class UploadedFile(Protocol):
    """An adapter as a file has it, of one kind."""

    @property
    def kind(self) -> AdapterKind: ...

    def verdict(self, base: KnownBase) -> dict[str, Any]:
        """Return the verdict on a base; raise AdapterError with every reason against the file."""
        ...

    def fitting(self, base: KnownBase) -> Fitting | None:
        """Return what acceptance has to know of it on a base that it fits; None where that is not known."""
        ...

    def facts(self, on: dict[str, Fitting]) -> AdapterFacts:
        """Return what acceptance has to know of it; on: as found by `fitting`, by fingerprint."""
        ...


def opened(data: bytes, ignore: Sequence[str], image_encoder: str = "") -> UploadedFile:
    """Return what these bytes hold; raise FileRefused where they are no adapter at all, or not what is said of them.

    image_encoder: by which an image prompt is said to read its pictures; empty: not said.
    """
    try:
        file = checked(data)
    except FileRefused:  # a zip of PEFT's; of anything else the reader says what is wrong
        found = _read(data, ignore, image_encoder)
    else:
        control = ControlFile.holds(file)
        found = Control(ControlFile(file, ignore)) if control else _read(data, ignore, image_encoder)
    if image_encoder and found.kind != "image_prompt":
        message = f"is of the kind {found.kind}, and only an image prompt has an image_encoder; leave it out"
        raise FileRefused([Reason(Code.NO_FORM, "image_encoder", message)])
    return found


def _read(data: bytes, ignore: Sequence[str], image_encoder: str) -> "Weights | ImagePrompt":
    adapter, wrong = read(data, ignore)
    return ImagePrompt(adapter, wrong, image_encoder) if adapter.image_prompt else Weights(adapter, wrong)


class Weights:
    """Changes of weights, embeddings, or both."""

    def __init__(self, adapter: Adapter, wrong: Sequence[Reason]) -> None:
        self._adapter, self._wrong = adapter, wrong

    @property
    def kind(self) -> AdapterKind:
        """A file without any change of a weight is its embeddings."""
        return "weights" if self._adapter.layers else "embedding"

    def verdict(self, base: KnownBase) -> dict[str, Any]:
        """Return the verdict on layers and words."""
        unheard = list(misfits(self._adapter.embeddings, base.shapes))
        adapter, reads = self._on(base)
        found = _verdict(adapter, self._wrong, base, unheard) | {"kind": self.kind}
        return found | {"reads_picture": True} if reads else found

    def fitting(self, base: KnownBase) -> Fitting | None:
        """Return its places, its words, and what hinders a way of applying."""
        sites, (adapter, reads) = base.sites, self._on(base)
        found = fitting(adapter, base.shapes, base.index, sites) if sites else None
        return found.model_copy(update={"picture": reads}) if found else None

    def _on(self, base: KnownBase) -> tuple[Adapter, bool]:
        """Return what of it changes weights of a base, and whether the rest reads a picture there (a control LoRA)."""
        found = divided(self._adapter, base.denoiser, base.index)
        return (found[0], True) if found else (self._adapter, False)

    def facts(self, on: dict[str, Fitting]) -> AdapterFacts:
        """Return them with whether its first ranks can be applied alone."""
        return AdapterFacts(ranked=ranked(self._adapter), on=on)


class ImagePrompt:
    """An IP-Adapter: what makes tokens of pictures, and attention that reads them."""

    kind: AdapterKind = "image_prompt"

    def __init__(self, adapter: Adapter, wrong: Sequence[Reason], image_encoder: str) -> None:
        self._adapter, self._wrong, self._image_encoder = adapter, wrong, image_encoder

    def verdict(self, base: KnownBase) -> dict[str, Any]:
        """Return the verdict on a base's attention and its image encoder."""
        unfit = list(image_prompts.misfits(self._adapter, base.profile, base.shapes, self._image_encoder))
        component, places = places_of(base.shapes)
        found = {"kind": self.kind, "components": {component: len(places)}}
        return _verdict(self._adapter, self._wrong, base, unfit) | found

    def fitting(self, base: KnownBase) -> Fitting | None:
        """Return the layers of attention that it is in, by which a block has some of it or none."""
        component, places = places_of(base.shapes)
        return Fitting(places={component: {f"{place.path}.processor": "" for place in places}}, words={})

    def facts(self, on: dict[str, Fitting]) -> AdapterFacts:
        """Return them; it has no ranks."""
        return AdapterFacts(ranked=False, on=on, reads=image_prompts.reads(self._adapter))


def _verdict(adapter: Adapter, wrong: Sequence[Reason], base: KnownBase, unfit: list[Reason]) -> dict[str, Any]:
    """Return the verdict on what of an adapter changes weights; raise with everything that is wrong, `unfit` too."""
    try:
        verdict = judged(adapter, wrong, base.index, base.profile.quantised)
    except AdapterError as refusal:
        raise type(refusal)([*refusal.reasons, *unfit]) from refusal
    if unfit:
        raise NoPlace(unfit)
    return verdict.as_dict()


class Control:
    """A control net."""

    kind: AdapterKind = "control"

    def __init__(self, file: ControlFile) -> None:
        self._file = file

    def verdict(self, base: KnownBase) -> dict[str, Any]:
        """Return the verdict on a base's denoiser."""
        return self._file.verdict(base.denoiser)

    def fitting(self, base: KnownBase) -> Fitting | None:
        """Return that it changes no weight."""
        return Fitting(places={}, words={})

    def facts(self, on: dict[str, Fitting]) -> AdapterFacts:
        """Return them with what its modes are called."""
        return AdapterFacts(ranked=False, on=on, modes=list(self._file.modes), multiple=self._file.multiple)
