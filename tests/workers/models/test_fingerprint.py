"""A base is known by its files, whatever was remembered of them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.models import fingerprint as module
from workers.models.fingerprint import Digests, fingerprint
from workers.models.folder import ModelFolder


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (lambda at: (at / "unet" / "weights.safetensors").write_bytes(b"Weights"), True),
        (lambda at: (at / "unet" / "config.json").write_text("{}"), True),
        (lambda at: (at / "model_index.json").write_text('{"_class_name": "Z", "unet": []}'), True),
        (lambda at: (at / "unet" / "weights.safetensors").rename(at / "unet" / "w.safetensors"), True),
        (lambda at: (at / "README.md").write_text("another card"), False),
        (lambda at: (at / "adapters" / "weights.safetensors").write_bytes(b"other"), False),
    ],
)
def test_a_fingerprint_is_of_what_draws(folder: Path, change: Callable[[Path], object], matters: bool) -> None:
    before = fingerprint(ModelFolder(folder))
    change(folder)
    assert (fingerprint(ModelFolder(folder)) != before) is matters


def test_a_fingerprint_does_not_know_where_it_is(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    before = fingerprint(ModelFolder(folder))
    folder.rename(elsewhere)
    assert fingerprint(ModelFolder(elsewhere)) == before


def test_what_is_remembered_is_not_read_again_and_is_the_same(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, read = tmp_path_factory.mktemp("notes") / "digests", []
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(module, "SETTLED_S", -1.0)
    monkeypatch.setattr(module, "_read", lambda file, _read=module._read: read.append(file) or _read(file))
    plain = fingerprint(ModelFolder(folder))
    assert fingerprint(ModelFolder(folder), digests=Digests(notes)) == plain
    read.clear()
    assert fingerprint(ModelFolder(folder), digests=Digests(notes)) == plain
    assert read == []


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"Weights"),
        lambda file: (file.rename(file.with_name("old")), file.write_bytes(b"Weights"), file.with_name("old").unlink()),
        lambda file: (file.unlink(), file.symlink_to(file.parent.parent / "adapters" / "other")),
    ],
    ids=["in place", "replaced", "a link elsewhere"],
)
def test_a_file_with_other_bytes_of_one_size_and_time_is_read_again(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], object],
) -> None:
    notes = tmp_path_factory.mktemp("notes")
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(module, "SETTLED_S", -1.0)
    file, before = folder / "unet" / "weights.safetensors", fingerprint(ModelFolder(folder), digests=Digests(notes))
    times = file.stat()
    (folder / "adapters" / "other").write_bytes(b"Weights")
    change(file)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint(ModelFolder(folder), digests=Digests(notes)) == fingerprint(ModelFolder(folder)) != before


def test_a_file_that_may_still_be_written_to_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 0)
    file, notes = tmp_path / "file", tmp_path / "notes"
    file.write_bytes(b"weights")
    Digests(notes).of(file)
    assert not notes.exists()


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b"{}", b"\xff", b'{"sha256": 5}'])
def test_rubbish_among_the_notes_costs_time_and_nothing_else(
    tmp_path: Path, rubbish: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(module, "SETTLED_S", -1.0)
    file, notes = tmp_path / "file", tmp_path / "notes"
    file.write_bytes(b"weights")
    known = Digests(notes).of(file)
    next(notes.iterdir()).write_bytes(rubbish)
    assert Digests(notes).of(file) == Digests().of(file) == known


def test_notes_that_cannot_be_written_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(module, "SETTLED_S", -1.0)
    file, notes = tmp_path / "file", tmp_path / "notes"
    file.write_bytes(b"weights")
    notes.write_text("no folder")
    assert Digests(notes).of(file) == Digests().of(file)
