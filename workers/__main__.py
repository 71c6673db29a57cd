"""Programs of the device side: `python -m workers generate MODEL`, `python -m workers intake`, `… train`."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import uuid4

import structlog
import typer

from app.shared.any_encoding import speak_any_encoding
from app.shared.connection import AWAY, connect, warn_of_eviction
from app.shared.exit_with_parent import supervised, watch_parent
from app.shared.job import INTAKE, SERIALIZER, KnownQueue
from app.shared.log import configure
from app.shared.settings import WRONG_SETTINGS, BadSettings, Settings, serving_settings

BASE_CHANGED = (
    "the folder of model {!r} ({}) was changed while this worker ran, and its engine has loaded another base: start it "
    "again to draw with that (`radiata up`, docker compose, and whatever restarts what fails do so)"
)

log = structlog.get_logger()
cli = typer.Typer(add_completion=False, help="The workers of Radiata; settings come from RADIATA_… variables.")


def _settings() -> Settings:
    settings = serving_settings()
    configure(settings.log_level, settings.log_prompts)
    return settings


@contextmanager
def _ended_with_a_sentence() -> Iterator[None]:
    """End the program with a sentence where settings are wrong, or Redis is away for longer than it is waited for."""
    try:
        yield
    except BadSettings as error:
        print(f"settings: {error}", file=sys.stderr)
        sys.exit(WRONG_SETTINGS)
    except AWAY as error:
        sys.exit(f"Redis does not answer ({error}): start it, or say in RADIATA_REDIS_URL where it is")


@cli.command()
def generate(
    model: Annotated[str | None, typer.Argument(help="A model of RADIATA_MODELS; unset, the default one.")] = None,
) -> None:
    """Draw generations of one base model, one at a time, in an engine process that holds it."""
    watch_parent()
    with _ended_with_a_sentence():
        _generate(model)


def _generate(model: str | None) -> None:
    since = time.monotonic()
    settings = _settings()
    name = model or settings.model
    if name not in settings.models:
        raise typer.BadParameter(f"no model {name!r}; RADIATA_MODELS has {', '.join(settings.models)}")
    connection = connect(settings, patient=True)

    from workers.dispatch.affinity import affinity_queues
    from workers.dispatch.engine_client import NOT_LOADED
    from workers.dispatch.generation_worker import GenerationWorker

    queues = affinity_queues(name, connection, settings)
    worker = GenerationWorker(settings, queues, f"{name}.{uuid4().hex[:12]}", connection)
    worker.claim()
    warn_of_eviction(connection)
    try:
        if not worker.start_engine():
            status = worker.engine_status()
            if status in (WRONG_SETTINGS, NOT_LOADED):  # of which its own last line says why
                sys.exit(status)
            why = "its own lines above say why" if status >= 0 else f"signal {-status} ended it"
            sys.exit(f"the engine could not load model {name!r}; {why}")
        if not supervised():
            seconds = round(time.monotonic() - since, 1)
            log.info("worker_ready", model=name, base=worker.base[:12], device=worker.device, seconds=seconds)
        worker.work(logging_level="WARNING")
        if worker.base_changed:
            print(BASE_CHANGED.format(name, settings.models[name]), file=sys.stderr)
            sys.exit(os.EX_TEMPFAIL)
    finally:
        worker.stop_engine()


@cli.command()
def intake() -> None:
    """Inspect uploaded files, each in a fork of its own with a memory limit."""
    watch_parent()
    with _ended_with_a_sentence():
        _intake()


def _intake() -> None:
    since = time.monotonic()
    settings = _settings()
    connection = connect(settings, patient=True)

    from workers.dispatch.intake_worker import IntakeWorker

    queue = KnownQueue(INTAKE, connection=connection, serializer=SERIALIZER)
    worker = IntakeWorker(settings, [queue], f"intake.{uuid4().hex[:12]}", connection)
    worker.claim()

    from app.shared.storage import Storage
    from workers import tasks
    from workers.intake import Intake  # torch, for seconds: a Redis of another store is told before

    held = Intake(Storage(settings.store_url), connection, settings)
    tasks.hold_intake(held)
    worker.before_fork = held.prepare
    warn_of_eviction(connection)
    if not supervised():
        log.info("intake_ready", seconds=round(time.monotonic() - since, 1))
    worker.work(logging_level="WARNING")


@cli.command()
def train() -> None:
    """Train adapters, one at a time, each in a process of its own that is niced; no model is held in between."""
    watch_parent()
    with _ended_with_a_sentence():
        _train()


def _train() -> None:
    settings = _settings()
    connection = connect(settings, patient=True)

    from app.shared.queue import training_queue
    from workers.dispatch.training_worker import TrainingWorker

    names = map(training_queue, settings.models)
    queues = (KnownQueue(one, connection=connection, serializer=SERIALIZER) for one in names)
    worker = TrainingWorker(settings, [*queues], f"train.{uuid4().hex[:12]}", connection)
    worker.claim()
    warn_of_eviction(connection)
    if not supervised():
        log.info("trainer_ready", models=list(settings.models))
    worker.work(logging_level="WARNING")


@cli.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, hidden=True
)
def models(context: typer.Context) -> None:
    """Look into base models, fetch them, name them: `radiata models add`, `radiata models show`."""
    from workers.models.commands import cli as commands

    commands(context.args, prog_name="radiata models")


@cli.command(hidden=True)
def engine(model: str, worker_name: str, orders_fd: int, replies_fd: int) -> None:
    """The engine process of a generation worker; started by it, never by hand."""
    from workers.dispatch.engine_main import main

    with _ended_with_a_sentence():
        main(model, worker_name, orders_fd, replies_fd, _settings())


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    speak_any_encoding()
    cli()
