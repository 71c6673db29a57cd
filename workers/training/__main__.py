"""`python -m workers.training`: `run` trains with no service; `adapter` made the bundled ones."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from workers.training.command import train

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command("run")(train)
console = Console(stderr=True)

Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]


@app.callback()
def program() -> None:
    """Training for Radiata."""


@app.command()
def adapter(
    pictures: Annotated[Path, typer.Argument(help="Folder of pictures, each with a caption file of the same name.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    model: Annotated[Path, typer.Option(help="The diffusers folder to train on.")] = Path("workers/models/emoji-64"),
    algorithm: Annotated[str, typer.Option(help="lora (attention only), locon, loha or lokr")] = "locon",
    steps: Annotated[int, typer.Option(help="Training steps.")] = 450,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 1e-3,
    keep_above: Annotated[int, typer.Option(help="Timestep from which the base's composition is kept.")] = 1000,
    title: Annotated[str, typer.Option(help="modelspec.title; left out: the file's name")] = "",
    description: Annotated[str, typer.Option(help="modelspec.description")] = "",
    author: Annotated[str, typer.Option(help="modelspec.author")] = "Radiata",
    licence: Annotated[str, typer.Option(help="modelspec.license")] = "",
    threads: Annotated[int, typer.Option(help="Threads to use.")] = 1,
    seed: Seed = 64,
) -> None:
    """Train an adapter on a folder of captioned pictures."""
    import torch

    from workers.training import adapters, folder, pipeline

    torch.set_num_threads(threads)
    plan = adapters.AdapterPlan(
        algorithm=algorithm,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        keep_above=keep_above,
        seed=seed,
    )
    pipe = pipeline.warm(model)
    shown = folder.read_folder(pictures, size=64)
    trainer = adapters.AdapterTrainer(pipe, shown, plan)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.4f}"), console=console) as bar:
        task = bar.add_task(f"{algorithm} on {len(shown)} pictures", total=steps, loss=0.0)
        trainer.train(lambda step, loss: bar.update(task, completed=step, loss=loss))
    header = adapters.describe(
        plan, shown, pictures, title=title or out.stem, description=description, author=author, license_=licence
    )
    contents = adapters.to_bytes(trainer.changes, header)
    adapters.write(out, contents)
    console.print(f"{sum(f.numel() for f in trainer.factors):,} numbers, {len(contents):,} bytes: {out}")


@app.command(hidden=True)
def serve(queue: str, job_id: str, execution_id: str, worker_name: str) -> None:
    """The process of one training; its worker starts it, nobody by hand."""
    from app.shared.log import configure
    from app.shared.settings import serving_settings
    from workers.training import service

    settings = serving_settings()
    configure(settings.log_level, settings.log_prompts)
    service.serve(queue, job_id, execution_id, worker_name, settings)


if __name__ == "__main__":
    app()
