"""Infotext is read as it is written, by whomever; and whatever stands there, reading it ends."""

import time

import pytest

from app.shared.infotext import hashes, pairs, read

A1111 = """a cat, (best:1.2) <lora:style:0.8>
two lines
Negative prompt: bad: very
ugly
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model hash: abc123, \
Model: some model, Lora hashes: "style: 0123456789ab, other, one: ba9876543210", \
Hashes: {"model": "abc", "lora:style": "0123456789"}, Version: v1.10.1"""


def test_a_whole_text() -> None:
    found = read(A1111)
    assert found.prompt == "a cat, (best:1.2) <lora:style:0.8>\ntwo lines"
    assert found.negative_prompt == "bad: very\nugly"
    assert found.fields["Size"] == "512x768" and found.fields["Version"] == "v1.10.1"
    assert found.fields["Hashes"] == '{"model": "abc", "lora:style": "0123456789"}'
    assert hashes(found.fields["Lora hashes"])["style"] == "0123456789ab"


@pytest.mark.parametrize("text", ["a cat", "a cat: with a hat", "scene: a cat\nand a dog", ""])
def test_a_prompt_alone_is_a_prompt(text: str) -> None:
    assert read(text) == (text, "", {})


def test_what_begins_as_json_and_is_none_is_text() -> None:
    assert dict(pairs('A: "open, B: [1, C: {x: 1}, D: 2')) == {"A": '"open', "B": "[1", "C": "{x: 1}", "D": "2"}


@pytest.mark.parametrize(
    "hostile",
    ["A: " + "[" * 200_000, "A: 1, " * 40_000, "A:" * 100_000, ", " * 100_000, "A" * 250_000, '"' * 200_000,
     "Steps: " + '"\\' * 100_000, "\n" * 200_000, "A: " + "9" * 200_000, "<lora:" * 40_000, "A: [1," * 40_000],
)  # fmt: skip
def test_reading_ends(hostile: str) -> None:
    began = time.monotonic()
    read(hostile)
    read(f"a cat\nNegative prompt: {hostile}\nSteps: 1, Seed: 2, X: {hostile}")
    assert time.monotonic() - began < 3
