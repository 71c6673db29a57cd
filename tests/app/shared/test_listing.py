"""Whatever happens, and whoever looks, a list has what storage has and is wanted, and nothing else."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.outgoing.gathering import TASK, Gathering
from app.shared.errors import Conflict, Gone, NotFound
from app.shared.generations import Ledger
from app.shared.index_database import IndexDatabase, moment
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wanted import EVERYTHING, Wanted, words
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import Generation, Status
from tests.app.shared.making import MODEL, request

PROMPTS = ("a red apple", "Äpfel, blue", "青い林檎 two", "a red house of apples")
ADAPTERS = [ResolvedAdapter(ref=name, name=name, version=1, sha256=name * 64) for name in "ab"]
WRITES = ("put", "create", "delete")


class Killed(Exception):
    """The process died."""


class World:
    """One store, two API processes with an index each, and everybody's doings."""

    def __init__(self, redis: Redis, settings: Settings, folder: Path, seed: int) -> None:
        self.storage, self.redis, self.settings, self.folder = Storage("memory:///"), redis, settings, folder
        self.chance = random.Random(seed)
        self.made: list[str] = []
        self.born = 0
        self.ledgers = [self.process(), self.process()]

    def process(self, owner: str | None = None) -> Ledger:
        """Another API process."""
        self.born += 1
        settings = self.settings.model_copy(update={"data_dir": self.folder / str(self.born)})
        return Ledger(self.storage, self.redis, settings, owner)

    @property
    def ledger(self) -> Ledger:
        """Either of the two."""
        return self.chance.choice(self.ledgers)

    def accept(self) -> None:
        asked = request(
            prompt=self.chance.choice(PROMPTS),
            model=self.chance.choice((MODEL, "other")),
            seed=self.chance.randint(0, 2),
            adapters=self.chance.sample(ADAPTERS, self.chance.randint(0, 2)),
        )
        key = self.chance.choice((None, f"key {self.chance.random()}"))
        ledger = self.ledger
        made = ledger.accept(asked, idempotency_key=key, fingerprint="body" if key else None)
        self.made.append(made.id)

    def _some(self) -> Generation:
        return self.ledger.get(self.chance.choice(self.made or ["0" * 32]))

    def end(self) -> None:
        how = self.chance.choice((Status.SUCCEEDED, Status.FAILED))
        self.ledger.finish(self._some().model_copy(update={"status": how}))

    def cancel(self) -> None:
        self.ledger.cancel(self._some().id)

    def star(self) -> None:
        self.ledger.star(self._some().id, self.chance.random() < 0.7)

    def delete(self) -> None:
        self.ledger.delete(self._some().id)

    def gather(self) -> None:
        Gathering(self.ledger, lines=self.chance.randint(1, 4)).run(TASK, lambda: None)

    def read(self) -> None:
        self.ledger.list(3, None, self.chance.choice((EVERYTHING, Wanted(model=MODEL))))

    def lose(self) -> None:
        for key in self.redis.keys("*"):  # type: ignore[union-attr]
            if self.chance.random() < 0.3:
                self.redis.delete(key)
        if self.chance.random() < 0.3:
            self.redis.flushall()

    def restart(self) -> None:
        self.ledgers[self.chance.randrange(2)] = self.process()

    @contextmanager
    def dying(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Whoever acts may die before one of the next writes."""
        left = self.chance.choice((99, self.chance.randint(0, 5)))

        def mortal(write: Callable[..., Any]) -> Callable[..., Any]:
            def call(*given: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return write(*given)

            return call

        with patch.context() as patched:
            for name in WRITES:
                patched.setattr(self.storage, name, mortal(getattr(self.storage, name)))
            with suppress(Killed, NotFound, Gone, Conflict):
                yield

    def sweep(self) -> None:
        """Nothing accepted is lost: what is pending is queued, or ended once more."""
        for one in [*self.ledgers[0].records.waiting()]:
            self.ledgers[0]._bring_back(one, None)  # pyright: ignore[reportPrivateUsage]

    def stored(self) -> list[Generation]:
        """All that storage has, newest first, one record after the other."""
        keys = [*self.storage.keys("pending"), *self.storage.keys("generations")]
        ids = {one for key in keys for one in key.removesuffix(".json").split("/") if len(one) == 32}
        found = []
        for one in ids:
            with suppress(NotFound, Gone):
                found.append(self.ledgers[0].get(one))
        return sorted(found, key=lambda one: (moment(one.id, one.created_at), one.id), reverse=True)


def everything(ledger: Ledger, limit: int, wanted: Wanted) -> list[str]:
    seen, cursor = [], None
    while True:
        page, cursor = ledger.list(limit, cursor, wanted)
        seen += [one.id for one in page]
        assert len(page) == limit or cursor is None
        if cursor is None:
            return seen


def by_hand(one: Generation, name: str, said: Any) -> bool:
    request = one.request
    match name:
        case "adapter":
            return said in {f"{use.name}:{use.version}" for use in request.adapters}
        case "q":
            return said in request.prompt.lower().replace(",", "").split()
        case "since":
            return one.created_at >= said
        case "until":
            return one.created_at < said
        case "model" | "seed":
            return getattr(request, name) == said
        case _:
            return getattr(one, name) == said


@pytest.mark.parametrize("seed", range(2))
def test_a_list_is_what_storage_has(
    redis: Redis, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = World(redis, settings, tmp_path, seed)
    acts = [world.accept] * 5 + [world.end] * 4 + [world.gather] * 2 + [world.star] * 2
    acts += [world.cancel, world.delete, world.read, world.lose, world.restart]
    for _ in range(9):
        for _ in range(world.chance.randint(1, 6)):
            with world.dying(monkeypatch):
                world.chance.choice(acts)()
        world.sweep()
        there = world.stored()
        asked: list[dict[str, Any]] = [
            {},
            {"status": world.chance.choice([*Status]), "model": MODEL},
            {"adapter": world.chance.choice(("a:1", "b:1")), "seed": 1},
            {"starred": world.chance.random() < 0.7, "q": "red"},
        ]
        if there:
            asked.append({"since": world.chance.choice(there).created_at, "model": MODEL})
            asked.append({"until": world.chance.choice(there).created_at})
        for ledger in world.ledgers:
            for wanted in asked:
                right = [one.id for one in there if all(by_hand(one, *said) for said in wanted.items())]
                assert everything(ledger, world.chance.randint(1, 5), Wanted(**wanted)) == right, wanted


def test_words_are_found_without_case_and_accents() -> None:
    assert words("Äpfel, BLUE_sky 2") == {"apfel", "blue", "sky", "2"}
    assert words("青い林檎 two") == {"青", "い", "林", "檎", "two"}
    assert words("!?") == set()


def test_an_index_is_read_by_its_user_alone(tmp_path: Path) -> None:
    IndexDatabase(tmp_path / "index" / "a.sqlite")
    assert (tmp_path / "index").stat().st_mode & 0o077 == 0
