"""The picture is an SVG that any reader can parse, with a bar for each figure and whatever could be measured."""

from dataclasses import replace
from xml.etree import ElementTree

from tests.bench.figures import Figure
from tests.bench.picture import svg

LINE = {"date": "2026-11-23", "commit": "abc", "machine": "2 cores & <one>"}
NS = {"s": "http://www.w3.org/2000/svg"}


def drawn(*figures: Figure) -> ElementTree.Element:
    line = {**LINE, "figures": [dict(figure.as_json()) for figure in figures]}
    return ElementTree.fromstring(svg([line]))


def test_bars_are_as_long_as_their_figures_and_the_aim_is_marked() -> None:
    step = Figure(part="steps", model="m", to="a plain step")
    ours = replace(step, what="a step with 3 adapters, ours, in the weights", value=10.0, ratio=1.0)
    theirs = replace(step, what="a step with 3 adapters, PEFT unmerged", value=15.0, ratio=1.5)
    root = drawn(ours, theirs)
    widths = [float(bar.get("width", 0)) for bar in root.iterfind(".//s:rect", NS)]
    assert len(widths) == 2
    assert abs(widths[1] / widths[0] - 1.5) < 0.01
    assert [bar.get("class") for bar in root.iterfind(".//s:rect", NS)] == ["ours", "theirs"]


def test_swaps_stand_on_one_scale_whichever_process_measured_them() -> None:
    about = Figure(part="swaps", model="m", family="LoRA")
    limit = replace(about, what="copy the touched weights once: the limit", value=10.0)
    to = "the limit"
    ours = replace(about, what="A → B, B never applied before", value=20.0, ratio=2.0, to=to, at_most=2.0)
    whole = replace(about, what="diffusers + PEFT: load + set + fuse", value=200.0, ratio=10.0, to="ours")
    root = drawn(limit, ours, whole)
    said = [text.text or "" for text in root.iterfind(".//s:text", NS)]
    assert any(text.startswith("2.0×") for text in said)
    assert any(text.startswith("20.0×") for text in said), "their whole is not held to the limit"
    assert len(root.findall(".//s:line", NS)) == 1


def test_nothing_measured_draws_nothing() -> None:
    root = drawn(Figure(part="drift", model="m", what="ours", note="failed"))
    assert root.findall(".//s:rect", NS) == []
    assert "2 cores & <one>" in (root.findall("s:text", NS)[-1].text or "")
