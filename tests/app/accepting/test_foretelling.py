"""A training is judged, and foretold, by the layers that the base's worker wrote down."""

import time
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from app.accepting.trainings import foretell, resolve
from app.shared.catalog import Catalog
from app.shared.datasets import Datasets, dataset_of
from app.shared.errors import BadRequest, Unavailable
from app.shared.facts import BaseLayer, BaseLayers, BaseTokenizers, TokenizerFile
from app.shared.generations import Ledger
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.trainings import Trainings
from app.shared.wire.dataset import DatasetPicture, DatasetReport
from app.shared.wire.generation import Status, Timings
from app.shared.wire.training import TrainingProgress, TrainingRequest
from tests.app.accepting.test_judging_tokens import like_t5
from tests.app.shared.making import profile, request, training_request

SIZES = ((64, 64), (64, 64), (128, 64))
SHAPES = {"to_q": ("linear", (8, 12)), "conv": ("convolution", (8, 4, 3, 3)), "norm": ("norm", (8,))}
LAYERS = [
    BaseLayer.model_validate(
        {"component": "unet", "path": f"down_blocks.0.{name}", "kind": kind, "shape": shape, "bias": True}
    )
    for name, (kind, shape) in SHAPES.items()
]


def facts(**fields: Any) -> BaseLayers:
    plain = {"fingerprint": profile().fingerprint, "untrainable": "", "flow": False, "size_bytes": 1000}
    return BaseLayers.model_validate(plain | {"layers": LAYERS} | fields)


@pytest.fixture
def parts(storage: Storage, redis: Redis, settings: Settings) -> Any:
    profiles = Profiles(storage, settings)
    profiles.publish(profile(), {"unet": {}}, [facts()])
    return SimpleNamespace(
        settings=settings,
        profiles=profiles,
        catalog=Catalog(storage, redis),
        datasets=Datasets(storage),
        trainings=Trainings(storage, redis, settings),
        ledger=Ledger(storage, redis, settings),
    )


def body(parts: Any, sizes: tuple[tuple[int, int], ...] = SIZES, **fields: Any) -> TrainingRequest:
    pictures = [
        DatasetPicture(ref=f"image:{at:064x}", caption=f"a {at}", width=width, height=height, name=f"{at}.png")
        for at, (width, height) in enumerate(sizes)
    ]
    dataset = parts.datasets.keep(dataset_of(pictures, DatasetReport(), datetime.now(UTC)))[0].ref
    return TrainingRequest.model_validate({"name": "style", "dataset": dataset, "algorithm": "lora"} | fields)


def test_it_is_told_what_is_trained_and_what_it_costs(parts: Any) -> None:
    found = foretell(parts, body(parts, rank=2, steps=30, batch_size=2))
    assert (found.layers, found.parameters) == ({"unet": 1}, 2 * (8 + 12))
    assert found.memory_bytes == 1000 + 2 * (8 + 12) * 4 * 4 + found.activation_bytes > found.activation_bytes > 0
    assert {(one.width, one.height): one.pictures for one in found.buckets}[64, 64] == 2
    assert found.epochs == 15 and found.seconds is None and found.request.rank == 2
    assert list(parts.trainings.records.waiting()) == []
    before = parts.trainings.accept(training_request(base=profile().fingerprint))
    parts.trainings.tell(before.id, TrainingProgress(step=1, steps=40, pictures_per_s=4.0))
    again = foretell(parts, body(parts, rank=2, steps=30, batch_size=2, ema_decay=0.9))
    assert again.seconds == 15.0 and again.memory_bytes == found.memory_bytes + 4 * found.parameters


def test_the_time_is_told_by_the_newest_training_of_the_algorithm_and_no_older_one_is_read(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    within = Trainings.within
    for at, (algorithm, pace) in enumerate((("lora", 1.0), ("lora", 4.0), ("lokr", 5.0))):
        request = training_request(base=profile().fingerprint, algorithm=algorithm, seed=at)
        one = parts.trainings.accept(request)
        parts.trainings.tell(one.id, TrainingProgress(step=1, steps=40, pictures_per_s=pace))
        time.sleep(0.002)  # an id has the millisecond
    monkeypatch.setattr(Trainings, "within", lambda self, *of: read.append(of[1]) or within(self, *of))
    for algorithm, seconds, looked_at in (("lora", 10.0, 2), ("dora", 8.0, 3)):
        read.clear()
        assert foretell(parts, body(parts, rank=2, steps=40, algorithm=algorithm)).seconds == seconds
        assert len(read) == looked_at


def test_before_the_first_training_the_time_is_told_by_what_was_drawn(parts: Any) -> None:
    base = profile(negative_over=1.0)
    for fingerprint, sample in (("9" * 64, 1.0), (base.fingerprint, 600.0)):
        drawn = parts.ledger.accept(request(base=fingerprint, steps=10, guidance_scale=3.0))
        timings = Timings(sample=sample)
        parts.ledger.finish(drawn.model_copy(update={"status": Status.SUCCEEDED, "timings_ms": timings}))
    parts.profiles = Profiles(parts.catalog._storage, parts.settings)
    parts.profiles.publish(base, {"unet": {}}, [facts()])
    small = ((64, 64), (64, 64))
    for checkpointing, passes in ((True, 4), (False, 3)):
        asked = body(parts, small, rank=2, steps=100, gradient_checkpointing=checkpointing)
        found = foretell(parts, asked)
        assert (found.seconds, found.seconds_by) == (pytest.approx(100 * passes * 0.6 / 20), "drawing")


@pytest.mark.parametrize(
    ("said", "fields", "places"),
    [
        ({}, {"layers": ["unet.nowhere*"]}, ["/layers"]),
        ({}, {"algorithm": "norm", "layers": ["*.to_q"]}, ["/layers"]),
        ({}, {"rank": 9}, ["/rank"]),
        ({}, {"algorithm": "c3a", "rank": 1}, ["/layers"]),
        ({"layers": LAYERS[1:]}, {"rank": 2}, ["/layers"]),
        ({}, {"weighting_scheme": "mode"}, ["/weighting_scheme"]),
        ({"flow": True}, {"snr_gamma": 5}, ["/snr_gamma"]),
        ({"flow": True}, {"snr_gamma": 5, "rank": 0x1001}, ["/rank", "/snr_gamma"]),
        ({"untrainable": "it was distilled"}, {}, ["/model"]),
    ],
    ids=str,
)
def test_what_the_base_cannot_do_is_refused_at_once(
    parts: Any, said: dict[str, Any], fields: dict[str, Any], places: list[str]
) -> None:
    parts.profiles.publish(profile(), {"unet": {}}, [facts(**said)])
    with pytest.raises(BadRequest) as refused:
        resolve(parts, body(parts, **fields))
    assert sorted({one["pointer"] for one in refused.value.reasons}) == places


def test_what_was_left_open_is_as_the_base_has_it_and_says_why(parts: Any) -> None:
    wide = [LAYERS[0].model_copy(update={"shape": (64, 64)})]
    for pipeline, flow, rate, rank in (("Krea2Pipeline", True, 3e-4, 32), ("StableDiffusionPipeline", False, 1e-4, 16)):
        base = profile(pipeline=pipeline)
        parts.profiles = Profiles(parts.catalog._storage, parts.settings)
        parts.profiles.publish(base, {"unet": {}}, [facts(layers=wide, flow=flow)])
        found = foretell(parts, body(parts))
        assert (found.request.learning_rate, found.request.rank, found.request.alpha) == (rate, rank, rank)
        assert found.request.weighting_scheme == ("logit_normal" if flow else None)
        assert {"rank", "alpha", "learning_rate", "steps", "weighting_scheme" if flow else "snr_gamma"} < {*found.why}
        asked = body(parts, rank=4, alpha=2, learning_rate=1e-3, steps=9, area=4096, lr_scheduler="cosine")
        assert not {"rank", "alpha", "learning_rate", "steps", "area", "lr_scheduler"} & {*foretell(parts, asked).why}


def test_pictures_below_the_smallest_size_are_named(parts: Any) -> None:
    with pytest.raises(BadRequest, match=r"'1\.png' is 4×4 pixels"):
        resolve(parts, body(parts, sizes=((64, 64), (4, 4), (64, 64))))


def test_captions_over_the_limit_are_named_by_their_pictures(parts: Any) -> None:
    file = TokenizerFile(component="text_encoder", text=like_t5().to_str(), most=4)
    read = BaseTokenizers(fingerprint=profile().fingerprint, tokenizers=[file])
    parts.profiles.publish(profile(), {"unet": {}}, [facts(), read])
    with pytest.raises(BadRequest) as refused:
        resolve(parts, body(parts, trigger="zar"))
    assert [one["pointer"] for one in refused.value.reasons] == ["/dataset"] * 3
    assert "the caption of '0.png' and the trigger are 8 tokens long; this model reads 4" in refused.value.message
    assert refused.value.reasons[0]["allowed"] == {"maxTokens": 4}


def test_without_a_word_of_the_worker_the_worker_judges(parts: Any) -> None:
    parts.profiles.publish(profile(), {"unet": {}}, [facts(fingerprint="8" * 64)])
    assert resolve(parts, body(parts, layers=["unet.nowhere*"])).layers == ["unet.nowhere*"]
    with pytest.raises(Unavailable, match="no worker has said"):
        foretell(parts, body(parts))
