"""A family as the service serves it, in this process: loaded, published, judged by acceptance, drawn by the engine."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from redis import Redis
from safetensors.torch import save
from torch import nn

from app.accepting.generations import resolve
from app.accepting.liveness import Liveness
from app.shared.catalog import Catalog
from app.shared.connection import connect
from app.shared.errors import RadiataError
from app.shared.events import stream_key
from app.shared.generation_keys import image_key
from app.shared.generations import Ledger
from app.shared.lifecycle import now
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import Generation, GenerationRequest, ResolvedRequest, Status
from tests.families.family import Family
from tests.workers.drawing.pictures import gradient
from workers.drawing.engine import Engine
from workers.intake import Intake
from workers.models.loading import LoadedModel, load
from workers.models.publishing import Publisher

# Long enough that it weighs something beside a padding of hundreds of tokens
PROMPT, OTHER_PROMPT = "a red apple on a tree " * 8, "a blue square and the sea " * 8
SEED, GUIDANCE, RANK = 7, 3.0, 2
SCHEDULE = [[0.0, 0.0], [0.5, 1.0]]  # of a strength, as a request has it
SCHEDULED = ("sd-1.5", "sdxl", "flux.1-dev", "qwen-image")  # of these, a LoRA is compared under it
LOUD = 0.3  # of an adapter's change, as a part of the weight that it changes
Layers = dict[str, tuple[torch.Tensor, torch.Tensor]]  # name of a layer -> what is multiplied, up and down


@dataclass(frozen=True)
class Parts:
    """What acceptance asks."""

    settings: Settings
    catalog: Catalog
    profiles: Profiles
    liveness: Liveness
    pictures: Pictures


class Served:
    """One family, loaded and published."""

    def __init__(self, family: Family, folder: Path, settings: Settings, redis: Redis) -> None:
        self.family, self.folder, self.redis, self.settings = family, folder, redis, settings
        self.storage = Storage(settings.store_url)
        self.base: LoadedModel = load(family.name, settings)
        Publisher(self.base, self.storage, redis, settings).offer()
        self.engine = Engine(self.base, self.storage, redis, settings)
        self.ledger = Ledger(self.storage, redis, settings)
        self._intake = Intake(self.storage, redis, settings)
        catalog, profiles = Catalog(self.storage, redis), Profiles(self.storage, settings)
        self.pictures = Pictures(self.storage)
        self._parts = Parts(settings, catalog, profiles, Liveness(redis, settings), self.pictures)

    def accepted(self, **changed: Any) -> ResolvedRequest:
        """What a request becomes when it is posted; raises what the service answers a refusal with."""
        width, height = self.family.size
        plain: dict[str, Any] = {"prompt": self.family.prompt or PROMPT, "width": width, "height": height}
        plain |= {"seed": SEED, "steps": self.family.steps}
        if self.family.guidance:
            plain["guidance_scale"] = GUIDANCE
        if self.family.shown:
            plain["reference_images"] = [self.pictures.put(gradient(*self.family.size)).ref]
        return resolve(self._parts, GenerationRequest.model_validate(plain | changed))

    def ended(self, **changed: Any) -> Generation:
        """A generation, accepted and drawn."""
        generation = self.ledger.accept(self.accepted(**changed))
        self.engine.run(generation.id)
        return self.ledger.get(generation.id)

    def drawn(self, **changed: Any) -> np.ndarray:
        """The picture of a request: [rows, columns, colours], of 255."""
        return self.pixels(self.ended(**changed))

    def pixels(self, generation: Generation) -> np.ndarray:
        """The first picture of a generation that succeeded."""
        assert generation.status is Status.SUCCEEDED, generation.error
        with Image.open(io.BytesIO(self.storage.get(image_key(generation.id, 0)) or b"")) as picture:
            return np.asarray(picture).astype(int)

    def refusal(self, **changed: Any) -> RadiataError | None:
        """Why a request is refused when it is posted; None where it is not."""
        try:
            self.accepted(**changed)
        except RadiataError as error:
            return error
        return None

    def events(self, generation: Generation, kind: str) -> int:
        """How many events of a kind a generation had."""
        entries: Any = self.redis.xrange(stream_key(generation.id))
        return sum(fields[b"kind"] == kind.encode() for _, fields in entries)

    def upload(self, name: str, tensors: dict[str, torch.Tensor], image_encoder: str = "") -> dict[str, Any]:
        """An adapter of these tensors, judged and named; an entry of a request's `adapters`."""
        data = save({key: tensor.contiguous() for key, tensor in tensors.items()})
        self._intake.admit(data, name, "", [], now(), image_encoder)
        return {"ref": f"sha256:{hashlib.sha256(data).hexdigest()}"}

    def lora(self, component: str) -> tuple[dict[str, Any], Layers]:
        """A LoRA on every linear layer of a component, under diffusers' names: as a request has it, and its layers."""
        layers = loras(getattr(self.base.pipeline, component))
        tensors = {f"{component}.{name}.lora_B.weight": up for name, (up, _) in layers.items()}
        tensors |= {f"{component}.{name}.lora_A.weight": down for name, (_, down) in layers.items()}
        return self.upload(f"lora-{component.replace('_', '-')}", tensors), layers


def scheduled(use: dict[str, Any], steps: int, calls: int) -> tuple[dict[str, Any], list[float]]:
    """An entry under SCHEDULE, and its strength in each of the calls of a denoiser that so many steps take."""
    done = [steps * call // calls / steps for call in range(calls)]
    strengths = [next(strength for since, strength in reversed(SCHEDULE) if part >= since) for part in done]
    assert len(set(strengths)) == len(SCHEDULE), "too few steps"
    return use | {"schedule": SCHEDULE}, strengths


class Diffusers:
    """The same folder, opened and called as diffusers does."""

    def __init__(self, family: Family, folder: Path) -> None:
        self.family = family
        self.pipeline = family.open(folder)
        self.pipeline.set_progress_bar_config(disable=True)

    def drawn(self) -> np.ndarray:
        """The suite's usual picture."""
        width, height = self.family.size
        call: dict[str, Any] = {"prompt": self.family.prompt or PROMPT, "width": width, "height": height}
        call |= self.family.extra
        if self.family.guidance:
            call[self.family.guidance] = GUIDANCE
        if self.family.shown:
            call["image"] = gradient(width, height)
        generator = torch.Generator("cpu").manual_seed(SEED)
        with torch.inference_mode():
            output = self.pipeline(**call, num_inference_steps=self.family.steps, generator=generator)
        return np.asarray(self.family.picture(output)).astype(int)

    @contextmanager
    def counting(self, component: str) -> Iterator[list[None]]:
        """A list that grows with each call of a component."""
        calls: list[None] = []
        hook = getattr(self.pipeline, component).register_forward_pre_hook(lambda *_: calls.append(None))
        yield calls
        hook.remove()

    @contextmanager
    def merged(self, component: str, layers: Layers, strengths: Sequence[float] = (1.0,)) -> Iterator[None]:
        """The pipeline with a LoRA merged into its weights by hand.

        strengths: in each call of the component, in turn.
        """
        part = getattr(self.pipeline, component)
        modules, calls = dict(part.named_modules()), count()
        pristine = {name: modules[name].weight.detach().clone() for name in layers}

        def merge(strength: float) -> None:
            for name, (up, down) in layers.items():
                modules[name].weight.copy_(pristine[name] + strength * (up @ down))

        with torch.no_grad():
            merge(strengths[0])  # of a part that is called otherwise than by its forward
            hook = part.register_forward_pre_hook(lambda *_: merge(strengths[next(calls) % len(strengths)]))
            yield
            hook.remove()
            for name, weight in pristine.items():
                modules[name].weight.copy_(weight)


@contextmanager
def serving(
    family: Family, folder: Path, data_dir: Path, redis_url: str, further: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A family over an empty store and an empty Redis; further: what `RADIATA_MODELS` says of it beside its source."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    said = {"source": str(folder), **further} if further else str(folder)
    chosen: dict[str, Any] = {"models": {family.name: said}, "threads": 1, "max_prompt_chars": 100_000}
    chosen |= {"max_queued": 10_000}  # the engine is called by hand, so that nothing leaves the queue
    settings = Settings(data_dir=data_dir, redis_url=redis_url, accept_without_worker_s=-1, **chosen)
    with connect(settings) as redis:
        redis.flushall()
        yield Served(family, folder, settings, redis)
    torch.use_deterministic_algorithms(deterministic)


def loras(module: nn.Module, seed: int = 3) -> Layers:
    """Layers of a LoRA for every linear layer of a module."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        name: (LOUD * noise(layer.out_features, RANK), noise(RANK, layer.in_features) / layer.in_features**0.5)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    }


def apart(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference of two pictures, of 255."""
    assert one.shape == other.shape, f"{one.shape} and {other.shape}"
    return int(abs(one - other).max())
