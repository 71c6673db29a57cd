"""What other tools keep beside an adapter is text from outside: taken as text, and nothing of it is an error."""

import json
from pathlib import Path

import pytest

from app.commands.sidecars import LARGEST, LONGEST, Sidecars, sidecars_of

CIVITAI = {
    "trainedWords": ["lily\u202e style", "red,  lily", "red, lily", 3, ""],
    "description": None,
    "model": {"name": "Lily", "description": "<p>Draws &lt;lilies&gt; in <b>red</b>.</p>\n<script>x()</script>"},
}
A1111 = {"description": "mine", "activation text": "my lily", "preferred weight": 0.8}


def beside(folder: Path, **files: str | bytes) -> Sidecars:
    for ending, content in files.items():
        name = "a.b" + ending.replace("_", ".")
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return sidecars_of(folder / "a.b.safetensors")


def test_nothing_beside_it_is_nothing(tmp_path: Path) -> None:
    assert beside(tmp_path) == Sidecars("", (), None) and beside(tmp_path).text == ""


def test_descriptions_words_and_covers_are_found(tmp_path: Path) -> None:
    found = beside(tmp_path, _civitai_info=json.dumps(CIVITAI), _preview_png=b"\x89PNG")
    assert found == Sidecars("Draws <lilies> in red . x()", ("lily style", "red, lily"), tmp_path / "a.b.preview.png")
    assert found.text == "Trigger words: lily style, red, lily. Draws <lilies> in red . x()"


def test_the_first_that_says_something_counts(tmp_path: Path) -> None:
    assert beside(tmp_path, _txt="\ufeffa text\n\x00here")[:2] == ("a text here", ())
    assert beside(tmp_path, _json=json.dumps(A1111))[:2] == ("mine", ("my lily",))
    assert beside(tmp_path, _civitai_info=json.dumps({"trainedWords": ["theirs"]}))[:2] == ("mine", ("theirs",))


def test_an_image_encoder_is_named_in_json(tmp_path: Path) -> None:
    assert beside(tmp_path, _json='{"image_encoder": "vit-g"}').image_encoder == "vit-g"
    assert beside(tmp_path, _json='{"image_encoder": "../x"}').image_encoder == "", "that is no name"


@pytest.mark.parametrize(
    "hostile",
    [
        b"{",
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"description": {"a": 1}, "trainedWords": {"b": 2}, "model": [1]}',
        b'{"description": 5, "trainedWords": [[["x"]]], "model": "m"}',
        b'{"description": "' + b"x" * 2 * LARGEST,
        b'{"description": "\\ud800\\u0000\\u001b[31m"}',
        b"3",
        b"null",
    ],
    ids=lambda text: text[:12].decode(errors="replace"),
)
def test_what_is_hostile_says_nothing(tmp_path: Path, hostile: bytes) -> None:
    found = beside(tmp_path, _civitai_info=hostile, _json=hostile)
    assert found.description in ("", "[31m") and found.words == ()


def test_what_is_long_is_cut(tmp_path: Path) -> None:
    words = [f"word {number}" for number in range(999)]
    found = beside(tmp_path, _json=json.dumps({"description": "x" * 9999, "trainedWords": words}))
    assert len(found.words) == 50 and len(found.text) == LONGEST
    assert len(beside(tmp_path, _json=json.dumps({"activation text": "y" * 9999})).words[0]) == 200


def test_a_folder_or_a_pipe_in_place_of_a_sidecar_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.b.json").mkdir()
    assert beside(tmp_path) == Sidecars("", (), None)
