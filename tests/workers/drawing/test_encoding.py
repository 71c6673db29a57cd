"""The file of a picture: its recipe and its infotext in every format, and the same bytes for the same request."""

import io
import itertools
import json
import re
from html import unescape
from typing import Any, get_args

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from app.shared.disobedience import disobeyed
from app.shared.infotext_written import infotext
from app.shared.recipe_places import IN_XMP, INFOTEXT, RECIPE
from app.shared.wire.adapter import ResolvedAdapter
from app.shared.wire.generation import OutputFormat
from tests.app.shared.making import profile, request
from workers.drawing.encoding import encode
from workers.drawing.recipe import recipe

FORMATS: tuple[OutputFormat, ...] = get_args(OutputFormat)
PROMPT = 'ein Apfel 🍎 \n\t»quoted« \\ " </radiata:recipe> &amp;'


def use(name: str, digit: str, **fields: Any) -> ResolvedAdapter:
    plain = {"ref": name, "name": name, "version": 1, "sha256": digit * 64}
    return ResolvedAdapter.model_validate(plain | fields)


def noise() -> Image.Image:
    return Image.effect_noise((32, 32), 50).convert("RGB")


def written(picture: Image.Image, asked: Any) -> bytes:
    made_by = recipe(asked, 7, profile(), "merge")
    return encode(picture, made_by, infotext(asked, 7), asked.output_format, asked.quality)


def texts(data: bytes) -> tuple[dict[str, Any], str]:
    """Recipe and infotext of a file, as its format has them."""
    with Image.open(io.BytesIO(data)) as file:
        if file.format == "PNG":
            return json.loads(file.info[RECIPE]), file.info[INFOTEXT]
        found = re.search(IN_XMP, file.info["xmp"])
        assert found
        comment = file.getexif().get_ifd(IFD.Exif)[Base.UserComment]
        return json.loads(unescape(found[1].decode())), comment.removeprefix(b"UNICODE\0").decode("utf-16-be")


@pytest.mark.parametrize("output_format", FORMATS)
def test_recipe_and_infotext_are_in_every_format(output_format: OutputFormat) -> None:
    picture = noise()
    asked = request(prompt=PROMPT, output_format=output_format, adapters=[use("style", "a", strength=0.8)])
    data = written(picture, asked)
    assert data == written(picture, asked)
    made_by, text = texts(data)
    assert made_by == recipe(asked, 7, profile(), "merge")
    assert text == infotext(asked, 7)
    with Image.open(io.BytesIO(data)) as file:
        assert (file.format, file.size) == (output_format.upper(), picture.size)
        assert (file.tobytes() == picture.tobytes()) == (output_format == "png")


@pytest.mark.parametrize("output_format", ["webp", "jpeg"])
def test_quality_decides_how_much_is_kept(output_format: OutputFormat) -> None:
    picture = noise()
    sizes = [len(written(picture, request(output_format=output_format, quality=one))) for one in (10, None, 100)]
    assert sizes == sorted(set(sizes))


def test_a_request_without_a_format_has_the_recipe_that_it_had() -> None:
    assert not recipe(request(), 7, profile(), "merge").keys() & {"output_format", "quality"}
    assert recipe(request(output_format="webp"), 7, profile(), "merge")["output_format"] == "webp"


def test_names_stand_in_the_text_and_decide_no_pixel() -> None:
    picture = noise()
    one, other = (written(picture, request(adapters=[use(name, "a")])) for name in ("one", "other"))
    assert one != other
    assert texts(one)[0] == texts(other)[0]
    assert 'Lora hashes: "one: aaaaaaaaaaaa"' in texts(one)[1]
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        assert first.tobytes() == second.tobytes()


def test_no_order_of_a_sum_changes_a_byte_and_that_of_a_sequence_does() -> None:
    adapters, picture = [use("a", "3"), use("b", "2", strengths={"unet": 1.0}), use("c", "1")], noise()
    for mode, files in (("sum", 1), ("sequential", 6)):
        orders = itertools.permutations(adapters)
        found = {written(picture, request(adapters=list(one), stack_mode=mode)) for one in orders}
        assert len(found) == files, mode


def test_infotext_is_what_its_readers_know() -> None:
    asked = request(
        prompt="a red apple",
        negative_prompt="blurred",
        sampler="dpmpp_2m_karras",
        clip_skip=1,
        base="b" * 64,
        adapters=[use("style", "a", strengths={"text_encoder": 0.5, "unet": 0.8}), use("edges", "c", kind="control")],
        upscale={"scale": 2, "denoise": 0.5},
    )
    text, negative, fields = infotext(asked, 7).split("\n")
    assert text == "a red apple <lora:style:0.5:0.8>"
    assert negative == "Negative prompt: blurred"
    assert fields.startswith(
        "Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 7, Size: 64x64, "
        "Model hash: bbbbbbbbbb, Model: emoji-64, Clip skip: 2, Denoising strength: 0.5, "
        "Hires upscale: 2, Hires upscaler: Lanczos, RNG: CPU, "
        'Lora hashes: "style: aaaaaaaaaaaa", Adapter hashes: "edges: cccccccccccc", Version: '
    )


def test_the_longest_request_that_is_taken_fits_into_a_jpeg() -> None:
    """`disobedience.py` refuses what is longer."""
    asked = request(prompt="&" * 7000, output_format="jpeg")
    assert not list(disobeyed(profile(obeys={"output_format": True}), asked))
    assert texts(written(noise(), asked))[0]["prompt"] == asked.prompt
    for prompt in ("&" * 20000, "a" * 33000):  # too long for XMP, and for EXIF alone
        longer = asked.model_copy(update={"prompt": prompt})
        assert [one.code for one in disobeyed(profile(obeys={"output_format": True}), longer)] == ["format_too_small"]


def test_no_order_of_strengths_changes_a_byte_and_no_digit_is_lost() -> None:
    strengths = {"text_encoder": 0.5, "text_encoder_2": 0.7, "unet": 0.1234567}
    orders = itertools.permutations(strengths.items())
    asked = [request(prompt="a", adapters=[use("style", "a", strengths=dict(one))]) for one in orders]
    assert {infotext(one, 7).split("\n")[0] for one in asked} == {"a <lora:style:0.5:0.1234567>"}
    picture = noise()
    assert len({written(picture, one) for one in asked}) == 1
