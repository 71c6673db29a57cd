"""What of a control net or a control LoRA in a request cannot be obeyed: its picture, its mode, its schedule."""

from collections.abc import Collection, Iterator

from app.accepting.judging import by_step
from app.accepting.judging_maps import makes, unmade
from app.http.faults import Allowed, meant, quoted, refusal
from app.shared.errors import BadRequest, RadiataError
from app.shared.facts import AdapterFacts
from app.shared.passes import drawn_by
from app.shared.pictures import Pictures
from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.map import THRESHOLDS_ELSEWHERE
from app.shared.wire.model import ModelProfile


def uncontrolled(
    at: int,
    use: AdapterUse,
    facts: AdapterFacts | None,
    pictures: Pictures,
    asked: GenerationRequest,
    profile: ModelProfile,
    made: Collection[str],
) -> Iterator[RadiataError]:
    """Yield everything for which a control net or LoRA cannot work as the request says.

    at: its place in the list. made: kinds of maps for which somebody who draws with the base has models.
    """
    if use.image is None:
        message = f"{use.ref!r} is for control; give it the picture that it reads as image"
        yield _wrong(at, "image", "image_missing", message)
    else:
        yield from _picture(at, use, use.image, pictures, asked, profile)
    if message := unmade(use.preprocess, made):
        yield _wrong(at, "preprocess", "preprocess_unavailable", message, ["none", *makes(made)])
    if use.thresholds is not None and use.preprocess != "canny":
        yield _wrong(at, "thresholds", "thresholds_without_edges", THRESHOLDS_ELSEWHERE)
    if facts:
        yield from _mode(at, use, facts)
        yield from _multiple(use, facts, asked, profile)
    passes = drawn_by(asked, asked.steps or profile.steps, profile.denoise_rounding)
    strengths = [strength for _, strength in use.schedule]
    if any(strengths) and not any(any(by_step(use, steps)) for steps in passes):
        message = f"the schedule of {use.ref!r} has a strength in none of {max(passes)} steps; begin it sooner"
        yield _wrong(at, "schedule", "schedule_without_step", message)


def _picture(
    at: int, use: AdapterUse, image: str, pictures: Pictures, asked: GenerationRequest, profile: ModelProfile
) -> Iterator[RadiataError]:
    known = pictures.info(image)  # which is there, or nothing would be judged
    found, drawn = (known.width, known.height), (asked.width or profile.width, asked.height or profile.height)
    if found != drawn and asked.fit == "refuse":
        sizes = "the image of {!r} is {}×{} and the drawing {}×{}".format(use.ref, *found, *drawn)
        yield _wrong(at, "image", "picture_size", f"{sizes}; make them the same, or set fit", [list(drawn)])


def _mode(at: int, use: AdapterUse, facts: AdapterFacts) -> Iterator[RadiataError]:
    known = ", ".join(facts.modes)
    if facts.modes and use.mode is None:
        message = f"{use.ref!r} reads pictures of several kinds; say which as mode: {known}"
        yield _wrong(at, "mode", "mode_missing", message, facts.modes)
    elif facts.modes and use.mode not in facts.modes:
        message = (
            f"{use.ref!r} has no mode {quoted(use.mode or '')}; known: {known}{meant(use.mode or '', facts.modes)}"
        )
        yield _wrong(at, "mode", "mode_unknown", message, facts.modes)
    elif use.mode is not None and not facts.modes:
        yield _wrong(at, "mode", "mode_unknown", f"{use.ref!r} reads pictures of one kind alone; leave mode out")


def _multiple(
    use: AdapterUse, facts: AdapterFacts, asked: GenerationRequest, profile: ModelProfile
) -> Iterator[RadiataError]:
    for side, edge in (("width", asked.width or profile.width), ("height", asked.height or profile.height)):
        if edge % facts.multiple:
            message = f"{side} is {edge}; {use.ref!r} works at multiples of {facts.multiple}"
            yield refusal([side], "size_not_multiple", message, {"multipleOf": facts.multiple})


def _wrong(at: int, field: str, code: str, message: str, allowed: Allowed = None) -> BadRequest:
    return refusal(["adapters", at, field], code, message, allowed)
