"""Image prompts in the attention of a base: built once, put in for one generation, and taken out again.

Only the `processor` of each layer of attention is set, and a hook of the denoiser gives it the tokens: no module is
registered, no weight or configuration is touched, and what was there is put back as the very same objects.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from PIL.Image import Image
from torch import Tensor, nn

from app.shared.image_encoders import encoder_for
from app.shared.pictures import Pictures
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import ResolvedRequest
from lycoris import Adapter, NoPlace, Region, factor_at
from workers.drawing.strength_schedule import strength_at
from workers.image_prompts.encoder import encoded, square_of
from workers.image_prompts.judging import ATTENTION, PROJECTION, misfits, reads
from workers.image_prompts.places import Place, places_of
from workers.image_prompts.projections import Projection, projection_of, without
from workers.models.loading import LoadedModel

MOST_BUILT = 4  # image prompts that stay on the device
LATENTS = {"unet": "sample", "transformer": "hidden_states"}  # arguments of a denoiser


@dataclass(frozen=True)
class Built:
    """An image prompt on its base's device: what makes tokens of a picture, and what attention makes of these."""

    projects: Projection
    encoder: str  # name of the one that reads its pictures
    projection: nn.Module
    keys: Mapping[str, nn.Linear]  # by path of a layer of attention
    values: Mapping[str, nn.Linear]


@dataclass(frozen=True, eq=False)
class Prompt:
    """An image prompt of one generation: how it is used, and its tokens."""

    use: ResolvedAdapter
    built: Built
    tokens: tuple[Tensor, Tensor]  # of its pictures and against them, each (1, pictures, tokens, width)


class Applied:
    """The image prompts of a generation while it is drawn."""

    def __init__(self, component: str, processors: Mapping[str, Any], uses: Sequence[ResolvedAdapter]):
        self._component = component
        self._processors = processors
        self._uses = uses

    def at(self, step: int, of: int, regions: Mapping[str, Region]) -> None:
        """Set the strengths of a step of those that a pass draws; the one after the last is none.

        regions: of those with a mask, at the size of the pass, by sha256.
        """
        if step < of:
            for path, processor in self._processors.items():
                processor.scale = [self._scale(use, path, step / of, regions.get(use.sha256)) for use in self._uses]

    def _scale(self, use: ResolvedAdapter, path: str, fraction: float, region: Region | None) -> "float | Regional":
        strength = _strength(use, self._component, path, fraction)
        return Regional(strength, region, path) if strength and region else strength


@dataclass(frozen=True, eq=False)
class Regional:
    """What a processor scales by in place of a number: a strength inside a region of the picture."""

    strength: float
    region: Region
    path: str

    def __mul__(self, said: Tensor) -> Tensor:
        """Return what attention says of the pictures, (batch, tokens, features), at the strength of each token."""
        return said * (self.strength * self.region.of_tokens(said, self.path))


class ImagePrompts:
    """Puts image prompts into one base model, generation by generation."""

    def __init__(self, base: LoadedModel, pictures: Pictures) -> None:
        self._base = base
        self._pictures = pictures
        self._component, self._places = places_of(base.shapes())
        self._built: OrderedDict[str, Built] = OrderedDict()

    @contextmanager
    def applied(self, request: ResolvedRequest, adapters: Sequence[Adapter]) -> Iterator[Applied]:
        """Apply the image prompts among the adapters of a request (context manager); without any, nothing is touched.

        Raises NoPlace for one that the base cannot take, and what `Pictures` does.
        """
        found = sorted(
            ((use, one) for use, one in zip(request.adapters, adapters, strict=True) if one.image_prompt),
            key=lambda pair: pair[0].sha256,
        )
        heard = [(use, one) for use, one in found if self._heard(use, request.drawn or [request.steps])]
        if not heard:
            yield Applied(self._component, {}, ())
            return
        prompts = [self._prompt(use, adapter) for use, adapter in heard]
        denoiser = self._base.components[self._component]
        modules = dict(denoiser.named_modules())
        processors = {place.path: self._processor(place, prompts) for place in self._places}
        with ExitStack() as undo:
            for path, processor in processors.items():
                undo.callback(_put_back, modules[path], vars(modules[path]).get("processor"))
                vars(modules[path])["processor"] = processor  # beside the modules: it is none of the model's
            hook = denoiser.register_forward_pre_hook(_given(prompts, self._component), with_kwargs=True)
            undo.callback(hook.remove)
            yield Applied(self._component, processors, [prompt.use for prompt in prompts])

    def _heard(self, use: ResolvedAdapter, passes: Sequence[int]) -> bool:
        """Tell whether an image prompt is applied at any step, in any layer."""
        fractions = {step / steps for steps in passes for step in range(steps)} if use.schedule else {0.0}
        return any(_strength(use, self._component, one.path, at) for at in fractions for one in self._places)

    def _prompt(self, use: ResolvedAdapter, adapter: Adapter) -> Prompt:
        built = self._get(use, adapter)
        squares = [square_of(self._pictures.load(ref), box) for ref, box in zip(use.pictures, use.boxes, strict=True)]
        return Prompt(use, built, self._tokens(built, squares))

    def _tokens(self, built: Built, squares: list[Image]) -> tuple[Tensor, Tensor]:
        said = encoded(self._base.image_encoders[built.encoder], squares, built.projects.reads)
        with torch.inference_mode():
            with_it, against = (built.projection(one.to(self._like.dtype)).unsqueeze(0) for one in said)
        return with_it, against

    def _get(self, use: ResolvedAdapter, adapter: Adapter) -> Built:
        key = f"{use.sha256}{use.ignore}{use.image_encoder}"
        if key not in self._built:
            profile = self._base.profile
            # The one that it was accepted for; of two with the same files, either
            encoders = profile.image_encoders.items()
            named = next((name for name, one in encoders if one.fingerprint == use.image_encoder), "")
            if wrong := list(misfits(adapter, profile, self._base.shapes(), named)):
                raise NoPlace(wrong)
            while len(self._built) >= MOST_BUILT:
                self._built.popitem(last=False)
            found = reads(adapter)
            assert found is not None  # it was judged
            self._built[key] = self._build(adapter, encoder_for(profile.image_encoders, profile.name, *found, named))
        self._built.move_to_end(key)
        return self._built[key]

    def _build(self, adapter: Adapter, encoder: str) -> Built:
        like = self._like
        of_projection = dict(without(PROJECTION, adapter.image_prompt))
        of_attention = dict(without(ATTENTION, adapter.image_prompt))
        kind = projection_of(of_projection)
        assert kind is not None  # it was judged
        keys, values = (
            {place.path: _linear(of_attention, f"{place.number}.to_{one}_ip", like) for place in self._places}
            for one in "kv"
        )
        return Built(kind, encoder, kind.built(of_projection, like.device, like.dtype), keys, values)

    @property
    def _like(self) -> Tensor:
        """A weight of the denoiser, for its device and dtype."""
        return next(one for one in self._base.components[self._component].parameters() if one.is_floating_point())

    def _processor(self, place: Place, prompts: Sequence[Prompt]) -> Any:
        of: Any = IPAdapterAttnProcessor2_0 if self._component == "unet" else FluxIPAdapterAttnProcessor
        processor: Any = of(hidden_size=place.hidden, cross_attention_dim=place.width, num_tokens=[], scale=[])
        processor.to_k_ip = nn.ModuleList(prompt.built.keys[place.path] for prompt in prompts)
        processor.to_v_ip = nn.ModuleList(prompt.built.values[place.path] for prompt in prompts)
        return processor


def _strength(use: ResolvedAdapter, component: str, path: str, fraction: float) -> float:
    """Return the strength of an image prompt in a layer of attention at a fraction of the denoising."""
    by_step = strength_at(use, fraction)
    strength = use.strengths.get(component, use.strength) if by_step is None else by_step
    return strength * factor_at(path, use.blocks)


def _linear(tensors: Mapping[str, Tensor], name: str, like: Tensor) -> nn.Linear:
    weight, bias = tensors[f"{name}.weight"], tensors.get(f"{name}.bias")
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    layer.load_state_dict({key: value.to(like.device, like.dtype) for key, value in state.items()}, assign=True)
    return layer.requires_grad_(False).eval()


def _put_back(attention: nn.Module, processor: Any) -> None:
    if processor is None:
        vars(attention).pop("processor", None)
    else:
        vars(attention)["processor"] = processor


def _given(prompts: Sequence[Prompt], component: str) -> Any:
    """Return the hook of a denoiser that gives tokens to its attention, in the order of the guidance's halves."""

    def before_forward(_denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        latents = args[0] if args else kwargs[LATENTS[component]]
        halves = (1, 0) if len(latents) == 2 else (0,)  # with guidance, what is against a prompt comes first
        tokens = [torch.cat([prompt.tokens[half] for half in halves]) for prompt in prompts]
        if component == "transformer":
            joint = kwargs.get("joint_attention_kwargs") or {}
            return args, kwargs | {"joint_attention_kwargs": joint | {"ip_hidden_states": tokens}}
        return args, kwargs | {"encoder_hidden_states": (kwargs["encoder_hidden_states"], tokens)}

    return before_forward
