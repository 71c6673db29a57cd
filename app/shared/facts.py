"""What intake and workers write down of adapters and bases, so that acceptance judges without either."""

from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from app.shared.wire.model import Reads
from app.shared.wire.values import Wire


class Word(Wire):
    """A trigger of an embedding: what is the same for all spellings of it, and its vectors by component."""

    folded: str
    vectors: dict[str, int]


class Fitting(Wire):
    """How an adapter lies on one base."""

    places: dict[str, dict[str, str]]  # component -> parameter changed -> why not beside the weight, or nothing
    words: dict[str, Word] = Field({})  # by trigger, as its file has it
    picture: bool = False  # whether it reads one, beside changing weights: a control LoRA
    placeless: dict[str, dict[str, str]] = Field(default={})  # as places, of layers without positions, and what of that
    fixed: dict[str, dict[str, str]] = Field(default={})  # as places, of what cannot be computed anew, and why
    unmergeable: dict[str, dict[str, str]] = Field(default={})  # as places, of what nothing can be merged into, and why

    @cached_property
    def paths(self) -> frozenset[str]:
        """Every parameter changed, and every module above one: a block without change is none of these."""
        found: set[str] = set()
        for part in self.places.values():
            for path in part:
                while path and path not in found:
                    found.add(path)
                    path = path.rpartition(".")[0]
        return frozenset(found)


class AdapterFacts(Wire):
    """What acceptance has to know of an adapter to judge a request; found when it was uploaded, never changed."""

    ranked: bool  # whether its first ranks could be applied alone
    on: dict[str, Fitting] = Field({})  # by fingerprint of the base
    modes: list[str] = Field(default=[])  # of a control net that is several in one, by number
    reads: tuple[Reads, int] | None = None  # of an image prompt: what of an image encoder, and how many numbers
    multiple: int = 1  # pixels of which a control net needs width and height to be multiples


class Verdicts(Wire):
    """The verdicts on an adapter, by the model on whose weights each was found; "" is a model that was not noted."""

    models: dict[str, dict[str, Any]]

    @model_validator(mode="before")
    @classmethod
    def _of_version_0_1(cls, record: Any) -> Any:
        # There the record was one verdict, that of the last model on which the adapter fitted
        return {"models": {"": record}} if isinstance(record, dict) and "models" not in record else record


class TokenizerFile(Wire):
    """A tokenizer of a base as its library writes it, and how many tokens the text encoder reads."""

    component: str
    text: str
    most: int


class BaseTokenizers(Wire):
    """Every tokenizer of a base; none where one of them cannot be written down, and the engine alone judges."""

    fingerprint: str
    tokenizers: list[TokenizerFile]


class BaseSites(Wire):
    """The layers of a base beside whose weights an adapter can be applied, by component and path, and what hinders."""

    fingerprint: str
    sites: dict[str, dict[str, str]]
    fixed: dict[str, dict[str, str]] = Field(default={})  # component -> parameter that cannot be computed anew -> why
    unmergeable: dict[str, dict[str, str]] = Field(default={})  # the same of those that nothing can be merged into


class BaseLayer(Wire):
    """A layer of a base that some algorithm trains."""

    component: str
    path: str
    kind: Literal["linear", "convolution", "norm"]
    shape: tuple[int, ...]  # of its weight
    bias: bool
    obstacle: str = ""  # why it cannot be trained
    weight: str | None = None  # the first name of its weight, where another layer holds that too


class BaseLayers(Wire):
    """What acceptance judges a training by: the layers of a base in the model's order, and its kind of loss."""

    fingerprint: str
    untrainable: str  # why it cannot be trained, or nothing
    flow: bool  # whether it matches flows, and predicts no noise
    size_bytes: int  # of its weights, as they are loaded
    layers: list[BaseLayer]


class BaseDenoiser(Wire):
    """The denoiser of a base: what an adapter that computes beside it is judged by."""

    fingerprint: str
    component: str
    made: str  # name of its class
    config: dict[str, Any]
    pixels: int  # of a latent, along an edge
