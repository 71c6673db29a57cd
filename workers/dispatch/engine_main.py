"""The engine process: RQ's work horse, but one that loads its model once and then does job after job.

The generation worker starts it and sends it orders over a pipe; `workers/dispatch/engine_client.py` is the other end
and documents the protocol.
"""

import json
import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from typing import IO, Any

import structlog
from redis import Redis
from redis.exceptions import RedisError

from app.shared import tracing
from app.shared.connection import connect
from app.shared.errors import Unavailable
from app.shared.job import SERIALIZER
from app.shared.settings import BadSettings, Settings
from app.shared.storage import Storage
from app.shared.worker_state import tell_unservable
from workers import tasks
from workers.dispatch.affinity import AffinityQueue
from workers.dispatch.engine_client import NOT_LOADED
from workers.dispatch.performing import perform
from workers.drawing.engine import Engine
from workers.models.loading import load
from workers.models.publishing import Publisher

log = structlog.get_logger()

LEFT_S = 0.5  # for an order, where it is told to end before it has loaded
IDLE_S = 3  # without an order; after that a part of the model's weights is verified


def main(model: str, worker_name: str, orders_fd: int, replies_fd: int, settings: Settings) -> None:
    """Load the model, then do what the parent orders, until it closes the pipe or this process is told to end.

    Told while it loads, it stops at once, and puts back what it was given meanwhile.
    """
    orders: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.fdopen(orders_fd), orders), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    tracing.configure(settings, "engine")
    redis = connect(settings, patient=True)
    told: list[int] = []

    def leave_loading(number: int, _: object) -> None:
        told.append(number)
        raise _Told

    with os.fdopen(replies_fd, "w") as replies:
        try:
            signal.signal(signal.SIGTERM, leave_loading)
            engine, publisher = _load(model, redis, settings)
            signal.signal(signal.SIGTERM, lambda *_: engine.leave())
            if told:  # a library has caught what was raised
                engine.leave()
        except _Told:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with suppress(queue.Empty):  # to leave an order that it read would be a try
                if order := orders.get(timeout=LEFT_S):
                    tasks.hold_engine(_Leaving())
                    _perform(order, worker_name, redis, settings)
                    _reply(replies, {"done": order["job"]})
            return
        while True:
            try:
                order = orders.get(timeout=IDLE_S)
            except queue.Empty:
                if engine.leaving:
                    return
                engine.idle()
                _offer_again(publisher)
                continue
            if order:
                _perform(order, worker_name, redis, settings)
                if publisher.note_fetched():  # what comes from now on is accepted for these
                    _offer_again(publisher)
            state = {"base": engine.base, "device": engine.device, "preprocessors": publisher.preprocessors}
            held = {"active": engine.active, "resident": engine.resident}
            _reply(replies, {"done": order.get("job"), **state, **held})
            if engine.leaving:
                return


class _Told(BaseException):
    """This process was told to end while it loaded: no `except Exception` is to keep it from that."""


class _Leaving:
    """Stands for the engine of a process that ends before it has one."""

    def run(self, generation_id: str) -> None:
        """Put the job back, as an engine does that is to leave."""
        raise Unavailable("worker_stopped", "the worker is stopped; another draws it from the beginning")


def _perform(order: dict[str, str], worker_name: str, redis: Redis, settings: Settings) -> None:
    source = AffinityQueue(order["queue"], connection=redis, serializer=SERIALIZER)
    perform(order["job"], order["execution"], source, worker_name, redis, settings)


def _offer_again(publisher: Publisher) -> None:
    """Publish the base if it may be by now, or has to be again."""
    with suppress(Unavailable, RedisError):  # it is tried again the next time
        publisher.look_again()


def _listen(source: IO[str], orders: "queue.SimpleQueue[dict[str, str]]") -> None:
    for line in source:
        orders.put(json.loads(line))
    os._exit(0)  # the parent is gone, and nobody waits for the picture


def _reply(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def _load(model: str, redis: Redis, settings: Settings) -> tuple[Engine, Publisher]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    storage = Storage(settings.store_url)
    try:
        base = load(model, settings)
    except BadSettings as error:
        _tell(redis, model, str(error))
        raise
    except Exception as error:  # whatever its files make of the libraries: a sentence is clearer than a traceback
        known = isinstance(error, OSError | ValueError)
        why = _in_a_line(str(error) if known else f"{type(error).__name__}: {error}")
        log.debug("not_loaded", model=model, exc_info=True)
        _tell(redis, model, why)
        print(f"model {model!r} ({settings.models[model]}) could not be loaded: {why}", file=sys.stderr)
        raise SystemExit(NOT_LOADED) from error
    _tell(redis, model, "")
    publisher = Publisher(base, storage, redis, settings)
    try:
        publisher.offer()
    except Unavailable as error:
        sys.exit(f"model {model!r} could not be published: {error.message}")
    engine = Engine(base, storage, redis, settings)
    tasks.hold_engine(engine)
    return engine, publisher


def _tell(redis: Redis, model: str, why: str) -> None:
    with suppress(RedisError):  # it is said again by the next engine
        tell_unservable(redis, model, why)


def _in_a_line(message: str) -> str:
    return " ".join(message.split())
