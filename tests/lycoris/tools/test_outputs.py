"""Complete or not at all, whatever interrupts the writing; and progress on a terminal and elsewhere."""

import io
import sys
from pathlib import Path

import pytest

from lycoris import Code
from lycoris.errors import ToolRefused
from lycoris.tools import progress
from lycoris.tools.outputs import OF_A_MODEL, new_file, new_folder


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, MemoryError])
def test_interrupted_nothing_is_there_and_what_was_there_stays(
    interruption: type[BaseException], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / OF_A_MODEL).write_text("old")
    for name in ("file", "new"):
        with pytest.raises(interruption), new_file(tmp_path / name, force=True) as temporary:
            temporary.write_text("half")
            raise interruption
    for name in ("model", "other"):
        with pytest.raises(interruption), new_folder(tmp_path / name, tmp_path / "base", force=True) as temporary:
            (temporary / OF_A_MODEL).write_text("half")
            raise interruption
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "model", OF_A_MODEL]
    assert (tmp_path / "file").read_text() == (tmp_path / "model" / OF_A_MODEL).read_text() == "old"


def test_what_the_system_does_not_allow_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, no folder")
    for make in (new_file(tmp_path / "file" / "new"), new_folder(tmp_path / "file" / "new", tmp_path / "base")):
        with pytest.raises(ToolRefused) as refusal, make:
            pass
        assert [reason.code for reason in refusal.value.reasons] == [Code.UNWRITABLE]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "end"), [(_Terminal(), "\r\x1b[K"), (io.StringIO(), "\n")])
def test_progress(stream: io.StringIO, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "ON_TERMINAL", 0.0)
    monkeypatch.setattr(progress, "ELSEWHERE", 0.0)
    assert list(progress.on_stderr(range(4), "counting")) == [0, 1, 2, 3]
    output = stream.getvalue()
    assert "counting: 3 of 4 (75 %)" in output
    assert output.endswith(end)
    assert ("\n" in output) != stream.isatty()


def test_short_work_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.on_stderr(range(4), "counting")) == [0, 1, 2, 3]
    assert capsys.readouterr().err == ""
