"""`python -m workers.training run`: an adapter from a folder of pictures; the same command again goes on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from app.shared.errors import RadiataError
from app.shared.settings import BadSettings, read_settings
from app.shared.wire.training import DEFAULT_ALGORITHM, FileDtype
from workers.ending import err, out, told
from workers.training.plan import Sample, TrainingPlan

BESIDE = ".training"  # added to the file's name: the folder of its checkpoints and of what is computed once
TRUTH = {"true": True, "false": False}
CANCELED = 130  # exit code after Ctrl-C


def train(
    folder: Annotated[Path, typer.Argument(help="Pictures, each with a text of the same name: apple.png, apple.txt.")],
    to: Annotated[Path, typer.Option("--out", "-o", help="The safetensors file to write.")],
    steps: Annotated[int, typer.Option(help="Steps of the optimiser. More than before extends a training.")],
    model: Annotated[str | None, typer.Option(help="A model of RADIATA_MODELS; unset, the default one.")] = None,
    algorithm: Annotated[str, typer.Option(help="lora, locon, lokr, …")] = DEFAULT_ALGORITHM,
    rank: Annotated[int | None, typer.Option(help="Of the algorithm; unset, its own.")] = None,
    alpha: Annotated[float | None, typer.Option(help="The change is multiplied by alpha/rank; unset, by 1.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Pattern of layers, as unet.*attn2*; several times.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Of the algorithm, as factor=8; several times.")] = None,
    start: Annotated[Path | None, typer.Option(help="A file to begin from: its weights only.")] = None,
    text_encoder: Annotated[bool, typer.Option("--text-encoder", help="Train the text encoders, too.")] = False,
    batch_size: Annotated[int, typer.Option(help="Pictures of one forward.")] = 1,
    gradient_accumulation_steps: Annotated[int, typer.Option(help="Forwards of one step.")] = 1,
    learning_rate: Annotated[float | None, typer.Option(help="Unset, the algorithm's own on the base.")] = None,
    lr_scheduler: Annotated[
        str, typer.Option(help="After the warm-up: constant, linear or cosine, down to 0.")
    ] = "constant",
    lr_warmup_steps: Annotated[int, typer.Option(help="Steps of it.")] = 0,
    weight_decay: Annotated[float, typer.Option(help="As AdamW has it.")] = 0.01,
    ema_decay: Annotated[float | None, typer.Option(help="Decay of the moving average, which is then written.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    snr_gamma: Annotated[float | None, typer.Option(help="Gamma of min-SNR (5 is usual); not for flows.")] = None,
    weighting_scheme: Annotated[str | None, typer.Option(help="Times of flows: logit_normal, uniform or mode.")] = None,
    shuffle_caption: Annotated[
        bool, typer.Option("--shuffle-caption", help="Shuffle the parts between commas at every step.")
    ] = False,
    keep_tokens: Annotated[int, typer.Option(help="First parts that stay in their places.")] = 0,
    caption_dropout_rate: Annotated[float, typer.Option(help="The part of captions that is left empty.")] = 0.0,
    output_dropout: Annotated[
        float, typer.Option(help="The part of each layer's outputs that a forward leaves out.")
    ] = 0.0,
    rank_dropout: Annotated[float, typer.Option(help="The same of its ranks, where it has some.")] = 0.0,
    module_dropout: Annotated[float, typer.Option(help="The same of the layers.")] = 0.0,
    mirror: Annotated[bool, typer.Option("--mirror", help="Show half of the pictures mirrored.")] = False,
    caption: Annotated[str | None, typer.Option(help="Of pictures that have none.")] = None,
    dtype: Annotated[str, typer.Option(help="Of the file: float32, or float16, which is half as large.")] = "float32",
    checkpoint_every: Annotated[int, typer.Option(help="Steps.")] = 100,
    sample: Annotated[list[str] | None, typer.Option(help="Prompt of a sample picture; several times.")] = None,
    sample_every: Annotated[int | None, typer.Option(help="Steps; unset, with every checkpoint.")] = None,
    gradient_checkpointing: Annotated[bool, typer.Option(help="Less memory, more time.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would be, try one step, and end.")] = False,
) -> None:
    """Train an adapter on a folder of pictures with captions; the same command again goes on where it was stopped."""
    given: dict[str, Any] = dict(locals())
    with _told():
        settings = read_settings()
        name = model or settings.model
        if name not in settings.models:
            raise BadSettings(f"no model {name!r}; there are {', '.join(settings.models)}")
        known = {one.name for one in fields(TrainingPlan)}
        chosen = {field: value for field, value in given.items() if field in known}
        chosen |= {"layers": tuple(layer or ()), "options": dict(map(_option, option or []))}
        chosen |= {"samples": tuple(Sample(prompt=one, seed=seed) for one in sample or [])}
        plan = TrainingPlan(**chosen)
        if dtype not in get_args(FileDtype):
            raise ValueError(f"--dtype {dtype!r} is none of {', '.join(get_args(FileDtype))}")

        from workers.models.loading import load  # torch, for seconds
        from workers.training.captioned_folder import read

        found = read(folder, caption)
        for orphan in found.orphaned:
            err.print(f"{orphan} is the caption of no picture", soft_wrap=True)
        for twice in found.twice:
            err.print(f"{twice} has the pixels of another picture", soft_wrap=True)
        begun = start.read_bytes() if start else None
        _run(plan, load(name, settings), found.pictures, to, dry_run, {"start": begun, "dtype": dtype})


def _run(plan: TrainingPlan, base: Any, pictures: Any, to: Path, dry_run: bool, options: dict[str, Any]) -> None:
    from app.shared.storage import Storage
    from workers.training.foretold import foretold
    from workers.training.run import Training

    beside = to.with_name(to.name + BESIDE).resolve()
    storage = Storage(beside.as_uri())
    kept = None if dry_run else beside / "kept"
    training = Training(plan, base, pictures, storage, kept=kept, title=to.stem, **options)
    seconds = training.tried() if dry_run else None
    table = Table(show_header=False, box=None)
    for row in foretold(training, base, pictures, seconds):
        table.add_row(*row)
    err.print(table)
    if dry_run:
        return
    trained = _shown(training, beside)
    partial = to.with_name(f"{to.name}.partial")
    partial.write_bytes(trained.data)
    partial.replace(to)
    out.print(str(to))
    err.print(f"more --steps go on from here; {beside} can be deleted otherwise", soft_wrap=True)


def _shown(training: Any, beside: Path) -> Any:
    """Run a training under a progress bar."""
    from workers.training import progress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    columns += (TimeRemainingColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("encoding", total=None, figures="")

        def show(event: progress.Event) -> None:
            match event:
                case progress.Encoded():
                    bar.update(task, completed=event.done, total=event.of)
                case progress.Progress():
                    figures = f"loss {event.loss:.4f}, {event.images:.3g} pictures a second"
                    bar.update(task, description="training", completed=event.step, total=event.steps, figures=figures)
                case progress.Saved() | progress.Restored():
                    pass
                case progress.Sampled(image=None):
                    bar.console.print(f"no sample of step {event.step}: {event.failed}", soft_wrap=True)
                case progress.Sampled():
                    number = training.plan.samples.index(event.sample)
                    file = beside / f"sample-{event.step:07d}-{number}.png"
                    event.image.save(file)  # type: ignore[union-attr]
                    bar.console.print(str(file), soft_wrap=True)
                case progress.Note():
                    bar.console.print(event.text, soft_wrap=True)

        return training.run(show)


def _option(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not given:
        raise ValueError(f"--option {text!r} is not name=value")
    for read in (TRUTH.__getitem__, int, float):
        try:
            return name, read(value)
        except (KeyError, ValueError):
            continue
    return name, value


@contextmanager
def _told() -> Iterator[None]:
    """End the command with a sentence for what its user can mend; Ctrl-C leaves what the last checkpoint has."""
    try:
        with told(RadiataError):
            yield
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on from the last checkpoint", soft_wrap=True)
        os._exit(CANCELED)
