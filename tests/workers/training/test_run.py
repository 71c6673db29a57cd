"""A training as a whole: stopped anywhere the same bytes, and nothing that it does not say changes them."""

import copy
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.shared.errors import BadRequest, NoRoom
from app.shared.storage import Storage
from lycoris import load
from lycoris.training.export import export
from tests.workers.training import trained
from tests.workers.training.trained import checkpoints, picture, small_base, training
from workers.models.components import components_of
from workers.models.loading import LoadedModel
from workers.training import examples as examples_module
from workers.training.plan import Sample
from workers.training.progress import Event, Note, Progress, Sampled, Saved
from workers.training.run import Canceled
from workers.training.samples import Samples
from workers.training.state import Diverged

pytestmark = pytest.mark.slow


def nothing(_: Event) -> None:
    """Tell nobody."""


def killed(run: Callable[[], Any]) -> int:
    """Run something in a process of its own; return the signal that ended it, 0 if none did."""
    child = os.fork()
    if not child:
        try:
            run()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status)


def dying(forward: int) -> Callable[[], bool]:
    """What ends its process before a forward, as kill -9 does; forwards are counted from here."""
    left = iter(range(forward))

    def asked() -> bool:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    return asked


def test_hazard_11_killed_at_any_step_it_ends_with_the_same_bytes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for algorithm in ("lokr", "lora") if request.config.getoption("every") else ("lokr",):
        _killed_often(algorithm, tmp_path / algorithm)


def _killed_often(algorithm: str, tmp_path: Path) -> None:
    changed = {
        "algorithm": algorithm,
        "count": 5,
        "gradient_accumulation_steps": 2,
        "ema_decay": 0.9,
        "lr_scheduler": "cosine",
        "shuffle_caption": True,
        "module_dropout": 0.25,
    }
    whole = training(tmp_path / "whole", **changed).run(nothing)
    broken = tmp_path / "broken"
    for forward in (1, 3, 5, 3):  # within a step, too; a checkpoint is made every four
        ended = killed(lambda at=forward: training(broken, **changed).run(nothing, dying(at)))
        assert ended == signal.SIGKILL
    assert training(broken, **changed).run(nothing).data == whole.data
    assert checkpoints(broken) == checkpoints(tmp_path / "whole")
    assert len(checkpoints(broken)) == 2


def test_extending_is_one_longer_training(tmp_path: Path) -> None:
    long = training(tmp_path / "long").run(nothing)
    training(tmp_path / "two", steps=2).run(nothing)
    assert training(tmp_path / "two").run(nothing).data == long.data
    with pytest.raises(BadRequest, match="step 4"):
        training(tmp_path / "two", steps=3).run(nothing)


def test_hazard_27_and_30_neither_samples_nor_what_ran_before_change_a_byte(tmp_path: Path) -> None:
    pristine = trained.weights(small_base())
    plain = training(tmp_path / "plain").run(nothing)
    torch.rand(7)
    events: list[Event] = []
    sampled = training(
        tmp_path / "sampled", samples=(Sample(prompt="a red apple"),), sample_every=2, checkpoint_every=3
    ).run(events.append)
    assert sampled.data == plain.data
    kinds = [type(event) for event in events if isinstance(event, Saved | Sampled)]
    assert kinds == [Sampled, Saved, Saved, Sampled], "before the last sample its checkpoint is there"
    assert all(event.image for event in events if isinstance(event, Sampled))
    after = trained.weights(small_base())
    assert all(torch.equal(after[name], weight) for name, weight in pristine.items())


def test_hazard_30_a_sample_that_fails_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no room for a picture")

    monkeypatch.setattr(Samples, "draw", fails)
    events: list[Event] = []
    training(tmp_path, steps=2, samples=(Sample(prompt="x"),)).run(events.append)
    assert [event.failed for event in events if isinstance(event, Sampled)] == ["RuntimeError: no room for a picture"]


def test_hazard_12_a_checkpoint_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    training(tmp_path, steps=2).run(nothing)
    one = training(tmp_path, steps=4)
    state, checkpoint = one._state, one._checkpoints.newest()
    assert checkpoint is not None
    (lost, *others) = checkpoint.tensors
    without = {name: checkpoint.tensors[name] for name in others}
    with pytest.raises(BadRequest, match=f"{lost} is missing"):
        state.restore(type(checkpoint)(2, without))
    with pytest.raises(BadRequest, match="factor/more is none"):
        state.restore(type(checkpoint)(2, {**checkpoint.tensors, "factor/more": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"seed": 8}, "plan"), ({"learning_rate": 1.0}, "plan"), ({"count": 2}, "pictures")],
)
def test_a_checkpoint_of_another_training_is_an_error(changed: dict[str, Any], named: str, tmp_path: Path) -> None:
    training(tmp_path, steps=2).run(nothing)
    with pytest.raises(BadRequest, match=named):
        training(tmp_path, **changed).run(nothing)


def test_a_checkpoint_at_a_rate_that_is_usual_no_more_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(tmp_path, steps=2, learning_rate=None).run(nothing)
    training(tmp_path, steps=2, learning_rate=None).run(nothing)
    monkeypatch.setattr("workers.training.run.rate_on", lambda _, own: 2 * own)
    with pytest.raises(BadRequest, match="other learning_rate"):
        training(tmp_path, steps=2, learning_rate=None).run(nothing)


def test_hazard_32_a_checkpoint_that_is_cut_off_is_passed_over(tmp_path: Path) -> None:
    whole = training(tmp_path).run(nothing)
    before, newest = sorted((tmp_path / "checkpoints").iterdir())
    contents = newest.read_bytes()
    again = training(tmp_path)
    for cut in range(0, len(contents), len(contents) // 20):
        newest.write_bytes(contents[:cut])
        found = again._checkpoints.newest()
        assert found is not None and found.step == 2
    assert again.run(nothing).data == whole.data
    assert newest.read_bytes() == contents and before.exists()


def test_hazard_32_a_full_disk_ends_it_with_a_sentence_and_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training(tmp_path / "whole").run(nothing)
    put, puts = Storage.put, iter(range(1))

    def full(self: Storage, key: str, data: Any) -> None:
        if next(puts, None) is None:
            raise NoRoom("no_room", "storage has no room")
        put(self, key, data)

    monkeypatch.setattr(Storage, "put", full)
    with pytest.raises(NoRoom):
        training(tmp_path / "full").run(nothing)
    monkeypatch.undo()
    assert [name[:7] for name in checkpoints(tmp_path / "full")] == ["0000002"]
    assert training(tmp_path / "full").run(nothing).data == whole.data


def test_a_cancel_is_heard_within_a_step_and_keeps_the_last_whole_one(tmp_path: Path) -> None:
    one = training(tmp_path, gradient_accumulation_steps=2, checkpoint_every=100)
    # Asked once a picture, then of two forwards a step: in the middle of the third
    asked = iter([False] * (len(one.examples.buckets) + 5) + [True])
    with pytest.raises(Canceled):
        one.run(nothing, lambda: next(asked))
    assert [name[:7] for name in checkpoints(tmp_path)] == ["0000002"]


def test_samples_of_a_checkpoint_are_drawn_though_it_died_before(tmp_path: Path) -> None:
    def dies(event: Any) -> None:
        if isinstance(event, Sampled):
            raise KeyboardInterrupt

    told: list[Any] = []
    asked = {"steps": 2, "checkpoint_every": 2, "samples": (Sample(prompt="a"),)}
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, **asked).run(dies)
    training(tmp_path, **asked).run(told.append)
    assert [event.step for event in told if isinstance(event, Sampled)] == [2]


def test_hazard_24_a_loss_that_is_not_finite_keeps_the_step_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training(tmp_path, checkpoint_every=100)
    made = one.examples.batch

    def spoilt(index: int) -> Any:
        found = made(index)
        if index == 2:
            found[0].target.fill_(float("nan"))
        return found

    monkeypatch.setattr(one.examples, "batch", spoilt)
    with pytest.raises(Diverged, match="nan at step 3"):
        one.run(nothing)
    assert [name[:7] for name in checkpoints(tmp_path)] == ["0000002"]


def test_hazard_24_latents_that_are_not_finite_name_their_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(_: Any, image: Any) -> torch.Tensor:
        return torch.full((1, 4, 8, 8), float("inf"))

    monkeypatch.setattr(examples_module, "encoded", spoilt)
    with pytest.raises(BadRequest, match=r"0\.png"):
        training(tmp_path / "store", kept=tmp_path / "kept").run(nothing)
    assert not [*(tmp_path / "kept").iterdir()]


def test_hazard_3_and_5_what_is_kept_changes_no_byte(tmp_path: Path) -> None:
    changed = {"shuffle_caption": True, "caption_dropout_rate": 0.3, "mirror": True}
    plain = training(tmp_path / "plain", **changed).run(nothing)
    for again in ("one", "two"):
        assert training(tmp_path / again, kept=tmp_path / "kept", **changed).run(nothing).data == plain.data
    others = [picture(number + (number == 2) * 10) for number in range(3)]  # one is another, of the same size
    anew = training(tmp_path / "three", pictures=others, **changed).run(nothing)
    kept = training(tmp_path / "four", pictures=others, kept=tmp_path / "kept", **changed).run(nothing)
    assert anew.data == kept.data != plain.data


def test_hazard_5_dropout_of_all_is_training_on_nothing(tmp_path: Path) -> None:
    silent = [picture(number, captions=("",)) for number in range(3)]
    dropped = training(tmp_path / "dropped", caption_dropout_rate=1.0).run(nothing)
    assert dropped.loss == training(tmp_path / "silent", pictures=silent).run(nothing).loss


def test_hazard_9_mirrored_pictures_are_encoded_on_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met = []
    own = examples_module.encoded
    monkeypatch.setattr(examples_module, "encoded", lambda pipeline, image: met.append(image) or own(pipeline, image))
    training(tmp_path / "a", mirror=True).run(nothing)
    assert len(met) == 6
    assert all(
        np.array_equal(np.asarray(other), np.asarray(plain)[:, ::-1])
        for plain, other in zip(met[::2], met[1::2], strict=True)
    )
    training(tmp_path / "b").run(nothing)
    assert len(met) == 9


def test_hazard_2_captions_over_the_limit_are_named(tmp_path: Path) -> None:
    long = [picture(0), picture(1, captions=("word " * 200,))]
    with pytest.raises(BadRequest, match=r"1\.png.*tokens long"):
        training(tmp_path, pictures=long)
    with pytest.raises(BadRequest, match="nothing is shuffled"):
        training(tmp_path, pictures=[picture(0, captions=("one piece",))], shuffle_caption=True)


def test_hazard_15_the_first_step_begins_at_the_base_and_moves_one_factor_of_a_pair(tmp_path: Path) -> None:
    one = training(tmp_path, steps=2, algorithm="lora", weight_decay=0.0)
    begun = {name: factor.clone() for name, factor in one.adapter.factors.items()}
    moved: list[set[str]] = []

    def look(event: Event) -> None:
        if isinstance(event, Progress):
            moved.append({n.split(".lora_")[1] for n, f in one.adapter.factors.items() if not torch.equal(f, begun[n])})

    one.run(look)
    assert moved == [{"up.weight"}, {"up.weight", "down.weight"}]


def test_hazard_33_text_encoders_are_trained_where_asked_with_and_without_checkpointing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("lycoris.recompute", "workers.training.run"):
        monkeypatch.setattr(f"{module}.SMALL", 0)  # nothing is too small to be computed anew
    losses = []
    for checkpointing in (False, True):
        one = training(
            tmp_path / str(checkpointing),
            steps=3,
            text_encoder=True,
            layers=("unet.mid_block*", "text_encoder*q_proj"),
            gradient_checkpointing=checkpointing,
            weight_decay=0.0,
        )
        begun = {name: factor.clone() for name, factor in one.adapter.factors.items()}
        told: list[Event] = []
        one.run(told.append)
        still = {name for name, factor in one.adapter.factors.items() if torch.equal(factor, begun[name])}
        assert not still and {name.split(".")[0] for name in begun} == {"unet", "text_encoder"}
        assert not [event for event in told if isinstance(event, Note) and "no influence" in event.text]
        losses.append([event.loss for event in told if isinstance(event, Progress)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_hazard_28_and_29_the_file_is_the_training(tmp_path: Path) -> None:
    one = training(tmp_path)
    data = one.run(nothing).data
    assert load(data).layers
    assert data == one.exported() != export(one.adapter)
    assert b"samples" not in data[: int.from_bytes(data[:8], "little")]


def test_in_float16_it_is_the_same_training_and_draws_within_a_step_of_255(tmp_path: Path) -> None:
    one, half = training(tmp_path / "one"), training(tmp_path / "half", dtype="float16")
    files = [each.run(nothing).data for each in (one, half)]
    assert len(files[1]) < len(files[0])
    assert checkpoints(tmp_path / "one") == checkpoints(tmp_path / "half")
    samples = Samples(small_base())
    drawn = [np.asarray(samples.draw(data, Sample(prompt="blocks")), np.int16) for data in files]
    assert np.abs(drawn[0] - drawn[1]).max() <= 1
    plain = samples.draw(export(training(tmp_path / "plain").adapter), Sample(prompt="blocks"))
    assert np.abs(drawn[0] - np.asarray(plain, np.int16)).max() > 4, "it has learned something"
    with torch.no_grad():
        next(iter(half.adapter.factors.values())).fill_(1e6)
    with pytest.raises(BadRequest, match="float16"):
        half.exported()


def test_hazard_29_beginning_from_a_file_takes_all_of_it_or_refuses(tmp_path: Path) -> None:
    before = training(tmp_path / "before")
    data = before.run(nothing).data
    again = training(tmp_path / "again", start=data, steps=1, learning_rate=0.0)
    again.run(nothing)
    own = before.adapter.factors
    assert all(torch.equal(factor, own[name]) for name, factor in again.adapter.factors.items())
    with pytest.raises(BadRequest, match="time_embedding"):
        training(tmp_path / "more", start=data, layers=("unet.mid_block*", "unet.time_embedding*"))


def test_hazard_16_what_is_trained_is_float32_whatever_the_base(tmp_path: Path) -> None:
    half = small_base()
    narrow = copy.deepcopy(half.pipeline).to(dtype=torch.bfloat16)
    profile = half.profile.model_copy(update={"dtype": "bfloat16"})
    one = training(tmp_path, on=LoadedModel(narrow, components_of(narrow), profile, half.folder), ema_decay=0.9)
    begun = {name: factor.clone() for name, factor in one.adapter.factors.items()}
    one.run(nothing)
    assert {tensor.dtype for tensor in one._state.checkpoint().tensors.values()} == {torch.float32}
    assert not any(torch.equal(factor, begun[name]) for name, factor in one.adapter.factors.items())


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
