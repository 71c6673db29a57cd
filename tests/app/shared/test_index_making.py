"""An index is made once a folder, goes on where it was left, gives its newest pages early, and costs what it must."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from redis import Redis

from app.shared import following
from app.shared.errors import NotFound, Unavailable
from app.shared.following import Unfinished
from app.shared.generations import Ledger
from app.shared.index_database import LAST, IndexDatabase
from app.shared.owners import FIRST
from app.shared.segments import ADOPTED, SEGMENTS
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wanted import Wanted
from app.shared.wire.generation import Status
from tests.bench.listing import BEGAN, made_up

DAYS, OF_A_DAY = 6, 10
SAMPLE = 20_000


class Stored:
    """A store with a segment for each of some days, and the ids of the first owner's in them, newest first."""

    def __init__(self, storage: Storage, chance: random.Random) -> None:
        self.storage, self.ids = storage, list[str]()
        storage.put(ADOPTED, b"1")
        for day in range(DAYS):
            entries = []
            for number in range(OF_A_DAY):
                made = made_up(number, chance)
                created = BEGAN + timedelta(days=day, minutes=number)
                own_id = f"{int(created.timestamp() * 1000):012x}{made.id[12:]}"
                entries.append(made.model_copy(update={"id": own_id, "created_at": created, "owner": FIRST}))
            self.ids[:0] = [one.id for one in entries][::-1]
            text = b"".join(one.model_dump_json(exclude_defaults=True).encode() + b"\n" for one in entries)
            storage.put(f"{SEGMENTS}/{(BEGAN + timedelta(days=day)).date()}-1.jsonl", text)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Stored:
    for name, value in (("FEW", 0), ("AT_ONCE", 1), ("OTHERS_S", 0.01), ("PATIENCE_S", 0.2)):
        monkeypatch.setattr(following, name, value)
    return Stored(Storage("memory:///"), random.Random(5))


def process(stored: Stored, redis: Redis, settings: Settings, folder: Path) -> Ledger:
    return Ledger(stored.storage, redis, settings.model_copy(update={"data_dir": folder}))


def pages(ledger: Ledger, limit: int) -> list[str]:
    found, before = list[str](), None
    while True:
        ids, more = ledger.index.page(limit, before)
        found += ids
        if not more:
            return found
        before = ids[-1]


def test_the_newest_pages_are_there_before_the_whole_is(
    stored: Stored, redis: Redis, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, go_on, reached = process(stored, redis, settings, tmp_path), Event(), Event()
    read = ledger.following.segments.text

    def slow(name: str) -> bytes | None:
        if name < f"{(BEGAN + timedelta(days=DAYS - 3)).date()}":
            reached.set()
            assert go_on.wait(20)
        return read(name)

    monkeypatch.setattr(ledger.following.segments, "text", slow)
    ledger.following.begin()
    assert reached.wait(20)
    assert ledger.index.page(5, None) == (stored.ids[:5], True)
    assert ledger.index.page(5, stored.ids[4]) == (stored.ids[5:10], True)
    since = BEGAN + timedelta(days=DAYS - 1)
    assert ledger.index.page(50, None, Wanted(since=since))[0] == stored.ids[:OF_A_DAY]
    assert ledger.following.making.part == 0.5
    with pytest.raises(Unfinished, match=r"3 of 6 segments are in it, 50%") as refused:
        ledger.index.page(40, None)
    assert 1 <= (refused.value.retry_after_s or 0) <= following.LONGEST_S
    for wanted, before in ((Wanted(status=Status.CANCELED), None), (Wanted(), stored.ids[-1])):
        with pytest.raises(Unfinished):
            ledger.index.page(5, before, wanted)
    go_on.set()
    monkeypatch.setattr(following, "PATIENCE_S", 20.0)
    ledger.following.wait()
    assert pages(ledger, 7) == stored.ids and ledger.following.making.part == 1.0
    with pytest.raises(NotFound):
        ledger.index.page(5, "f" * 32)


@pytest.mark.parametrize("death", [Unavailable("storage_away", "it went away"), SystemExit("it went away")])
def test_one_process_of_a_folder_makes_it_and_another_goes_on(
    stored: Stored,
    redis: Redis,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    death: BaseException,
) -> None:
    read = Counter[str]()
    get = stored.storage.get

    def dying(key: str) -> bytes | None:
        if key.startswith(SEGMENTS):
            read[key] += 1
            if sum(read.values()) == 3:
                raise death
        return get(key)

    monkeypatch.setattr(stored.storage, "get", dying)
    monkeypatch.setattr(following, "PATIENCE_S", 20.0)
    first = process(stored, redis, settings, tmp_path)
    with pytest.raises(Unavailable, match="went away"):
        pages(first, 7)
    both = [process(stored, redis, settings, tmp_path) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(lambda one: pages(one, 7), both)] == [stored.ids] * 2
    assert sorted(read.values()) == [1] * (DAYS - 1) + [2], "only the one that failed was read twice"


class Counted:
    """An index over some made-up generations, and what SQLite did for it, in its own steps."""

    def __init__(self, folder: Path, count: int) -> None:
        self.database, self.steps, chance = IndexDatabase(folder / f"{count}.sqlite"), 0, random.Random(count)
        self.database._file.set_progress_handler(self._step, 10)  # pyright: ignore[reportPrivateUsage]
        for at in range(0, count, 1000):
            self.database.take([made_up(number, chance) for number in range(at, min(at + 1000, count))], f"{at}")
        self.made = self.steps
        self.deep = self.database.ended(FIRST, LAST, count)[-count // 8][1]

    def _step(self) -> int:
        self.steps += 1
        return 0

    def asked(self, wanted: Wanted | None, before: int) -> int:
        self.steps = 0
        if wanted is None:
            self.database.ended(FIRST, before, 51)
        else:
            self.database.marked(wanted.marks(FIRST), 0, before, 51)
        return self.steps


def test_ten_times_as_many_cost_no_page_more_and_an_index_ten_times_as_much(tmp_path: Path) -> None:
    small, large = Counted(tmp_path, SAMPLE // 10), Counted(tmp_path, SAMPLE)
    assert large.made < 12 * small.made
    asked: dict[str, Any] = {
        "everything": None,
        "status": Wanted(status=Status.FAILED),
        "adapter": Wanted(adapter="adapter-7"),
        "word": Wanted(q="word1"),
        "several": Wanted(status=Status.SUCCEEDED, model="flux", q="word1"),
    }
    for name, wanted in asked.items():
        for where in ("newest", "deep"):
            before = [LAST if where == "newest" else one.deep for one in (small, large)]
            cost = [one.asked(wanted, place) for one, place in zip((small, large), before, strict=True)]
            # A full page is the same work whatever it is taken from; of few, fewer are found
            assert cost[1] <= 3 * max(cost[0], 50), (name, where, cost)
