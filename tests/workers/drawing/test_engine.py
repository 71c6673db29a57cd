"""The engine ends every generation it is given, draws what the stack says, and leaves nothing half-written."""

import hashlib
import io
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import structlog
from PIL import Image
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.contextvars import bound_contextvars

from app.shared.catalog import file_key
from app.shared.errors import Unavailable
from app.shared.generation_keys import image_key, pending_key
from app.shared.generations import Ledger
from app.shared.log import configure
from app.shared.metrics import counted
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.generation import StackMode, Status
from lycoris import Mode, StackRefused
from tests.app.shared.making import request
from tests.workers import toy
from tests.workers.drawing.asking import drawn, pictures, png, use
from workers import tasks
from workers.adapters import cache as adapters
from workers.drawing.engine import NOT_PRISTINE, Engine


def test_what_is_drawn_is_told_and_stored(
    engine: Engine, ledger: Ledger, storage: Storage, settings: Settings, redis: Redis
) -> None:
    generation = drawn(engine, ledger, count=2)
    assert generation.status is Status.SUCCEEDED
    assert generation.progress.step == generation.progress.steps == 6
    for image in generation.images:
        assert hashlib.sha256(png(storage, generation, image.index)).hexdigest() == image.sha256
    assert not storage.exists(pending_key(generation.id))
    assert counted(redis)["images"] == 2


def test_the_wire_and_the_patcher_know_the_same_ways_to_stack() -> None:
    assert get_args(StackMode) == get_args(Mode)


def test_no_history_and_no_order_changes_a_byte(engine: Engine, ledger: Ledger, storage: Storage) -> None:
    a, b = use(storage, 1, 0.7), use(storage, 2, -0.3)
    plain = png(storage, drawn(engine, ledger))
    both = png(storage, drawn(engine, ledger, adapters=[a, b]))
    assert both != plain
    drawn(engine, ledger, adapters=[a])
    drawn(engine, ledger, adapters=[b], seed=8)
    assert png(storage, drawn(engine, ledger, adapters=[b, a])) == both
    assert png(storage, drawn(engine, ledger)) == plain


def test_no_history_changes_a_byte_where_strength_goes_by_steps(
    engine: Engine, ledger: Ledger, storage: Storage
) -> None:
    a, b = use(storage, 1) | {"schedule": [[0.0, 0.2], [0.5, 1.5]]}, use(storage, 2, -0.3)
    for way in ("merge", "bypass"):
        asked = {"adapters": [a, b], "apply": way, "steps": 4}
        first = drawn(engine, ledger, **asked, count=2)
        assert first.applied == way
        drawn(engine, ledger, adapters=[b])
        drawn(engine, ledger, adapters=[a], apply="bypass")
        again = drawn(engine, ledger, **asked | {"adapters": [b, a]}, count=2)
        for index in range(2):
            assert png(storage, first, index) == png(storage, again, index)
        # The second picture begins where the first did, not where it ended
        alone = drawn(engine, ledger, **asked, seed=first.request.seed + 1)
        assert png(storage, alone) == png(storage, first, 1)


def test_a_stack_that_comes_on_between_two_steps_leaves_an_engine_that_works(
    engine: Engine, ledger: Ledger, storage: Storage
) -> None:
    """Steps are drawn in inference mode, and tensors made there are of no use outside."""
    late = [use(storage, seed) | {"schedule": [[0.0, 0.0], [0.5, 1.0]]} for seed in (1, 2)]
    stacks = [late, [use(storage, 1), use(storage, 2, 0.5)], [use(storage, 3), use(storage, 4)]]
    for stack in stacks:
        generation = drawn(engine, ledger, adapters=stack, steps=4, apply="merge")
        assert generation.status is Status.SUCCEEDED, generation.error


def test_strength_by_step_and_by_block_is_what_is_applied(engine: Engine, ledger: Ledger, storage: Storage) -> None:
    def pixels(**fields: Any) -> bytes:
        made = drawn(engine, ledger, adapters=[use(storage, 1) | fields], steps=4)
        with Image.open(io.BytesIO(png(storage, made))) as picture:
            return picture.tobytes()

    half, whole = pixels(strength=0.5), pixels()
    assert pixels(strength=9.0, schedule=[[0.0, 0.5], [0.5, 0.5]]) == half
    assert pixels(blocks={"block": 0.5}) == half
    assert pixels(schedule=[[0.0, 1.0]], blocks={"block.to_q": 0.5}) == half
    assert pixels(rank=1) == pixels(rank=4) == whole, "it has one"
    assert len({half, whole, pixels(schedule=[[0.0, 0.5], [0.5, 1.0]]), pixels(schedule=[[0.0, 1.0], [0.5, 0.5]])}) == 4


def test_a_second_try_draws_the_same_bytes(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel
) -> None:
    """The engine of the first try was killed after one picture of two."""
    whole = drawn(engine, ledger, count=2)
    generation = ledger.accept(request(count=2))
    ledger.start(generation.id)
    storage.put(image_key(generation.id, 0), b"half a picture")
    engine.run(generation.id)
    for index in range(2):
        assert png(storage, generation, index) == png(storage, whole, index)


# Errors


def test_a_redis_that_is_away_ends_nothing(
    engine: Engine, ledger: Ledger, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = ledger.accept(request())

    def fails(*_: object) -> None:
        raise RedisConnectionError("no queue")

    with monkeypatch.context() as patch, pytest.raises(RedisConnectionError):
        patch.setattr(engine, "_store", fails)
        engine.run(generation.id)
    assert ledger.end(generation.id) is None
    engine.run(generation.id)
    assert ledger.get(generation.id).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda storage, a: storage.delete(file_key(a["sha256"])), "adapter_file_missing"),
        (lambda storage, a: storage.put(file_key(a["sha256"]), toy.adapter(99)), "adapter_corrupt"),
    ],
)
def test_an_adapter_that_cannot_be_applied_fails_its_generation_alone(
    engine: Engine, ledger: Ledger, storage: Storage, spoil: Callable[[Storage, Any], None], code: str
) -> None:
    plain = png(storage, drawn(engine, ledger))
    a, b = use(storage, 1), use(storage, 2)
    spoil(storage, b)
    failed = drawn(engine, ledger, adapters=[a, b])
    assert failed.error is not None and failed.error.code == code
    assert pictures(storage, failed) == []
    assert png(storage, drawn(engine, ledger)) == plain, "the base is pristine"


def test_a_file_that_storage_does_not_give_fails_its_generation_alone_after_retries(
    engine: Engine, ledger: Ledger, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = use(storage, 1), use(storage, 2)
    really, asked = Storage.get, []

    def get(self: Storage, key: str) -> bytes | None:
        if key == file_key(a["sha256"]):
            asked.append(key)
            raise Unavailable("storage_unavailable", "it times out")
        return really(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "get", get)
        patch.setattr(adapters, "PAUSES_S", (0.0, 0.0))
        failed = drawn(engine, ledger, adapters=[b, a])
        assert failed.error is not None and failed.error.code == "adapter_not_fetched"
        assert len(asked) == 3 and pictures(storage, failed) == []
        assert drawn(engine, ledger, adapters=[b]).status is Status.SUCCEEDED
    assert drawn(engine, ledger, adapters=[b, a]).status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"negative_prompt": "blue"}, "not_obeyed"),
        ({"guidance_scale": 4.0}, "not_obeyed"),
        ({"width": 72}, "not_obeyed"),
    ],
)
def test_what_the_pipeline_would_drop_is_refused(
    engine: Engine, ledger: Ledger, storage: Storage, fields: dict[str, Any], code: str
) -> None:
    """Acceptance refuses it too, where it knows the base's profile."""
    refused = drawn(engine, ledger, **fields)
    assert refused.error is not None and refused.error.code == code and pictures(storage, refused) == []


def test_a_size_that_the_pipeline_would_round_is_refused(
    engine: Engine, ledger: Ledger, base: toy.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = base.profile.model_copy(update={"obeys": {}, "size_multiple": 16})
    monkeypatch.setattr(engine, "_base", replace(base, profile=facts))
    refused = drawn(engine, ledger, width=72)
    assert refused.error is not None and refused.error.code == "size_not_multiple"


def test_a_bug_fails_one_generation_and_leaves_no_picture(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel
) -> None:
    plain = png(storage, drawn(engine, ledger))
    steps = iter([False] * 4 + [True])

    def explode() -> None:
        if next(steps):
            raise ZeroDivisionError("in the middle of the second picture")

    base.pipeline.before_step = explode
    failed = drawn(engine, ledger, count=2, adapters=[use(storage, 1)])
    assert failed.error is not None and failed.error.code == "engine_error"
    assert "second picture" in failed.error.message
    assert pictures(storage, failed) == []
    base.pipeline.before_step = lambda: None
    assert png(storage, drawn(engine, ledger)) == plain


def test_what_is_logged_names_the_request_and_not_what_it_asked_for(
    engine: Engine, ledger: Ledger, base: toy.LoadedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode() -> None:
        raise ZeroDivisionError("nobody can draw 'a most private apple'")

    base.pipeline.before_step = explode
    with bound_contextvars(request_id="from-a-proxy.1"):
        generation = ledger.accept(request(prompt="a most private apple"))
    configure("info")
    tasks.hold_engine(engine)
    try:
        tasks.generate(generation.id)
    finally:
        logging.root.handlers = []
        structlog.reset_defaults()
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "engine_error" in line]
    assert (line["generation"], line["request_id"]) == (generation.id, "from-a-proxy.1")
    assert "nobody can draw '[prompt]'" in line["exception"] and "private" not in str(line)


# Others at the same generation


def test_an_engine_that_is_to_leave_puts_back_what_it_draws(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel
) -> None:
    plain = png(storage, drawn(engine, ledger))
    generation = ledger.accept(request())
    base.pipeline.before_step = engine.leave
    with pytest.raises(Unavailable, match="stopped"):
        engine.run(generation.id)
    base.pipeline.before_step = lambda: None
    assert ledger.get(generation.id).status is Status.QUEUED
    engine._leaving = False  # as the next one is
    engine.run(generation.id)
    assert png(storage, ledger.get(generation.id)) == plain


def test_a_cancel_between_steps_stops_the_drawing_and_clears_it(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel
) -> None:
    generation = ledger.accept(request(count=2))
    taken = 0

    def cancel() -> None:
        nonlocal taken
        taken += 1
        if taken == 5:  # in the second picture
            ledger.cancel(generation.id)

    base.pipeline.before_step = cancel
    engine.run(generation.id)
    assert taken == 5
    assert ledger.get(generation.id).status is Status.CANCELED
    assert pictures(storage, generation) == []


def test_a_cancel_does_not_wait_out_a_swap(
    engine: Engine, ledger: Ledger, storage: Storage, base: toy.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = ledger.accept(request(adapters=[use(storage, 1)]))
    plan, steps = engine._applier.plan, []

    def canceled_meanwhile(*arguments: Any) -> Any:
        ledger.cancel(generation.id)
        return plan(*arguments)

    monkeypatch.setattr(engine._applier, "plan", canceled_meanwhile)
    monkeypatch.setattr("workers.drawing.progress.ASK_EVERY_S", -1.0)
    base.pipeline.before_step = lambda: steps.append(1)
    engine.run(generation.id)
    assert not steps and not engine.active
    assert ledger.get(generation.id).status is Status.CANCELED


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_twin_that_finished_first_keeps_its_pictures(
    engine: Engine, ledger: Ledger, storage: Storage, redis: Redis, settings: Settings, base: toy.LoadedModel, when: int
) -> None:
    """A worker that was slow to answer is taken for dead and its job done elsewhere: both draw, one ends it."""
    generation = ledger.accept(request())
    twin = Engine(toy.base(), storage, redis, settings)
    taken = 0

    def finish_elsewhere() -> None:
        nonlocal taken
        taken += 1
        if taken == when:
            twin.run(generation.id)

    base.pipeline.before_step = finish_elsewhere
    engine.run(generation.id)
    ended = ledger.get(generation.id)
    assert ended.status is Status.SUCCEEDED
    assert hashlib.sha256(png(storage, ended)).hexdigest() == ended.images[0].sha256


def test_what_has_ended_is_not_drawn(engine: Engine, ledger: Ledger, storage: Storage) -> None:
    generation = ledger.accept(request())
    ledger.cancel(generation.id)
    engine.run(generation.id)
    engine.run("0" * 32)
    assert pictures(storage, generation) == []


@pytest.mark.parametrize("when", ["after a job", "after a refusal", "after a bug", "when idle"])
def test_a_model_that_is_not_pristine_any_more_draws_nothing_more(
    engine: Engine,
    ledger: Ledger,
    storage: Storage,
    redis: Redis,
    settings: Settings,
    base: toy.LoadedModel,
    when: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The process ends and the generation does not: RQ sees an engine die, and a new one does the job again."""
    asked = {"adapters": [use(storage, 1)], "apply": "merge"}
    assert drawn(engine, ledger, **asked).status is Status.SUCCEEDED
    engine.idle()
    (kept,) = engine._applier.patcher._backups.values()
    kept.pristine[0, 0] += 1

    class Exit(BaseException):
        """In place of the end of the process."""

    def leave(code: int) -> None:
        raise Exit(code)

    monkeypatch.setattr("os._exit", leave)
    failures = {"after a refusal": StackRefused([]), "after a bug": ZeroDivisionError()}

    def fail() -> None:
        if when in failures:
            raise failures[when]

    monkeypatch.setattr(base.pipeline, "before_step", fail)
    generation = ledger.accept(request(**asked))
    with pytest.raises(Exit, match=str(NOT_PRISTINE)):
        engine.idle() if when == "when idle" else engine.run(generation.id)
    assert ledger.get(generation.id).status is (Status.QUEUED if when == "when idle" else Status.RUNNING)
    monkeypatch.undo()
    Engine(toy.base(), storage, redis, settings).run(generation.id)
    assert ledger.get(generation.id).status is Status.SUCCEEDED
