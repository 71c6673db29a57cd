"""What a picture's file says is read as it was written, whoever wrote it; a hostile one is refused."""

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo
from redis import Redis

from app.accepting.generations import resolve
from app.accepting.recipes import meant
from app.shared.catalog import Catalog
from app.shared.errors import PictureRefused
from app.shared.infotext_written import infotext
from app.shared.pictures import Pictures
from app.shared.profiles import Profiles
from app.shared.recipe_places import UNICODE
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads
from app.shared.wire.generation import GenerationRequest, OutputFormat
from app.shared.wire.recipe import Written
from app.shared.wire.upload import UploadStatus
from tests.app.shared.making import profile, upload, version
from workers.drawing.encoding import encode
from workers.drawing.recipe import recipe
from workers.intake import Intake
from workers.written import written

TEXT = "a càt 猫 <lora:style:0.8>\nNegative prompt: ugly\nSteps: 4, Seed: 1"


def saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, kind, **options)
    return buffer.getvalue()


def comment(text: bytes) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = text
    return exif.tobytes()


def png(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    return saved("PNG", pnginfo=info)


@pytest.mark.parametrize(
    "data",
    [
        png(parameters=TEXT),
        *(saved(kind, exif=comment(UNICODE + TEXT.encode("utf-16-be"))) for kind in ("WEBP", "JPEG")),
        saved("JPEG", exif=comment(UNICODE + TEXT.encode("utf-16-le"))),
        saved("JPEG", exif=comment(UNICODE + TEXT.encode("utf-16"))),
        saved("JPEG", exif=comment(TEXT.encode())),
    ],
)
def test_an_infotext_is_read_wherever_it_stands(data: bytes) -> None:
    assert written(data) == Written(infotext=TEXT, width=8, height=4)


def test_texts_that_are_not_read_are_named() -> None:
    assert written(png(workflow="{}", prompt="{}")).others == ["prompt", "workflow"]


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
def test_what_was_drawn_means_the_request_that_it_was_drawn_for(
    storage: Storage, redis: Redis, settings: Settings, output_format: OutputFormat
) -> None:
    profiles, catalog, pictures = Profiles(storage, settings), Catalog(storage, redis), Pictures(storage)
    known = profile(
        blocks=["down", "mid", "up"],
        obeys=dict.fromkeys(("init_image", "denoise", "clip_skip", "quality", "output_format"), True),
        max_clip_skip=2,
        why_from_none=None,
    )
    profiles.publish(known, {"unet": {}})
    catalog.admit(version("style", b"style", components=["unet", "text_encoder"]), {})
    liveness = SimpleNamespace(require=lambda _: None)
    parts: Any = SimpleNamespace(
        settings=settings, profiles=profiles, catalog=catalog, pictures=pictures, liveness=liveness
    )
    entry = {"ref": "style", "strength": 0.7, "strengths": {"text_encoder": 0.2}, "blocks": {"down": 0.5}}
    asked = GenerationRequest.model_validate(
        {
            "prompt": 'a "cat", <b>: 猫',
            "seed": 5,
            "steps": 6,
            "clip_skip": 1,
            "init_image": pictures.put(Image.new("RGB", (64, 64), (1, 2, 3))).ref,
            "denoise": 0.5,
            "output_format": output_format,
            "adapters": [entry],
        }
    )
    first = resolve(parts, asked)
    made = recipe(first, first.seed, known, "merge")
    file = encode(Image.new("RGB", (64, 64)), made, infotext(first, first.seed), output_format)
    found = meant(parts, written(file))
    assert found.unmatched == []
    again = resolve(parts, GenerationRequest.model_validate(found.request))
    assert recipe(again, again.seed, known, "merge") == made
    alone = meant(parts, Written(infotext=written(file).infotext))
    assert {one.name for one in alone.unmatched} == {"Denoising strength"}
    assert alone.request["adapters"] == [
        {"ref": f"sha256:{first.adapters[0].sha256}", "strength": 0.7, "strengths": {"text_encoder": 0.2}}
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a" + b"\0" * 99,
        png(parameters=TEXT)[:60],
        png(parameters="x" * 300_000),
        saved("PNG", pnginfo=PngInfo())[:-20] + b"\0" * 40,
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 999,
    ],
)
def test_a_hostile_file_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(PictureRefused) as refused:
        written(data)
    assert len(refused.value.message) > 20


@pytest.mark.parametrize("text", [UNICODE + b"\xd8\x00" * 9, b"\xff\xfe\x00", UNICODE + b"\0", b"\0" * 999])
def test_a_comment_that_is_no_text_is_some_text(text: bytes) -> None:
    json.dumps(written(saved("JPEG", exif=comment(text))).infotext).encode()


def test_intake_reads_it_and_keeps_no_picture(intake: Intake, uploads: Uploads, storage: Storage, redis: Redis) -> None:
    data = png(parameters=TEXT, radiata="{}")
    one = upload("0" * 32, data).model_copy(update={"kind": "recipe"})
    uploads.stage(one, data)
    intake.run(one.id)
    settled = uploads.get(one.id)
    assert settled.status is UploadStatus.ADMITTED
    assert settled.written == Written(recipe="{}", infotext=TEXT, width=8, height=4)
    assert not list(storage.keys("pictures"))
