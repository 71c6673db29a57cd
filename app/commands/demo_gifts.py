"""What the demo gives to adapters that read a picture: it is made of what the base has drawn."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageOps


@dataclass(frozen=True)
class Gift:
    """How a drawing becomes the picture given, how an adapter's entry names that, and the prompt, if not its own."""

    made: Callable[[Image.Image], Image.Image]
    entry: Callable[[str], dict[str, Any]]  # of the picture's address
    prompt: str | None = None

    def write(self, drawing: Path, file: Path) -> dict[str, Any]:
        """Write the picture that is made of a drawing; the fields of the adapter's entry that give it as a data URL."""
        with Image.open(drawing) as picture:
            self.made(picture.convert("RGB")).save(file)
        return self.entry(f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}")


STEP = 40  # of 255, between two pixels side by side: an edge


def _lines(drawing: Image.Image) -> Image.Image:
    """Return the edges of the drawing, mirrored, smaller and in a corner: there the thing is to be drawn."""
    small = ImageOps.mirror(drawing).resize((drawing.width * 2 // 3, drawing.height * 2 // 3))
    paper = Image.new("RGB", drawing.size, "white")
    paper.paste(small, (paper.width - small.width, paper.height - small.height))
    grey = paper.convert("L")
    across, down = (ImageChops.difference(grey, ImageChops.offset(grey, *step)) for step in ((1, 0), (0, 1)))
    return ImageChops.lighter(across, down).point([255 * (change > STEP) for change in range(256)]).convert("RGB")


GIFTS = {
    "control": Gift(_lines, lambda address: {"image": address}),
    # A prompt that names nothing: what is drawn, the reference says
    "image_prompt": Gift(lambda drawing: drawing, lambda address: {"image": address}, prompt="emoji"),
}
"""Kind of adapter -> what it is given."""
