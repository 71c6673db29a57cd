"""What jobs used, summed up by owner and day in this machine's index (`app/shared/index_database.py`).

Which jobs were counted stands beside the sums, by id and time of acceptance, for an id that an Idempotency-Key makes
comes again once what had it is forgotten. What was counted is counted for ever; that it was deleted takes its bytes
out of what is kept, once.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from app.shared.wire.usage import Used

GENERATION, TRAINING = "generations", "trainings"
AMOUNTS = ("generations", "trainings", "device_ms", "pictures", "steps", "size_bytes", "kept")
TABLES = f"""
CREATE TABLE IF NOT EXISTS used (
    id TEXT, created REAL, owner TEXT NOT NULL, day TEXT NOT NULL, size INTEGER NOT NULL, gone INTEGER NOT NULL,
    PRIMARY KEY (id, created)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_of_owner ON used (owner, created) WHERE gone = 0 AND size > 0;
CREATE TABLE IF NOT EXISTS usage (
    owner TEXT, day TEXT, {", ".join(f"{one} INTEGER NOT NULL" for one in AMOUNTS)}, PRIMARY KEY (owner, day)
) WITHOUT ROWID;
"""
UNCOUNTED = "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM used WHERE used.id = value)"
_ADD = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    generations = generations + excluded.generations, trainings = trainings + excluded.trainings,
    device_ms = device_ms + excluded.device_ms, pictures = pictures + excluded.pictures,
    steps = steps + excluded.steps, size_bytes = size_bytes + excluded.size_bytes, kept = kept + excluded.kept
"""
DAYS = """
SELECT * FROM usage WHERE (?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR day >= ?2) AND (?3 IS NULL OR day <= ?3)
ORDER BY day, owner
"""


class Counted(NamedTuple):
    """What one job used; created: seconds. gone: its pictures are not there any more."""

    id: str
    created: float
    owner: str
    used: Used
    gone: bool = False
    kind: str = GENERATION


def count(file: sqlite3.Connection, one: Counted) -> None:
    """Count a job, unless it was; inside a transaction."""
    used, day, size = one.used, one.used.day.isoformat(), one.used.size_bytes if one.kind == GENERATION else 0
    row = (one.id, one.created, one.owner, day, size, int(one.gone))
    if file.execute("INSERT OR IGNORE INTO used VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
        kinds = [int(one.kind == kind) for kind in (GENERATION, TRAINING)]
        amounts = [*kinds, used.device_ms, used.pictures, used.steps, used.size_bytes, 0 if one.gone else size]
        file.execute(_ADD, (one.owner, day, *amounts))
    elif one.gone:
        forget(file, one.id, one.created)


def forget(file: sqlite3.Connection, generation_id: str, created: float) -> None:
    """Take what a generation has stored out of what is kept, once; inside a transaction."""
    this = generation_id, created
    asked = "SELECT owner, day, size FROM used WHERE id = ? AND created = ? AND gone = 0"
    for owner, day, size in file.execute(asked, this).fetchall():
        file.execute("UPDATE used SET gone = 1 WHERE id = ? AND created = ?", this)
        file.execute("UPDATE usage SET kept = kept - ? WHERE owner = ? AND day = ?", (size, owner, day))


STORED = "SELECT owner, SUM(kept) FROM usage GROUP BY owner HAVING SUM(kept) > 0"
# Of an owner, or of all (NULL): which generation, whose, and how much it has stored; those after a place
OLDEST = """
SELECT id, owner, size, created FROM used WHERE gone = 0 AND size > 0 AND (?1 IS NULL OR owner = ?1)
AND (created, id) > (?2, ?3) ORDER BY created, id LIMIT ?4
"""


class Stored(NamedTuple):
    """A generation whose pictures are stored; created: seconds."""

    id: str
    owner: str
    size_bytes: int
    created: float


def forget_all(file: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Take what these generations have stored out of what is kept; inside a transaction."""
    for one in ids:
        for (created,) in file.execute("SELECT created FROM used WHERE id = ? AND gone = 0", (one,)).fetchall():
            forget(file, one, created)


def rows_of(found: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Each row by the names of what is in it."""
    return [dict(zip(("owner", "day", *AMOUNTS), one, strict=True)) for one in found]
