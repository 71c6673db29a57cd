"""A download goes on where it ended, and what comes is what was asked for or nothing."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from app.shared.errors import SourceAway, SourceRefused
from app.shared.fetching.download import download
from app.shared.fetching.fetcher import Bounds, Fetcher
from tests.app.shared.fetching.lying import Lying, answer

BODY = bytes(range(256)) * 40
BOUNDS = Bounds(len(BODY), 60)
TAG = '"one"'


class Hub:
    """A host that sends a file and breaks off where it is told to."""

    def __init__(self, body: bytes = BODY, tag: str = TAG, ranges: bool = True) -> None:
        self.body, self.tag, self.ranges = body, tag, ranges
        self.breaks: list[int] = []
        self.sent = 0

    def __call__(self, head: bytes) -> list[bytes]:
        wanted = re.search(rb"Range: bytes=(\d+)-\r\n", head)
        same = self.tag.encode() in head
        start = int(wanted[1]) if wanted and same and self.ranges else 0
        body = self.body[start:]
        end = self.breaks.pop(0) if self.breaks else len(body)
        status = f"{206 if start else 200} OK"
        more = {"Content_Range": f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"} if start else {}
        self.sent += end
        return [answer(body[:end], status, len(body), ETag=self.tag, **more)]


def fetch(hub: "Hub | bytes", file: Path, told: list[tuple[int, int | None]] | None = None) -> str:
    with Lying(hub).serving() as server:
        fetcher = Fetcher(allow=("127.0.0.1",))
        url = f"http://127.0.0.1:{server.port}/file"
        return download(fetcher.get, url, file, BOUNDS, lambda *one: told.append(one) if told is not None else None)


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    hub, file = Hub(), tmp_path / "part"
    hub.breaks = [1000, 2000]
    for _ in range(2):
        with pytest.raises(SourceAway):
            fetch(hub, file)
    told: list[tuple[int, int | None]] = []
    assert fetch(hub, file, told) == sha256(BODY).hexdigest()
    assert file.read_bytes() == BODY
    assert hub.sent == len(BODY), "no byte came twice"
    assert told[-1] == (len(BODY), len(BODY))
    assert fetch(hub, file) == sha256(BODY).hexdigest()
    assert hub.sent == len(BODY), "what is whole is not asked for"


@pytest.mark.parametrize("changed", ["tag", "ranges", "weak", "none"])
def test_what_cannot_go_on_begins_anew(changed: str, tmp_path: Path) -> None:
    hub, file = Hub(), tmp_path / "part"
    hub.tag = {"weak": 'W/"one"', "none": ""}.get(changed, hub.tag)
    hub.breaks = [1000]
    with pytest.raises(SourceAway):
        fetch(hub, file)
    if changed == "tag":
        hub.tag, hub.body = '"two"', BODY[::-1]
    hub.ranges = changed != "ranges"
    fetch(hub, file)
    assert file.read_bytes() == hub.body


PART = len(BODY) - 1000
WRONG_PARTS = {
    "another place": answer(b"x" * PART, "206 OK", Content_Range=f"bytes 0-{PART - 1}/{len(BODY)}"),
    "another whole": answer(b"x" * PART, "206 OK", Content_Range=f"bytes 1000-{len(BODY) - 1}/{len(BODY) + 1}"),
    "not to the end": answer(b"x" * 10, "206 OK", Content_Range=f"bytes 1000-1009/{len(BODY)}"),
    "another length": answer(b"x" * 10, "206 OK", Content_Range=f"bytes 1000-{len(BODY) - 1}/{len(BODY)}"),
    "several parts": answer(b"x", "206 OK", Content_Type="multipart/byteranges; boundary=a"),
    "nonsense": answer(b"x", "206 OK", Content_Range="bytes */*"),
}


@pytest.mark.parametrize("wrong", WRONG_PARTS)
def test_another_part_than_was_asked_for_is_refused(wrong: str, tmp_path: Path) -> None:
    hub, file = Hub(), tmp_path / "part"
    hub.breaks = [1000]
    with pytest.raises(SourceAway):
        fetch(hub, file)
    with pytest.raises(SourceRefused, match="another part"):
        fetch(WRONG_PARTS[wrong], file)
    assert not list(tmp_path.iterdir()), "nothing of it is gone on with"


def test_a_shorter_file_begins_anew(tmp_path: Path) -> None:
    hub, file = Hub(), tmp_path / "part"
    hub.breaks = [1000]
    with pytest.raises(SourceAway):
        fetch(hub, file)
    with pytest.raises(SourceAway, match="changed"):
        fetch(answer(status="416 Range Not Satisfiable"), file)
    assert fetch(hub, file) == sha256(BODY).hexdigest()


def test_what_lies_beside_a_part_is_data(tmp_path: Path) -> None:
    file = tmp_path / "part"
    for said in ("", "[]", '{"tag": 1, "size": 2}', '{"tag": "\\"a\\r\\nX: y\\"", "size": 9999}', '{"tag": "\\"a\\""}'):
        file.write_bytes(b"wrong")
        file.with_name("part.of").write_text(said)
        assert fetch(Hub(), file) == sha256(BODY).hexdigest()


def test_progress_that_raises_ends_a_download_that_goes_on_later(tmp_path: Path) -> None:
    class Over(Exception):
        pass

    def over(*_: object) -> None:
        raise Over

    hub, file = Hub(), tmp_path / "part"
    with Lying(hub).serving() as server, pytest.raises(Over):
        download(Fetcher(allow=("127.0.0.1",)).get, f"http://127.0.0.1:{server.port}/", file, BOUNDS, over)
    assert 0 < file.stat().st_size <= len(BODY)
    assert fetch(hub, file) == sha256(BODY).hexdigest()
