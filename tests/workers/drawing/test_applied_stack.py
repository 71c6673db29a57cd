"""The bundled base with adapters merged and bypassed: the same to rounding, and pristine to the bit afterwards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.shared.errors import BadRequest
from app.shared.settings import Settings
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import ApplyMode, ResolvedRequest
from lycoris import Adapter
from lycoris import load as load_adapter
from lycoris.adapter import Layer
from lycoris.placement import resolve as targets
from tests.app.shared.making import request
from tests.lycoris.measure import bits, bits_of, relative_error
from tests.lycoris.stopping import Stop
from tests.tolerances import THROUGH_A_MODEL
from workers.drawing.applied_stack import AdapterApplier
from workers.models import loading

pytestmark = pytest.mark.slow

ADAPTERS = Path(loading.__file__).parent / "emoji-64" / "adapters"


@pytest.fixture(scope="module")
def base() -> loading.LoadedModel:
    return loading.load("emoji-64", Settings())  # type: ignore[call-arg]


@pytest.fixture
def applier(base: loading.LoadedModel) -> Iterator[AdapterApplier]:
    made = AdapterApplier(base)
    before = bits_of(*base.components.values())
    yield made
    made.patcher.restore()
    made.bypass.restore()
    made.recompute.restore()
    assert bits_of(*base.components.values()) == before


def asked(*names: str, **fields: Any) -> tuple[ResolvedRequest, list[Adapter]]:
    adapters = [load_adapter(ADAPTERS / f"{name}.safetensors") for name in names]
    uses = [
        ResolvedAdapter(ref=name, name=name, version=1, sha256=adapter.sha256, strength=0.8)
        for name, adapter in zip(names, adapters, strict=True)
    ]
    own = fields.pop("own", {})
    return request(adapters=[use.model_dump() | own for use in uses], **fields), adapters


def unet(base: loading.LoadedModel) -> Tensor:
    """One step of the denoiser on something that is always the same."""
    torch.manual_seed(5)
    config: Any = base.pipeline.unet.config
    latents = torch.randn(2, config.in_channels, config.sample_size, config.sample_size)
    prompt = torch.randn(2, 77, config.cross_attention_dim)
    with torch.inference_mode():
        return base.pipeline.unet(latents, 500, prompt).sample


def seen(
    base: loading.LoadedModel, applier: AdapterApplier, mode: ApplyMode, *names: str, **fields: Any
) -> list[Tensor]:
    """What the denoiser makes of the same thing at every step."""
    wanted, adapters = asked(*names, apply=mode, **fields)
    applied = applier.plan(wanted, adapters)
    assert applied.choice.mode == mode
    made = []
    for step in range(wanted.steps):
        applier.apply(applied, step)
        made.append(unet(base))
    return made


@pytest.mark.parametrize(
    "names",
    [["fluent-3d-lora"], ["fluent-3d-locon"], ["fluent-3d-lokr"], ["fluent-3d-locon", "fluent-3d-lokr"]],
    ids=str,
)
@pytest.mark.parametrize("mode", ["bypass", "recompute"])
def test_the_bundled_adapters_beside_the_weights_are_as_merged(
    base: loading.LoadedModel, applier: AdapterApplier, names: list[str], mode: ApplyMode
) -> None:
    plain = unet(base)
    by_step: dict[str, Any] = {"schedule": [[0.0, 0.3], [0.5, 1.0]], "blocks": {"down": 0.5, "up.1": 1.5}}
    merged = seen(base, applier, "merge", *names, own=by_step)
    beside = seen(base, applier, mode, *names, own=by_step)
    for step, (one, other) in enumerate(zip(merged, beside, strict=True)):
        error, change = relative_error(other, one), relative_error(one, plain)
        print(f"{names} at step {step}: {error:.1e} beside a change of {change:.1e}")
        assert error < THROUGH_A_MODEL < change / 100
    assert bits(merged[0]) != bits(merged[2]), "the strength of the second half is another"


@pytest.mark.parametrize("mode", ["merge", "bypass", "recompute"])
def test_the_result_does_not_depend_on_the_stack_before(
    base: loading.LoadedModel, applier: AdapterApplier, mode: ApplyMode
) -> None:
    own: dict[str, Any] = {"schedule": [[0.0, 0.3], [0.5, 1.0]]}
    first = seen(base, applier, mode, "fluent-3d-lokr", own=own)
    for other in ("merge", "bypass", "recompute"):
        seen(base, applier, other, "fluent-3d-locon", steps=1)
        again = seen(base, applier, mode, "fluent-3d-lokr", own=own)
        assert [bits(one) for one in first] == [bits(one) for one in again]


def test_by_itself_the_bundled_base_is_merged(applier: AdapterApplier) -> None:
    for name in ("fluent-3d-lora", "fluent-3d-locon", "fluent-3d-lokr"):
        wanted, adapters = asked(name, steps=20)
        assert applier.plan(wanted, adapters).choice == ("merge", "mergeable")


def test_a_way_that_is_not_possible_is_refused_with_the_layers_named(applier: AdapterApplier) -> None:
    wanted, adapters = asked("fluent-3d-loha", apply="bypass")
    with pytest.raises(BadRequest, match=r"unet\.\S+\.weight"):
        applier.plan(wanted, adapters)


@pytest.mark.parametrize("mode", ["merge", "bypass", "recompute"])
def test_where_an_adapter_goes_is_looked_for_once(
    base: loading.LoadedModel, applier: AdapterApplier, mode: ApplyMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Layer] = []
    locate = targets._locate  # pyright: ignore[reportPrivateUsage]

    def counted(layer: Layer, index: targets.Index) -> Any:
        looked.append(layer)
        return locate(layer, index)

    monkeypatch.setattr(targets, "_locate", counted)
    wanted, adapters = asked("fluent-3d-locon", "fluent-3d-lokr", apply=mode)
    for _ in range(2):
        applier.apply(applier.plan(wanted, adapters), 0)
    assert len(looked) == sum(len(adapter.layers) for adapter in adapters)


@pytest.mark.parametrize("mode", ["merge", "bypass", "recompute"])
def test_stopped_between_two_stages_no_adapter_is_active(
    base: loading.LoadedModel, applier: AdapterApplier, mode: ApplyMode
) -> None:
    plain = bits(unet(base))
    wanted, adapters = asked("fluent-3d-lora", apply=mode, own={"schedule": [[0.0, 0.3], [0.5, 1.0]]}, steps=2)
    applied = applier.plan(wanted, adapters)

    def stop() -> None:
        raise Stop

    applier.apply(applied, 0)
    assert applier.active and bits(unet(base)) != plain
    with pytest.raises(Stop):
        applier.apply(applied, 1, stop)
    assert not applier.active
    assert bits(unet(base)) == plain


def test_what_an_interruption_left_in_the_weights_is_taken_off_before_a_bypass(
    base: loading.LoadedModel, applier: AdapterApplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bits_of(*base.components.values())
    merged, adapters = asked("fluent-3d-lora", apply="merge")
    applier.apply(applier.plan(merged, adapters), 0)

    def stop(_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(applier.patcher, "_unpatch", stop)
        applier.patcher.restore()
    assert bits_of(*base.components.values()) != before and not applier.active
    beside, adapters = asked("fluent-3d-lokr", apply="bypass")
    applier.apply(applier.plan(beside, adapters), 0)
    assert bits_of(*base.components.values()) == before and applier.active
