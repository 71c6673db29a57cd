"""`python -m workers.training.emoji.guided`: trains what guides the bundled model by a picture."""

from pathlib import Path
from typing import Annotated

import typer

from workers.training.emoji.loop import LoopPlan

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Cache = Annotated[Path, typer.Option(help="The packages that `workers.training.emoji data` fetched.")]
Base = Annotated[Path, typer.Option(help="The diffusers folder of the base model, which stays as it is.")]
Minutes = Annotated[float, typer.Option(help="Length of the run by the clock.")]
Steps = Annotated[int, typer.Option(help="Length of the run in steps, if no minutes are given.")]
Out = Annotated[Path, typer.Option(help="The safetensors file to write.")]
Run = Annotated[Path, typer.Option(help="Folder of this run. Run again to resume.")]
Batch = Annotated[int, typer.Option(help="Pictures a step.")]
CACHE, BASE = Path("runs/cache"), Path("workers/models/emoji-64")


@app.callback()
def program() -> None:
    """Training of what is guided by a picture."""


@app.command()
def encoder(
    run: Run = Path("runs/encoder"),
    cache: Cache = CACHE,
    base: Base = BASE,
    minutes: Minutes = 0,
    steps: Steps = 0,
    batch: Annotated[int, typer.Option(help="Things a step, each in two views.")] = 128,
) -> None:
    """Train the image encoder."""
    from workers.training.emoji.guided import launch

    launch.run_encoder(cache, run, base, _plan(minutes, steps, batch))


@app.command()
def control(
    out: Out = Path("runs/control/edges-t2i.safetensors"),
    run: Run = Path("runs/control"),
    cache: Cache = CACHE,
    base: Base = BASE,
    minutes: Minutes = 0,
    steps: Steps = 0,
    batch: Batch = 16,
) -> None:
    """Train the T2I-Adapter for line maps."""
    from workers.training.emoji.guided import launch

    launch.run_control(cache, run, base, _plan(minutes, steps, batch), out)


@app.command()
def image_prompt(
    encoder: Annotated[Path, typer.Option(help="The trained image encoder.")] = Path("runs/encoder/image_encoder"),
    out: Out = Path("runs/image-prompt/reference-ip.safetensors"),
    run: Run = Path("runs/image-prompt"),
    cache: Cache = CACHE,
    base: Base = BASE,
    minutes: Minutes = 0,
    steps: Steps = 0,
    batch: Batch = 16,
) -> None:
    """Train the IP-Adapter on the trained image encoder."""
    from workers.training.emoji.guided import launch

    launch.run_image_prompt(cache, run, base, encoder, _plan(minutes, steps, batch), out)


def _plan(minutes: float, steps: int, batch: int) -> LoopPlan:
    if not minutes and not steps:
        raise typer.BadParameter("give --minutes or --steps")
    return LoopPlan(minutes=minutes, steps=steps, batch=batch)


if __name__ == "__main__":
    app()
