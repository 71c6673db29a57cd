"""What is due is done whatever else waits, fails or is held: no kind and no process hinders another."""

from collections.abc import Callable, Iterable

import pytest
from redis import Redis

from app.outgoing.courier import AGAIN_S, Courier
from app.outgoing.shares import WINDOW
from app.shared.outgoing import HELD_S, Outgoing, due_key

MANY = 70


class Handler:
    """Keeps a list of what it did; fails: what each call of it raises."""

    def __init__(self, stored: Iterable[str] = (), fails: Exception | None = None, most: int = 2) -> None:
        self.stored, self.fails, self.most, self.share = list(stored), fails, most, most
        self.done: list[str] = []

    def pending(self) -> Iterable[str]:
        if self.fails:
            raise self.fails
        return self.stored

    def owner(self, task_id: str) -> str:
        return ""

    def run(self, task_id: str, look: Callable[[], None]) -> float | None:
        look()
        self.done.append(task_id)
        if self.fails:
            raise self.fails
        return None


def id_of(number: int) -> str:
    return f"{number:032x}"


def test_what_waits_in_one_kind_holds_up_no_other(redis: Redis) -> None:
    outgoing, other = Outgoing(redis, lambda: 100.0), Handler()
    courier = Courier(outgoing, {"download": Handler(), "webhook": other})
    for number in range(MANY):
        outgoing.put(f"download:{id_of(number)}", -90)
    outgoing.put(f"webhook:{id_of(0)}")
    begun: list[str] = []
    courier.look(begun.append)
    assert begun == [f"download:{id_of(0)}", f"download:{id_of(1)}", f"webhook:{id_of(0)}"]


class Owned(Handler):
    """Tasks whose first digit is their owner."""

    def owner(self, task_id: str) -> str:
        return task_id[0]


def test_one_owners_many_tasks_stop_no_other_owners(redis: Redis) -> None:
    outgoing, handler = Outgoing(redis, lambda: 1000.0), Owned(most=6)
    handler.share = 2
    courier = Courier(outgoing, {"download": handler})
    for number in range(3 * WINDOW):
        outgoing.put(f"download:a{number:031x}", number - 900)
    for owner, number in (("b", 1), ("c", 1), ("b", 2), ("b", 3)):
        outgoing.put(f"download:{owner}{number:031x}", 0)
    begun: list[str] = []
    for _ in range(4):  # looks; what was begun goes on all the while
        courier.look(begun.append)
    assert [one[9] + one[-1] for one in begun] == ["a0", "a1", "b1", "c1", "b2"]
    for one in begun[:2]:
        courier.do(one)
    for _ in range(4):
        courier.look(begun.append)
    assert [one[9] + one[-1] for one in begun[5:]] == ["a2", "a3"]


def test_what_other_processes_do_hides_nothing_that_is_due(redis: Redis) -> None:
    outgoing = Outgoing(redis, lambda: 100.0)
    for number in range(MANY + 1):
        outgoing.put(f"download:{id_of(number)}", number - MANY)
    begun: list[str] = []
    for _ in range(MANY // 2 + 1):  # processes
        Courier(outgoing, {"download": Handler()}).look(begun.append)
    assert begun == [f"download:{id_of(number)}" for number in range(MANY + 1)]


def test_who_lost_a_task_gives_back_nobody_elses(redis: Redis) -> None:
    now = 100.0
    outgoing, task = Outgoing(redis, lambda: now), f"webhook:{id_of(0)}"
    outgoing.put(task)
    assert outgoing.take(task, "a") and not outgoing.take(task, "b")
    assert outgoing.keep(task, "a") and not outgoing.keep(task, "b")
    redis.delete(f"radiata:outgoing:{task}")  # as if it had been silent for too long
    now += HELD_S
    assert outgoing.due("webhook", 1) == [id_of(0)]
    assert outgoing.take(task, "b")
    outgoing.done(task, "a", None)
    assert not outgoing.take(task, "a") and redis.zscore(due_key("webhook"), task) == now + HELD_S
    outgoing.done(task, "b", None)
    assert not redis.exists(due_key("webhook"))


@pytest.mark.parametrize("fails", [RuntimeError("a bug, for a test"), OSError(28, "full")], ids=repr)
def test_a_failure_of_one_kind_is_no_end_of_another(redis: Redis, fails: Exception) -> None:
    outgoing, broken, whole = Outgoing(redis, lambda: 100.0), Handler(fails=fails), Handler([id_of(1)])
    courier = Courier(outgoing, {"download": broken, "webhook": whole})
    outgoing.put(f"download:{id_of(0)}")
    courier.look(courier.do)
    assert (broken.done, whole.done) == ([id_of(0)], [id_of(1)])
    assert redis.zscore(due_key("download"), f"download:{id_of(0)}") == 100.0 + AGAIN_S


def test_no_error_ends_the_thread_that_looks(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    courier = Courier(Outgoing(redis), {})
    looked: list[int] = []

    def look(_begin: object) -> None:
        looked.append(1)
        courier.wake()
        if len(looked) == 3:
            courier.stop_taking()
        raise ZeroDivisionError("a bug, for a test")

    monkeypatch.setattr(courier, "look", look)
    courier.watch()
    assert len(looked) == 3
