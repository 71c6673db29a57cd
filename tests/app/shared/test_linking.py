"""A file in a second place: no second copy where the file system can do that, and never a symbolic link."""

import errno
from pathlib import Path

import pytest

from app.shared import linking
from app.shared.linking import place


@pytest.mark.parametrize("can", ["reflink", "hard link", "copy"])
def test_a_file_is_placed_as_well_as_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can: str) -> None:
    source, target = tmp_path / "a", tmp_path / "b" / "c"
    source.write_bytes(b"bytes")
    target.parent.mkdir()
    (tmp_path / "link").symlink_to(source)

    def clone(to: int, _: int, of: int) -> None:
        if can != "reflink":
            raise OSError(errno.EOPNOTSUPP, "not here")
        linking.os.sendfile(to, of, 0, 100)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(linking.fcntl, "ioctl", clone)
    if can == "copy":
        monkeypatch.setattr(linking.os, "link", refuse)
    for given in (source, tmp_path / "link", source):  # twice the same: nothing is in the way
        assert place(given, target) == can
        assert target.read_bytes() == b"bytes" and not target.is_symlink()
        assert target.samefile(source) == (can == "hard link")
        assert [one.name for one in target.parent.iterdir()] == ["c"]
    with pytest.raises(FileNotFoundError):
        place(tmp_path / "gone", tmp_path / "d")
    assert not (tmp_path / "d").exists()
