"""Acceptance foresees the engine: what it takes the engine draws, what it refuses the engine would have failed."""

import random
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from redis import Redis
from safetensors.torch import save

from app.accepting import judging
from app.accepting.generations import resolve
from app.deps import Service
from app.shared.catalog import Catalog, file_key
from app.shared.errors import BadRequest, RadiataError
from app.shared.lifecycle import now
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import GenerationRequest, ResolvedRequest
from lycoris import AdapterError, load
from lycoris import stack as library
from tests.lycoris import zoo
from workers.drawing.applied_stack import AdapterApplier
from workers.drawing.engine import Engine
from workers.drawing.textual_inversion import textual_inversions
from workers.intake import Intake
from workers.models import loading

LINEAR = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
CONV = "unet.up_blocks.1.resnets.1.conv2"
TEXT = "text_encoder.encoder.layers.0.self_attn.q_proj"
PLACES = {LINEAR: "square", CONV: "conv3x3", TEXT: "square"}
BLOCKS = ["mid", "up.1", "down", "up.0.attentions", "mid.attentions.0", "conv_in"]
TRIGGERS = ["zorp", "Zorp", "my zorp", "quux-1"]
REQUESTS = 400


@pytest.fixture(scope="module")
def base() -> loading.LoadedModel:
    return loading.load("emoji-64", Settings())  # type: ignore[call-arg]


@pytest.fixture
def applier(base: loading.LoadedModel) -> Iterator[AdapterApplier]:
    made = AdapterApplier(base)
    yield made
    made.patcher.restore()
    made.bypass.restore()
    made.recompute.restore()


def kohya(path: str) -> str:
    component, _, module = path.partition(".")
    return {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}[component] + module.replace(".", "_")


def files(base: loading.LoadedModel) -> dict[str, bytes]:
    """Every algorithm on layers of the bundled model, and embeddings of several lengths."""
    shapes = base.shapes()
    found: dict[str, bytes] = {}
    for number, (algorithm, (build, kinds)) in enumerate(zoo.ALGORITHMS.items()):
        layers = {}
        for path, kind in PLACES.items():
            component, _, module = path.partition(".")
            if kind in kinds and (number + len(path)) % 3:
                small = zoo.random(number)
                shape = tuple(shapes[component][f"{module}.weight"])
                layers[kohya(path)] = build(shape, lambda *size, r=small: r(*size) * 0.01)
        if layers:
            found[algorithm] = zoo.file(layers)
    for number, trigger in enumerate(TRIGGERS):
        width = shapes["text_encoder"]["embeddings.token_embedding.weight"][1]
        lora = {
            f"{kohya(TEXT)}.{name}": one for name, one in zoo.tensors("lora", torch.zeros(128, 128), number).items()
        }
        vectors = torch.randn(1 + 20 * number, width)
        found[f"word-{number}"] = save(lora | {f"bundle_emb.{trigger}.string_to_param.*": vectors})
    return found


@pytest.fixture
def service(base: loading.LoadedModel, storage: Storage, redis: Redis, settings: Settings) -> Service:
    Profiles(storage, settings).publish(base.profile, base.shapes(), base.facts())
    intake = Intake(storage, redis, settings)
    for name, data in files(base).items():
        try:
            intake.admit(data, name, "", [], now())
        except RadiataError:  # of shapes that these layers do not have
            continue
    parts = {"settings": settings, "profiles": Profiles(storage, settings), "catalog": Catalog(storage, redis)}
    alive = SimpleNamespace(require=lambda _: None)
    return cast(
        Service, SimpleNamespace(**parts, may_hurry=True, storage=storage, pictures=Pictures(storage), liveness=alive)
    )


def asked(r: random.Random, names: list[str]) -> GenerationRequest:
    """A request that is well said, whatever the engine thinks of it."""
    wordy = [name for name in names if name.startswith("word-")]
    stack = r.choice(([], *(r.sample(names, count) for count in (1, 1, 1, 2)), r.sample(wordy, 2)))
    uses = []
    for name in stack:
        use: dict[str, Any] = {"ref": name, "strength": r.choice((0.0, 0.5, 1.0, 1.0))}
        if r.random() < 0.3:
            use["blocks"] = {block: r.choice((0.0, 0.5)) for block in r.sample(BLOCKS, r.choice((1, 1, 2)))}
        if r.random() < 0.2:
            use["rank"] = r.choice((1, 2, 9))
        if r.random() < 0.2:
            use["schedule"] = [[0.0, r.choice((0.0, 0.5))], [r.choice((0.5, 0.9)), r.choice((0.0, 1.0))]]
        uses.append(use)
    parts = [r.choice(["a red apple", "猫", "🦋", "(x:1.2)", *TRIGGERS]) for _ in range(r.choice((1, 3, 3, 30)))]
    return GenerationRequest.model_validate(
        {
            "prompt": " ".join(parts),
            "negative_prompt": r.choice(("", "", "", "a zorp " * 40)),
            "adapters": uses,
            "stack_mode": r.choice(("sum", "sequential")) if len(stack) < 2 else "sum",
            "apply": r.choice(("auto", "merge", "bypass", "recompute")),
            "steps": 3,
            "seed": 1,
        }
    )


def accepted(service: Service, request: GenerationRequest) -> ResolvedRequest | RadiataError:
    try:
        return resolve(service, request)
    except BadRequest as refusal:
        return refusal


def engine_says(base: loading.LoadedModel, applier: AdapterApplier, service: Service, request: ResolvedRequest) -> str:
    """Why the engine would fail it, or nothing."""
    try:
        adapters = [load(service.storage.get(file_key(one.sha256)) or b"", one.ignore) for one in request.adapters]
        applied = applier.plan(request, adapters)
        with textual_inversions(base, [entry for stage in applied.stages for entry in stage.stack]):
            Engine._check_length(cast(Engine, SimpleNamespace(_base=base)), request)
            for step in range(request.steps):
                applier.apply(applied, step)
    except (AdapterError, BadRequest) as refusal:
        return str(refusal) or repr(refusal)
    return ""


def plainly(service: Service, request: GenerationRequest, monkeypatch: pytest.MonkeyPatch) -> ResolvedRequest | None:
    """The request as it would be accepted if nothing were foreseen."""
    with monkeypatch.context() as patch:
        patch.setattr("app.accepting.generations._foreseen", lambda *_: ())
        found = accepted(service, request)
    return found if isinstance(found, ResolvedRequest) else None


@pytest.mark.timeout(600)
def test_acceptance_and_engine_agree(
    base: loading.LoadedModel, applier: AdapterApplier, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [one.name for one in service.catalog.newest()]
    assert len(names) > 40, names
    seen: Counter[str] = Counter()
    r = random.Random(7)
    for _ in range(REQUESTS):
        request = asked(r, names)
        plain = plainly(service, request, monkeypatch)
        if plain is None:  # steps of what has no denoiser, and the like: refused by what is said alone
            continue
        said = accepted(service, request)
        failed = engine_says(base, applier, service, plain)
        told = str(said) if isinstance(said, RadiataError) else ""
        assert bool(told) == bool(failed), f"{request!r}\nacceptance: {told}\nengine: {failed}"
        seen.update({one["code"] for one in said.reasons} if isinstance(said, RadiataError) else {"accepted"})
    print(seen)
    every = {"rank_impossible", "block_without_change", "bypass_impossible", "trigger_twice"}
    assert set(seen) >= every | {"prompt_too_long", "accepted"}, seen


def test_without_papers_the_engine_is_left_to_judge(base: loading.LoadedModel, service: Service) -> None:
    too_long = GenerationRequest.model_validate({"prompt": "a red apple " * 60})
    assert isinstance(accepted(service, too_long), BadRequest)
    service.storage.delete(f"models/{base.profile.name}.tokenizers.json")
    fresh = SimpleNamespace(**vars(service) | {"profiles": Profiles(service.storage, service.settings)})
    assert isinstance(accepted(cast(Service, fresh), too_long), ResolvedRequest)


def test_blocks_are_called_as_in_the_library() -> None:
    assert judging.BLOCKS == library.BLOCK_PATHS
