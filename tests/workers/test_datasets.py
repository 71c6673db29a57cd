"""Datasets from outside: what a caption belongs to, what is refused, and one ref for one content."""

import io
import json
import stat
import zipfile
from typing import Any

import httpx
import pytest
from PIL import Image

from app.http.forms import MOST_FILES
from app.routes.datasets import upload
from app.shared.datasets import Datasets, dataset_key
from app.shared.discretion import Discretion
from app.shared.errors import DatasetRefused
from app.shared.lifecycle import now
from app.shared.log import about
from app.shared.pictures import Pictures
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.wire.dataset import MAX_CAPTION, Dataset
from tests.app.conftest import serving
from workers.datasets import ReceivedDatasets
from workers.intake import Intake

Files = dict[str, bytes]


def picture(shade: int = 0, size: tuple[int, int] = (40, 90), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 10, 10)).save(file, kind, lossless=True)
    return file.getvalue()


def zipped(files: Files) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


@pytest.fixture
def kept(storage: Storage, settings: Settings) -> Any:
    """What becomes of files that are sent as a zip."""
    received = ReceivedDatasets(storage, Pictures(storage), settings)

    def keep(files: Files | bytes, default: str | None = None, unreadable: Any = "refuse") -> Dataset:
        data = files if isinstance(files, bytes) else zipped(files)
        return received.keep(data, default, unreadable, now())[0]

    return keep


def captions(dataset: Dataset) -> dict[str, tuple[str | None, str, int]]:
    return {one.name: (one.caption, one.source, one.repeats) for one in dataset.pictures}


def test_captions_are_read_from_texts_tables_and_folders(kept: Any) -> None:
    rows = [{"file_name": "2.png", "text": "two"}, {"file_name": "gone.png", "text": "nobody"}]
    dataset = kept(
        {
            "a/1.png": picture(1),
            "a/1.txt": "\ufeffeine Katze, 猫\n".encode(),
            "b/2.png": picture(2),
            "b/metadata.jsonl": "\n".join(map(json.dumps, rows)).encode(),
            "c/3.PNG": picture(3),
            "c/metadata.csv": b'file_name,text\n3.PNG,"three, with a comma"\n',
            "10_lily/4.png": picture(4),
            "10_lily/5.png": picture(5),
            "10_lily/5.txt": b"",
            "7.png": picture(7),
            "alone.txt": b"nothing",
            "__MACOSX/._7.png": b"junk",
            "notes.pdf": b"%PDF",
        }
    )
    assert captions(dataset) == {
        "a/1.png": ("eine Katze, 猫", "file", 1),
        "b/2.png": ("two", "metadata", 1),
        "c/3.PNG": ("three, with a comma", "metadata", 1),
        "10_lily/4.png": ("lily", "folder", 10),
        "10_lily/5.png": ("", "file", 10),
        "7.png": (None, "missing", 1),
    }
    report = dataset.report
    assert report.captions == {"file": 2, "metadata": 2, "folder": 1, "missing": 1} and report.pictures == 6
    assert (report.missing, report.empty) == (["7.png"], ["10_lily/5.png"])
    assert sorted(report.orphaned) == ["alone.txt", "b/metadata.jsonl: b/gone.png"]
    assert sorted(report.ignored) == ["__MACOSX/._7.png", "notes.pdf"] and report.sizes == {"40×90": 6}


def test_names_are_compared_as_paths_and_lines_end_where_json_lines_do(kept: Any) -> None:
    row = '{"file_name": "./b.png", "text": "one\u2028two"}\r\n\r\n{"file_name": "c.png", "text": "c"}\r\n'
    files = {"./a.png": picture(1), "./metadata.csv": b"file_name,text\na.png,one\n", "b/b.png": picture(2)}
    dataset = kept(files | {"b//c.png": picture(3), "b/metadata.jsonl": row.encode()})
    found = {name: caption for name, (caption, *_) in captions(dataset).items()}
    assert found == {"a.png": "one", "b/b.png": "one\u2028two", "b/c.png": "c"}


def test_no_log_of_intake_says_a_caption(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []

    def broken(*_: object) -> None:
        line = {"event": "failed", "error": "no room for 'a most private plum', nor for 'a hidden pear'"}
        said.append(Discretion({})(None, "error", line)["error"])
        raise DatasetRefused("dataset_refused", "stopped here, for a test")

    monkeypatch.setattr(ReceivedDatasets, "_kept", broken)
    with about(upload="one"), pytest.raises(DatasetRefused):
        kept({"1.png": picture(1), "1.txt": b"a most private plum", "2.png": picture(2)}, "a hidden pear")
    assert said == ["no room for '[prompt]', nor for '[prompt]'"]


def test_a_default_is_for_those_without_a_caption(kept: Any) -> None:
    """Row 1 of the hazards: three captions and a default are 3 + 1."""
    files = {f"{at}.png": picture(at) for at in range(4)} | {f"{at}.txt": b"a cat" for at in range(3)}
    assert kept(files).report.missing == ["3.png"]
    dataset = kept(files, "a thing")
    assert dataset.report.captions == {"file": 3, "default": 1}
    assert kept(files, " a thing\n").ref == dataset.ref, "it is stripped, as every caption is"


def test_one_content_is_one_ref_whatever_it_is_called(kept: Any, storage: Storage) -> None:
    first = kept({"a.png": picture(1), "a.txt": b"one", "b.png": picture(2), "b.txt": b"two"})
    again = kept({"x/2.webp": picture(2, kind="WEBP"), "x/2.txt": b"two\n", "y.png": picture(1), "y.caption": b"one"})
    assert again == first and list(Datasets(storage).refs()) == [first.ref]
    swapped = kept({"a.png": picture(1), "a.txt": b"two", "b.png": picture(2), "b.txt": b"one"})
    assert swapped.ref != first.ref
    small = Pictures(storage).load(first.pictures[0].thumbnail or "")
    assert small.size == (40, 90)


def test_the_same_pixels_twice_are_told_and_seen_twice(kept: Any) -> None:
    dataset = kept({"a.png": picture(1), "b.png": picture(1), "1.png": picture(2), "x/1.png": picture(3)}, "it")
    assert [one.repeats for one in dataset.pictures if one.name == "a.png"] == [2]
    assert (dataset.report.duplicates, dataset.report.pictures) == ([["a.png", "b.png"]], 3)


def link(name: str) -> bytes:
    file, info = io.BytesIO(), zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"1.png": picture()}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def misnamed() -> bytes:
    """A zip whose local name says that it is UTF-8 and is none; the one in the table of contents is whole."""
    return zipped({"é.png": picture()}).replace("é".encode(), b"\xff\xff", 1)


LONG = b"a" * (MAX_CAPTION + 1)
REFUSED: dict[str, tuple[Files | bytes, str]] = {
    "no zip": (b"PK nonsense", "no whole zip"),
    "cut off": (zipped({"1.png": picture()})[:-30], "no whole zip"),
    "a name that is no UTF-8": (misnamed(), "cannot be unpacked"),
    "one name twice": ({"a.png": picture(1), "./a.png": picture(2)}, "several files of one name"),
    "one name twice in a table": (
        {"a.png": picture(), "metadata.csv": b"file_name,text\na.png,x\n./a.png,y\n"},
        "row 2 names 'a.png' a second time",
    ),
    "nothing in it": (zipped({}), "no picture in it"),
    "another archive": ({"pictures.tar": b"no zip"}, "neither a zip nor a picture"),
    "no picture": ({"a.txt": b"a"}, "no picture in it"),
    "out of the folder": ({"../1.png": picture()}, "'../1.png': is not the name of a file below"),
    "absolute": ({"/1.png": picture()}, "is not the name of a file below"),
    "of another system": ({"a\\1.png": picture()}, "is not the name of a file below"),
    "escapes": ({"\x1b[31m.png": picture()}, "control characters"),
    "a link": (link("1.png"), "is a link"),
    "a password": (encrypted(), "is encrypted"),
    "a bomb": ({"1.png": bytes(40 * 2**20)}, "is 40 MiB; RADIATA_MAX_IMAGE_MB takes 32"),
    "a picture that is none": ({"1.png": b"GIF89a", "2.png": picture()}, "'1.png': pictures are PNG"),
    "one text, two pictures": ({"1.png": picture(), "1.jpg": picture(), "1.txt": b"x"}, "may be of 1.jpg or of 1.png"),
    "two captions": (
        {"1.png": picture(), "1.txt": b"x", "metadata.csv": b"file_name,text\n1.png,y\n"},
        "has several captions (1.txt, metadata.csv)",
    ),
    "no UTF-8": ({"1.png": picture(), "1.txt": b"\xff\xfe"}, "'1.txt': is not UTF-8 at byte 0"),
    "a caption that steers": ({"1.png": picture(), "1.txt": b"\x1b[31m"}, "control characters"),
    "no table": ({"1.png": picture(), "metadata.jsonl": b"{"}, "line 1 is no JSON"),
    "a table without a column": ({"1.png": picture(), "metadata.csv": b"file,text\n1.png,x\n"}, "has not both"),
    "a long caption": ({"1.png": picture(), "1.txt": LONG}, "'1.txt': is 20001 characters long; at most 20000"),
    "a long caption in a table": (
        {"1.png": picture(), "metadata.csv": b"file_name,text\n1.png," + LONG},
        "the caption of '1.png', in row 1, is 20001 characters long; at most 20000",
    ),
    "seen too often": ({"99999_x/1.png": picture()}, "at most 10000"),
}


@pytest.mark.parametrize(("sent", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_dataset_is_refused_and_leaves_none(kept: Any, storage: Storage, sent: Any, why: str) -> None:
    with pytest.raises(DatasetRefused) as caught:
        kept(sent)
    assert why in caught.value.message and len(caught.value.message) < 1000
    assert list(Datasets(storage).refs()) == []


def test_what_cannot_be_read_is_left_out_where_that_is_asked_for(kept: Any) -> None:
    dataset = kept({"1.png": b"GIF89a", "2.png": picture()}, unreadable="leave_out")
    assert list(dataset.report.unreadable) == ["1.png"] and len(dataset.pictures) == 1


def test_more_files_than_a_form_takes_are_asked_for_as_a_zip(settings: Settings) -> None:
    with serving(settings) as api:
        many = api.post("/v1/datasets", files=[("file", (f"{at}.txt", b"x")) for at in range(MOST_FILES + 1)])
    assert many.status_code == 400 and "more than 256 files; send those of a dataset as one zip" in many.text
    assert f"{MOST_FILES} at most" in (upload.__doc__ or "")


def test_over_http(settings: Settings, storage: Storage, intake: Intake) -> None:
    files = [("file", ("1.png", picture(1))), ("file", ("1.txt", b"one")), ("file", ("2.png", picture(2)))]
    with serving(settings) as api:

        def send(**said: str) -> httpx.Response:
            return api.post("/v1/datasets", files=files, data=said, headers={"prefer": "respond-async"})

        waiting = send()
        assert waiting.status_code == 202 and waiting.json()["status"] == "inspecting", waiting.text
        early = waiting.json()["ref"]
        assert api.get(f"/v1/datasets/{early}").status_code == 404
        intake.run(waiting.json()["id"])
        found = api.get(waiting.headers["location"]).json()
        assert found["report"]["missing"] == ["2.png"] and found["ref"] != early
        assert api.get(f"/v1/datasets/{early}").json() == api.get(f"/v1/datasets/{found['ref']}").json() == found
        again = send()
        assert (again.status_code, again.json()["ref"]) == (200, found["ref"]), "the same bytes need no reading"
        assert send(default_caption="it").status_code == 202
        storage.put(dataset_key(found["ref"]), b"")
        resent = send()
        assert resent.status_code == 202, "what cannot be read is read from the same bytes again"
        intake.run(resent.json()["id"])
        assert api.get(f"/v1/datasets/{found['ref']}").json()["pictures"] == found["pictures"]
        (second,) = [one["ref"] for one in found["pictures"] if one["caption"] is None]
        edited = api.patch(f"/v1/datasets/{found['ref']}", json={"captions": {second: " two "}})
        assert edited.status_code == 201 and edited.json()["report"]["captions"] == {"file": 1, "edited": 1}
        assert edited.json()["report"]["missing"] == [] and edited.json()["ref"] != found["ref"]
        assert {one["ref"] for one in api.get("/v1/datasets").json()["datasets"]} == {
            found["ref"],
            edited.json()["ref"],
        }
        assert edited.json()["report"]["sizes"] == {"40×90": 2}
        long = api.patch(f"/v1/datasets/{found['ref']}", json={"captions": {second: LONG.decode()}})
        (fault,) = long.json()["errors"]
        assert long.status_code == 422 and fault["pointer"] == f"/captions/{second}"
        assert str(MAX_CAPTION) in fault["message"]
        long = api.post("/v1/datasets", files=files, data={"default_caption": LONG.decode()})
        assert long.status_code == 422 and long.json()["errors"][0]["pointer"] == "/default_caption"
        unknown = {f"image:{digit * 64}": "x" for digit in "01"}
        wrong = api.patch(f"/v1/datasets/{found['ref']}", json={"captions": unknown})
        assert wrong.status_code == 404
        assert [one["pointer"] for one in wrong.json()["errors"]] == [f"/captions/{ref}" for ref in unknown]
        assert api.get(f"/v1/images/{found['pictures'][0]['thumbnail']}").headers["content-type"] == "image/png"
        assert api.delete(f"/v1/datasets/{early}").status_code == 204
        assert api.get(f"/v1/datasets/{found['ref']}").status_code == 404
        nothing = api.post("/v1/datasets", files=[("file", ("1.zip", b""))])
        assert nothing.status_code == 422 and nothing.json()["code"] == "dataset_empty"
