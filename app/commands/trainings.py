"""`radiata train` and `radiata trainings …`: adapters made by a service out of pictures on this machine."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from app.commands import terminal
from app.commands.client import Client
from app.commands.datasets import sender
from app.commands.following import following, how
from app.commands.foretold import judge, rows
from app.commands.request_options import as_fields, with_options
from app.commands.terminal import Url, err, listing, out, plain
from app.shared.wire.dataset import DATASET_PREFIX
from app.shared.wire.training import TrainingRequest
from radiata_client.core import ENDS

OWN = ("name", "dataset", "options", "samples")  # fields that the command asks for itself

cli = typer.Typer(no_args_is_help=True, help="Trainings of a service: list, show, cancel, go on with.")


@with_options(TrainingRequest, *OWN)
def train(
    pictures: Annotated[
        str,
        typer.Argument(
            help="A folder of pictures with captions (`a.png`, `a.txt`), what `radiata datasets add` takes, or a ref."
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the adapter; it gets the next version of that name.")],
    option: Annotated[list[str] | None, typer.Option(help="`factor=8`: of the algorithm; repeatable.")] = None,
    sample: Annotated[list[str] | None, typer.Option(help="A prompt, drawn at each checkpoint; repeatable.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A folder for the samples.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would be and cost.", metavar=" ")] = False,
    url: Url = None,
    **fields: Any,
) -> None:
    """Train an adapter on a folder of captioned pictures; what is accepted goes on if this ends."""
    body = {"name": name, "options": dict(map(_option, option or []))}
    body |= {"samples": [{"prompt": prompt} for prompt in sample or []], **as_fields(TrainingRequest, fields)}
    if output and not sample:
        raise typer.BadParameter("--output is for samples; name a --sample")
    with terminal.connected(url) as client:
        if pictures.startswith(DATASET_PREFIX):
            body["dataset"] = pictures
        else:
            sending = sender(pictures)
            judge(client, body)  # before what may take minutes to send
            body["dataset"] = sending(client)
        if dry_run:
            _print(rows(client.foretell(body)))
            return
        with following(err) as progress:
            ended = client.train(body, progress, lambda accepted: _accepted(client, accepted))
        _told(client, ended, output)


@cli.command("list")
def trainings_list(url: Url = None) -> None:
    """The newest trainings."""
    with terminal.connected(url) as client:
        found = client.trainings()
    table = listing("id", "name", "algorithm", "status", "step", "loss", box=None)
    for one in found:
        request, progress = one["request"], one["progress"]
        name = request["name"] + (f"\nafter {before}" if (before := (request.get("continues") or "")[:8]) else "")
        loss = "" if progress["loss"] is None else f"{progress['loss']:.4f}"
        step = f"{progress['step']}/{progress['steps']}"
        table.add_row(one["id"], plain(name), plain(request["algorithm"]), one["status"], step, loss)
    out.print(table)


@cli.command("show")
def trainings_show(training_id: str, url: Url = None) -> None:
    """One training: what was asked for, and how it goes."""
    with terminal.connected(url) as client:
        found = client.training(training_id)
    _print(_rows(found))


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


@cli.command("publish")
def trainings_publish(
    training_id: str,
    step: Annotated[int, typer.Argument(help="After which a checkpoint was kept; `show` lists them.")],
    url: Url = None,
) -> None:
    """Give a checkpoint the next version of the training's name, whatever became of the training."""
    with terminal.connected(url) as client:
        made = client.publish(training_id, step)
    out.print(f"{plain(made['name'])}:{made['version']}; draw with `-a {plain(made['name'])}`")


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
        with following(err) as progress:
            ended = client.go_on(training_id, steps, progress, lambda accepted: _accepted(client, accepted))
        _told(client, ended, None)


def _accepted(client: Client, training_id: str) -> None:
    """Say the id of what was accepted, and how many go before it."""
    waiting = [one for one in client.trainings() if one["status"] not in ENDS]
    own = next((one for one in waiting if one["id"] == training_id), None)
    ahead = 0 if own is None else sum(one["created_at"] < own["created_at"] for one in waiting)
    queued = f"queued behind {ahead}; it " if ahead else ""
    err.print(
        f"training {plain(training_id)}: {queued}goes on if this ends; `radiata trainings show` tells how",
        soft_wrap=True,
    )


def _print(rows: Iterable[tuple[str, str]]) -> None:
    table = Table(Column(no_wrap=True, style="bold"), Column(overflow="fold"), show_header=False, box=None)
    for name, value in rows:
        table.add_row(name, plain(value))
    out.print(table)


def _rows(training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is told of a training, by name, and then what was asked for."""
    progress, request = training["progress"], training["request"]
    yield "id", training["id"]
    yield "status", training["status"]
    yield "progress", ", ".join(filter(None, (f"step {progress['step']} of {progress['steps']}", how(progress))))
    if made := training["adapter"]:
        yield "adapter", f"{made['name']}:{made['version']}, after step {made['step']}"
    if error := training["error"]:
        yield "error", error["message"]
    for note in training.get("notes", ()):
        yield "note", note
    for one in training.get("checkpoints", ()):
        yield "checkpoint", f"step {one['step']}" + ("" if one["loss"] is None else f", loss {one['loss']:.4f}")
    for one in training["pictures"]:
        yield "sample", f"step {one['step']}: {one['url']}"
    for name in ("created_at", "started_at", "finished_at"):
        if training.get(name):
            yield name, training[name]
    for name, value in request.items():
        if value not in (None, "", [], {}):
            yield name, _said(value)


def _said(value: Any) -> str:
    """Return a value of a request as people write it."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_said(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return "; ".join(map(_said, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is no option of an algorithm; write it as factor=8")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _told(client: Client, training: dict[str, Any], output: Path | None) -> None:
    """Say how a training ended, and save its samples; ends with status 1 where it made no adapter."""
    for note in training.get("notes", ()):
        err.print(f"note: {plain(note)}", soft_wrap=True)
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
