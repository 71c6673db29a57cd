"""Law 4, and with it 1 and 3: a storm loses nothing, fails nothing for what was away, and keeps every byte.

`python -m tests.storm` is the same by hand, for as long as one likes.
"""

from pathlib import Path

import pytest

from tests.storm.__main__ import storm

SECONDS = 45.0
SEED = 2


@pytest.mark.timeout(900)
def test_a_storm_breaks_no_law(tmp_path: Path) -> None:
    broken, memory, weather = storm(tmp_path, SECONDS, SEED, long=False)
    told = "\n".join([*weather.happened, *broken, (tmp_path / "log").read_text(errors="replace")[-4000:]])
    assert broken == [], told
    assert len(memory.accepted) >= 5 and len(weather.happened) >= 5, told
