"""`python -m workers.training.emoji data|base|decoder|export|style`: makes the bundled model anew."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
console = Console(stderr=True)

Cache = Annotated[Path, typer.Option(help="Where the fetched packages are kept.")]
Run = Annotated[Path, typer.Option(help="Folder of this run: checkpoint, log, sample grids. Run again to resume.")]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]
CACHE = Path("runs/cache")


@app.command()
def data(
    cache: Cache = CACHE, sheet: Annotated[Path | None, typer.Option(help="Write all items as one PNG.")] = None
) -> None:
    """Fetch the drawings and their names with npm, and say what the training set holds."""
    from workers.training.emoji import drawings, items, packages, samples

    packages.fetch(cache, console.print)
    catalogue = items.build(cache)
    drawn = items.load_drawings(catalogue, cache)
    held_out = sum(item.held_out for item in catalogue)
    console.print(f"{len(catalogue)} items, {len(drawn)} drawn, {held_out} held out")
    if sheet:
        import numpy as np

        samples.sheet(np.stack([drawings.lay(drawing) for drawing in drawn.values()]), sheet, columns=32)


@app.command()
def base(
    run: Run = Path("runs/base"),
    cache: Cache = CACHE,
    start: Annotated[Path | None, typer.Option(help="A diffusers folder to start from; none: from nothing.")] = None,
    minutes: Annotated[float, typer.Option(help="Length of the run by the clock.")] = 0,
    steps: Annotated[int, typer.Option(help="Length of the run in steps, if no minutes are given.")] = 0,
    processes: Annotated[int, typer.Option(help="Processes of one thread each.")] = 2,
    batch: Annotated[int, typer.Option(help="Samples a step in each process.")] = 32,
    seed: Seed = 64,
) -> None:
    """Train the UNet and the text encoder."""
    from workers.training.emoji.base import Plan
    from workers.training.emoji.launch import BaseRun, run_base

    if not minutes and not steps:
        raise typer.BadParameter("give --minutes or --steps")
    plan = Plan(minutes=minutes, steps=steps, batch=batch, seed=seed)
    run_base(BaseRun(cache=cache, run=run, start=start, processes=processes, plan=plan))
    console.print(f"pipeline in {run / 'pipe'}")


@app.command()
def decoder(
    start: Annotated[Path, typer.Option(help="The diffusers folder whose codec is trained on.")],
    run: Run = Path("runs/decoder"),
    cache: Cache = CACHE,
    minutes: Annotated[float, typer.Option(help="Length of the run by the clock.")] = 0,
    steps: Annotated[int, typer.Option(help="Length of the run in steps, if no minutes are given.")] = 0,
    seed: Seed = 64,
) -> None:
    """Train the codec's decoder; the latents, and so UNet and adapters, stay as they are."""
    from workers.training.emoji.decoder import DecoderPlan
    from workers.training.emoji.launch import run_decoder

    if not minutes and not steps:
        raise typer.BadParameter("give --minutes or --steps")
    run_decoder(cache, run, start, DecoderPlan(minutes=minutes, steps=steps, seed=seed))
    console.print(f"codec in {run / 'vae'}")


@app.command()
def export(
    pipe: Annotated[Path, typer.Option(help="The trained pipeline (a base run's `pipe`).")],
    out: Annotated[Path, typer.Option(help="The diffusers folder to write.")],
    vae: Annotated[Path | None, typer.Option(help="The trained codec (a decoder run's `vae`).")] = None,
    cache: Cache = CACHE,
) -> None:
    """Put the trained parts together as a diffusers folder in float16, with its vocabulary beside it."""
    from workers.training.emoji.launch import export_model

    for line in export_model(pipe, vae, out, cache):
        console.print(line)


@app.command()
def style(
    name: Annotated[str, typer.Argument(help="fluent-3d or striped")],
    out: Annotated[Path, typer.Option(help="Folder to write captioned pictures to.")],
    cache: Cache = CACHE,
) -> None:
    """Write a style's training pictures as a folder of NAME.png and NAME.txt."""
    from workers.training.emoji import items, styles

    catalogue = items.build(cache)
    ours, theirs = (items.load_drawings(catalogue, cache, vendor) for vendor in ("noto", "fluent"))
    shown, held_out = styles.split(catalogue, ours, theirs)
    styles.write_folder(out, styles.pictures(name, shown, ours, theirs), catalogue)
    console.print(f"{len(shown)} pictures in {out}; {len(held_out)} concepts held out")


if __name__ == "__main__":
    app()
