"""Which image encoder of a base reads the pictures of an image prompt: the one that is named, or whose width fits."""

from collections.abc import Mapping

from app.shared.wire.model import ImageEncoder, Reads

NO_ENCODER = (
    "{what}, and {model!r} names none: name a CLIPVisionModelWithProjection as `image_encoder` in its radiata.json or "
    "in RADIATA_MODELS"
)


def encoder_for(encoders: Mapping[str, ImageEncoder], model: str, reads: Reads, numbers: int, named: str) -> str:
    """Return the name of the encoder that a file reads; raises ValueError with a sentence where that is none, or open.

    reads, numbers: what of an encoder the file reads, and how wide that is. named: as its sender says; empty: by width.
    """
    what = f"reads {numbers} numbers of an image encoder's {reads}"
    if not encoders:
        raise ValueError(NO_ENCODER.format(what=what, model=model))
    if named and named not in encoders:
        raise ValueError(
            f"is for the image encoder {named!r}, and {model!r} has {', '.join(encoders)}: name one of these"
        )
    widths = {name: getattr(one, reads) for name, one in encoders.items() if named in ("", name)}
    fitting = [name for name, width in widths.items() if width == numbers]
    if not fitting and len(encoders) == 1:
        raise ValueError(f"{what}; that of {model!r} has {next(iter(widths.values()))}")
    if not fitting:
        told = ", ".join(f"{name!r} has {width}" for name, width in widths.items())
        raise ValueError(f"{what}; of {model!r}, {told}")
    if len(fitting) > 1:
        shown = " and ".join(map(repr, fitting))
        raise ValueError(f"{what}, as {shown} of {model!r} have: name one of them as image_encoder of the file")
    return fitting[0]
