"""`radiata train` and `radiata trainings …`: adapters made by a service out of pictures on this machine."""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from app.commands import terminal
from app.commands.client import Client
from app.commands.request_options import as_fields, with_options
from app.commands.terminal import SPINNER, Url, err, out, plain, show
from app.shared.wire.dataset import DATASET_PREFIX
from app.shared.wire.training import TrainingRequest

SENT = frozenset((".png", ".jpg", ".jpeg", ".webp", ".avif", ".txt", ".caption", ".jsonl", ".csv"))
SHOWN = 5  # names of a report's lists
OWN = ("name", "dataset", "algorithm", "options", "samples")  # fields that the command asks for itself

cli = typer.Typer(no_args_is_help=True, help="Trainings of a service: list, show, cancel, go on with.")


@with_options(TrainingRequest, *OWN)
def train(
    pictures: Annotated[str, typer.Argument(help="A folder of pictures with captions (`a.png`, `a.txt`), or a ref.")],
    name: Annotated[str, typer.Option(help="Of the adapter; it gets the next version of that name.")],
    algorithm: Annotated[str, typer.Option(help="As `radiata trainings algorithms` lists them.")] = "lokr",
    option: Annotated[list[str] | None, typer.Option(help="`factor=8`: of the algorithm; repeatable.")] = None,
    sample: Annotated[list[str] | None, typer.Option(help="A prompt, drawn at each checkpoint; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A folder for the samples.")] = None,
    url: Url = None,
    **fields: Any,
) -> None:
    """Train an adapter on a folder of captioned pictures; what is accepted goes on if this ends."""
    body = {"name": name, "algorithm": algorithm, "options": dict(map(_option, option or []))}
    body |= {"samples": [{"prompt": prompt} for prompt in sample or []], **as_fields(TrainingRequest, fields)}
    if output and not sample:
        raise typer.BadParameter("--output is for samples; name a --sample")
    with terminal.connected(url) as client:
        body["dataset"] = pictures if pictures.startswith(DATASET_PREFIX) else _sent(client, Path(pictures))
        with _bar() as progress:
            ended = client.train(body, progress, _accepted)
        _told(client, ended, output)


@cli.command("list")
def trainings_list(url: Url = None) -> None:
    """The newest trainings."""
    with terminal.connected(url) as client:
        found = client.trainings()
    table = Table(Column("id", no_wrap=True, min_width=32), "name", "algorithm", "status", "step", "loss")
    for one in found:
        request, progress = one["request"], one["progress"]
        loss = "" if progress["loss"] is None else f"{progress['loss']:.4f}"
        step = f"{progress['step']}/{progress['steps']}"
        table.add_row(one["id"], request["name"], request["algorithm"], one["status"], step, loss)
    out.print(table)


@cli.command("show")
def trainings_show(training_id: str, url: Url = None) -> None:
    """One training: what was asked for, and how it goes."""
    with terminal.connected(url) as client:
        show(client.training(training_id))


@cli.command("algorithms")
def trainings_algorithms(url: Url = None) -> None:
    """What can be trained, with the options of each."""
    with terminal.connected(url) as client:
        found = client.algorithms()
    for one in found:
        if one["untrainable"]:
            out.print(
                f"[bold]{one['name']}[/bold] [red]cannot be trained:[/red] {plain(one['untrainable'])}", soft_wrap=True
            )
            continue
        own = f"rank {one['default_rank']}, " if one["rank"] else ""
        out.print(
            f"[bold]{one['name']}[/bold] {plain(one['summary'])}; {own}learning rate {one['learning_rate']:g}",
            soft_wrap=True,
        )
        for part in one["options"]:
            out.print(f"    {part['name']}={part['default']}: {plain(part['meaning'])}", soft_wrap=True)


@cli.command("cancel")
def trainings_cancel(
    training_id: str,
    keep: Annotated[bool, typer.Option("--keep", help="Give what was learned so far its version.")] = False,
    url: Url = None,
) -> None:
    """Cancel a training that waits or runs; it can be resumed."""
    with terminal.connected(url) as client:
        training = client.stop(training_id, keep)
    what = "stops after its step, and then gets its version" if keep else training["status"]
    out.print(f"{plain(training['id'])} {plain(what)}")


@cli.command("resume")
def trainings_resume(training_id: str, url: Url = None) -> None:
    """Go on with a training that failed or was canceled, from its last checkpoint."""
    _go_on(training_id, None, url)


@cli.command("extend")
def trainings_extend(
    training_id: str, steps: Annotated[int, typer.Argument(help="Further steps.")], url: Url = None
) -> None:
    """Train longer what has succeeded."""
    _go_on(training_id, steps, url)


def _go_on(training_id: str, steps: int | None, url: str | None) -> None:
    with terminal.connected(url) as client:
        with _bar() as progress:
            ended = client.go_on(training_id, steps, progress, _accepted)
        _told(client, ended, None)


def _accepted(training_id: str) -> None:
    err.print(f"training {plain(training_id)}: goes on if this ends; `radiata trainings show` tells how")


def _option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is no option of an algorithm; write it as factor=8")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _sent(client: Client, folder: Path) -> str:
    """Return the ref of a folder's dataset, sent now, and say what was found in it."""
    if not folder.is_dir():
        raise typer.BadParameter(f"there is no folder {str(folder)!r}")
    files = [one for one in sorted(folder.rglob("*")) if one.is_file() and one.suffix.lower() in SENT]
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "dataset.zip"
        with zipfile.ZipFile(archive, "w") as zipped:  # pictures are compressed already
            for one in files:
                zipped.write(one, one.relative_to(folder))
        with err.status(f"sending {len(files)} files", spinner=SPINNER):
            dataset = client.dataset(archive)
    report = dataset["report"]
    err.print(f"{plain(dataset['ref'])}: {report['pictures']} pictures")
    for what in ("missing", "empty", "orphaned", "unreadable", "ignored"):
        if found := [str(one) for one in report[what]]:
            more = ", …" if len(found) > SHOWN else ""
            err.print(f"  {what}: {plain(', '.join(found[:SHOWN]) + more)}")
    return dataset["ref"]


@contextmanager
def _bar() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar with the loss; what it gives takes the progress of a training."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[how]}"), console=err, transient=True) as bar:
        task = bar.add_task("waiting", total=None, how="")

        def progress(data: dict[str, Any]) -> None:
            loss, left = data.get("loss"), data.get("remaining_s")
            how = ("" if loss is None else f"loss {loss:.4f}") + ("" if left is None else f", {left:.0f} s left")
            bar.update(task, description="training", completed=data["step"], total=data["steps"], how=how)

        yield progress


def _told(client: Client, training: dict[str, Any], output: Path | None) -> None:
    """Say how a training ended, and save its samples; ends with status 1 where it made no adapter."""
    for one in training["pictures"] if output else []:
        assert output is not None
        output.mkdir(parents=True, exist_ok=True)
        file = output / f"{one['step']:07d}-{one['sample']}.png"
        file.write_bytes(client.image(one["url"]))
        out.print(str(file))
    if made := training["adapter"]:
        steps = f"{made['step']} steps" + (", when it was canceled" if training["status"] == "canceled" else "")
        out.print(f"{made['name']}:{made['version']} after {steps}; draw with `-a {made['name']}`")
        return
    error = training["error"] or {"message": "it was canceled"}
    err.print(
        f"[red]{training['status']}:[/red] {plain(error['message'])}; `radiata trainings resume {training['id']}`"
    )
    raise typer.Exit(1)
