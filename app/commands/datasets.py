"""`radiata datasets …`: pictures with captions, sent from this machine or fetched by the service."""

import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands import terminal
from app.commands.adapter_source import fetched, is_elsewhere
from app.commands.client import Client
from app.commands.terminal import SPINNER, Url, err, listing, out, plain

SENT = frozenset((".png", ".jpg", ".jpeg", ".webp", ".avif", ".txt", ".caption", ".jsonl", ".csv"))
REPEATED = re.compile("[1-9][0-9]*_")  # the beginning of such a folder's name
SHOWN = 5  # names of a report's lists

cli = typer.Typer(no_args_is_help=True, help="Add, list and remove datasets: pictures with captions to train on.")


@cli.command("add")
def datasets_add(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of pictures with captions (`a.png`, `a.txt`) or a zip of one; or what the service fetches: "
            "hf:owner/repository[@revision][:file.zip], https://…"
        ),
    ],
    sha256: Annotated[str | None, typer.Option(help="What the hash of a fetched zip has to be.")] = None,
    url: Url = None,
) -> None:
    """Have a dataset read and print its ref, which `radiata train` takes; what is wrong with it is told."""
    if sha256 and not is_elsewhere(source):
        raise typer.BadParameter("a sha256 is of a zip that is fetched; one that is sent is what it is")
    sending = sender(source, sha256)
    with terminal.connected(url) as client:
        out.print(sending(client))


@cli.command("list")
def datasets_list(url: Url = None) -> None:
    """Every dataset, newest first."""
    with terminal.connected(url) as client:
        found = client.datasets()
    table = listing("ref", "pictures", "captions", "made", box=None)
    for one in found:
        table.add_row(one["ref"], str(one["pictures"]), str(one["captions"]), one["created_at"][:16])
    out.print(table)


@cli.command("rm")
def datasets_rm(ref: str, url: Url = None) -> None:
    """Delete a dataset that no waiting or running training needs; its pictures stay."""
    with terminal.connected(url) as client:
        client.delete_dataset(ref)
    out.print(f"{plain(ref)} deleted")


def sender(source: str, sha256: str | None = None) -> Callable[[Client], str]:
    """Return what sends a dataset, or has it fetched, says what was found in it, and returns its ref.

    Raises BadParameter where there is none to be sent.
    """
    place = Path(source)
    if is_elsewhere(source):
        body = {"source": source} | ({"sha256": sha256} if sha256 else {})
        return lambda client: _told(fetched(client, body, "/v1/datasets"))
    if place.is_dir():
        files = _files(place)
        return lambda client: _told(_packed_and_sent(client, files))
    if place.is_file():
        return lambda client: _told(_sent(client, place, 1))
    raise typer.BadParameter(f"there is no folder or zip {source!r}; what is fetched begins hf: or https:")


def _told(dataset: dict[str, Any]) -> str:
    report = dataset["report"]
    err.print(f"{plain(dataset['ref'])}: {report['pictures']} pictures")
    for what in ("missing", "empty", "orphaned", "unreadable", "ignored"):
        if found := [str(one) for one in report[what]]:
            more = ", …" if len(found) > SHOWN else ""
            err.print(f"  {what}: {plain(', '.join(found[:SHOWN]) + more)}")
    return dataset["ref"]


def _files(folder: Path) -> dict[Path, Path]:
    """Return the pictures and captions in a folder, and what each is called in what is sent."""
    # The folder's own name counts where it says how often its pictures are shown, as `10_word` does
    top = folder.resolve()
    above = top.parent if REPEATED.match(top.name) else top
    found = [one for one in sorted(folder.rglob("*")) if one.is_file() and one.suffix.lower() in SENT]
    return {one: top.joinpath(one.relative_to(folder)).relative_to(above) for one in found}


def _packed_and_sent(client: Client, files: dict[Path, Path]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        archive = Path(place) / "dataset.zip"
        with zipfile.ZipFile(archive, "w", strict_timestamps=False) as zipped:  # pictures are compressed already
            for one, name in files.items():
                zipped.write(one, name)
        return _sent(client, archive, len(files))


def _sent(client: Client, archive: Path, files: int) -> dict[str, Any]:
    with err.status(f"sending {files} files", spinner=SPINNER):
        return client.dataset(archive)
