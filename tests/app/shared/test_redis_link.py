"""Redis as others run it: over TLS, failed over by a name or by Sentinels, or of a kind that cannot be used."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from app.hub import Hub
from app.scripts import Script, Scripts
from app.shared import events
from app.shared.connection import Shutter, connect, connect_async
from app.shared.identity import claim_at_start
from app.shared.redis_link import NO_SENTINEL, REPLICA, WrongServer, client
from app.shared.redis_url import NO_CLUSTER
from app.shared.settings import BadSettings, Settings
from tests.app.proxy import Proxy
from tests.valkeys import Valkey, sentinel, valkey

WRITE = Script("return redis.call('INCR', KEYS[1])")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Valkey, Valkey]]:
    """Two servers on one port of two addresses, which need not be of one service."""
    folder = tmp_path_factory.mktemp("pair")
    with valkey(folder / "a") as one, valkey(folder / "b", host="127.0.0.2", port=one.port) as other:
        yield one, other


@pytest.fixture
def master_and_replica(pair: tuple[Valkey, Valkey]) -> tuple[Valkey, Valkey]:
    """The second follows the first, and has all that it has."""
    one, other = pair
    with one.redis() as first, other.redis() as second:
        first.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
        first.flushall()
        second.replicaof(one.host, str(one.port))
        until = time.monotonic() + 30
        while second.info("replication")["master_link_status"] != "up":  # type: ignore[index]
            assert time.monotonic() < until
            time.sleep(0.02)
    return one, other


def fail_over(old: Valkey, new: Valkey) -> None:
    """As managed services do it: the old master goes on answering, as a replica."""
    with old.redis() as first, new.redis() as second:
        second.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
        first.replicaof(new.host, str(new.port))


def on(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"redis_url": SecretStr(url), "storage_patience_s": 30.0})


@pytest.fixture
def named(master_and_replica: tuple[Valkey, Valkey], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names as a resolver has them at the moment."""
    names, resolve = {"redis.test": master_and_replica[0].host}, socket.getaddrinfo

    def resolved(host: str, *rest: object, **named: object) -> object:
        return resolve(names.get(host, host), *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return names


def test_a_name_that_points_to_a_new_master_is_followed(
    settings: Settings, master_and_replica: tuple[Valkey, Valkey], named: dict[str, str]
) -> None:
    """What waits for a job, reads answers, listens and runs scripts goes on at the new master."""
    old, new = master_and_replica
    there = on(settings, f"redis://redis.test:{old.port}/0")
    jobs = list[object]()
    with connect(there, patient=True) as waiting, connect(there, patient=True) as patient:
        waiter = threading.Thread(target=lambda: jobs.append(waiting.blpop(["jobs"], timeout=20)))
        waiter.start()
        patient.set("before", 1)
        with new.redis() as replica:
            while replica.get("before") is None:
                time.sleep(0.02)
        fail_over(old, new)
        threading.Timer(0.5, named.update, [{"redis.test": new.host}]).start()  # names are late
        patient.set("after", 1)
        with patient.pipeline() as pipe:
            pipe.incr("counted")
            pipe.incr("counted")
            assert pipe.execute() == [1, 2]
        patient.rpush("jobs", "one")
        waiter.join(20)
        assert jobs == [(b"jobs", b"one")] or jobs == [[b"jobs", b"one"]]
    with new.redis() as master:
        assert [master.get(key) for key in ("before", "after", "counted")] == [b"1", b"1", b"2"]


def test_who_hurries_moves_on_too_and_is_told_that_it_was_a_replica(
    settings: Settings, master_and_replica: tuple[Valkey, Valkey], named: dict[str, str]
) -> None:
    old, new = master_and_replica
    there = on(settings, f"redis://redis.test:{old.port}/0")

    async def law() -> None:
        scripts = Scripts(connect_async(there, Shutter()))
        assert await scripts.run(WRITE, ["n"]) == 1
        fail_over(old, new)
        with connect(there) as redis, pytest.raises(RedisConnectionError, match=REPLICA):
            redis.set("a", 1)
        with pytest.raises(RedisConnectionError, match=REPLICA):
            await scripts.run(WRITE, ["n"])
        named["redis.test"] = new.host
        await asyncio.sleep(1.1)  # for which everybody is told no
        assert await scripts.run(WRITE, ["n"]) == 2
        await scripts.aclose()

    asyncio.run(law())


def test_a_listener_at_sentinels_hears_on(settings: Settings, tmp_path: Path) -> None:
    """The master dies; whoever listens, writes or runs scripts finds the new one through the Sentinels."""
    with ExitStack() as held:
        old = held.enter_context(valkey(tmp_path / "old"))
        new = held.enter_context(valkey(tmp_path / "new", "--replicaof", f"{old.host} {old.port}"))
        watch = held.enter_context(sentinel(tmp_path / "sentinel", old))
        with watch.redis() as asked:
            until = time.monotonic() + 30
            while not asked.sentinel_slaves("pictures"):  # type: ignore[no-untyped-call]
                assert time.monotonic() < until
                time.sleep(0.02)
        # the first is none that lives
        there = on(settings, f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watch.port}/pictures")

        async def law() -> None:
            scripts, listening = Scripts(connect_async(there, Shutter())), connect_async(there)
            hub = Hub(listening, lambda _: None)
            heard = list[events.Event]()

            async def listen() -> None:
                async for some in hub.follow("a" * 32):
                    heard.extend(some)

            listener = asyncio.create_task(listen())
            assert await scripts.run(WRITE, ["n"]) == 1
            old.stop()

            def write() -> None:
                with connect(there, patient=True) as patient:
                    events.publish(patient, "a" * 32, "status", {"status": "canceled"}, 60)

            await asyncio.to_thread(write)
            await asyncio.wait_for(listener, 30)
            assert [one.data for one in heard] == [{"status": "canceled"}]
            await scripts.run(WRITE, ["n"])
            await hub.aclose()
            await scripts.aclose()
            await listening.aclose()

        asyncio.run(law())
        with new.redis() as master:
            assert master.role()[0] in (b"master", "master")  # type: ignore[index]


@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_what_cannot_be_used_is_refused_with_a_sentence(
    settings: Settings, master_and_replica: tuple[Valkey, Valkey], tmp_path: Path, mode: str
) -> None:
    one = (
        valkey(tmp_path / "c", "--cluster-enabled", "yes")
        if mode == "cluster"
        else sentinel(tmp_path / "s", master_and_replica[0])
    )
    with one as server:
        there = on(settings, server.url)
        with connect(there, patient=True) as redis, pytest.raises(BadSettings) as told:
            claim_at_start(there, redis)
        assert str(told.value) == f"RADIATA_REDIS_URL: {NO_CLUSTER if mode == 'cluster' else NO_SENTINEL}"

        async def asked() -> None:
            scripts = Scripts(connect_async(there, Shutter()))
            with pytest.raises(WrongServer):
                await scripts.run(WRITE, ["n"])
            await scripts.aclose()

        asyncio.run(asked())


def test_a_cluster_that_does_not_greet_is_known_by_what_it_refuses(tmp_path: Path) -> None:
    with (
        valkey(tmp_path / "c", "--cluster-enabled", "yes") as server,
        client(f"{server.url}?protocol=2") as redis,
        pytest.raises(WrongServer, match="Cluster"),
    ):
        redis.set("a", 1)


def test_tls_is_spoken_with_whom_the_authority_has_signed(
    settings: Settings, valkey: str, tmp_path: Path, redis: Redis
) -> None:
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    front = Proxy(valkey, context)
    try:
        url = front.url.replace("redis:", "rediss:")
        trusted = on(settings, f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        with connect(trusted, patient=True) as one:
            one.set("a", 1)

        async def asked() -> None:
            scripts = Scripts(connect_async(trusted, Shutter()))
            assert await scripts.run(WRITE, ["a"]) == 2
            await scripts.aclose()

        asyncio.run(asked())
        assert redis.get("a") == b"2"
    finally:
        front.cut()
    stranger = Proxy(valkey, context)
    try:
        with connect(on(settings, stranger.url.replace("redis:", "rediss:"))) as one, pytest.raises(RedisError):
            one.get("a")
    finally:
        stranger.cut()
