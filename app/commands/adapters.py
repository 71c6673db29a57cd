"""`radiata adapters …`: the adapters of a service, and files of adapters on this machine."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.commands import terminal
from app.commands.adapter_source import fetched, in_bytes, is_elsewhere, named
from app.commands.terminal import SPINNER, Url, err, listing, out, plain, show, told
from app.shared.settings import read_settings
from app.shared.wire.adapter import Visibility
from radiata_client.resuming import FROM

COLOURS = {"added": "green", "there": "dim", "refused": "red"}
WHO = "its owner (private), whoever names it with its owner (shared), or all (public)"
OTHER_WEIGHTS = (".ckpt", ".pt", ".pth", ".bin")

cli = typer.Typer(no_args_is_help=True, help="Add, list, show and remove adapters; make files of files.")


@cli.command("add")
def adapters_add(
    source: Annotated[
        str,
        typer.Argument(
            help="A .safetensors file, PEFT's folder as a zip, or a folder of such files; or what the service fetches: "
            "hf:owner/repository[@revision][:file], civitai:VERSION_ID, https://…"
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name here; unset, the file's.")] = None,
    description: Annotated[str, typer.Option(help="A line about it.")] = "",
    ignore: Annotated[list[str] | None, typer.Option(help="Tensors to leave out (pattern); repeatable.")] = None,
    image_encoder: Annotated[
        str, typer.Option(help="Of an image prompt: which of the base's image encoders reads its pictures.")
    ] = "",
    sha256: Annotated[str | None, typer.Option(help="What the hash of a fetched file has to be.")] = None,
    visibility: Annotated[Visibility | None, typer.Option(help=f"Who may use it: {WHO}. Unset, as before.")] = None,
    url: Url = None,
) -> None:
    """Upload an adapter and print its verdict; or all of a folder, a line each, by hash: run again, it goes on."""
    if is_elsewhere(source):
        said = {"source": source, "name": name or named(source), "description": description, "ignore": ignore or []}
        further = (("sha256", sha256), ("visibility", visibility), ("image_encoder", image_encoder))
        said |= {what: one for what, one in further if one}
        with terminal.connected(url) as client:
            record = fetched(client, said, "/v1/adapters")
        show(record)
        return
    file = Path(source)
    if not file.exists():
        raise typer.BadParameter(
            f"there is no file or folder {source!r}; what is fetched begins hf:, civitai: or https:"
        )
    if sha256:
        raise typer.BadParameter("a sha256 is of a file that is fetched; one that is sent is what it is")
    if file.is_dir():
        if name or description or ignore or image_encoder:
            raise typer.BadParameter(
                "a name, a description, an image encoder and tensors to leave out are of one file, not of a folder"
            )
        _add_folder(file, visibility, url)
        return
    facts = {"visibility": visibility, "image_encoder": image_encoder}
    with terminal.connected(url) as client, _sending(file) as progress:
        record = client.upload(file, name or file.stem.lower(), description, ignore or [], **facts, told=progress)
    show(record)


@contextmanager
def _sending(file: Path) -> Iterator[Callable[[int, int], None]]:
    """Something that moves while a file is sent; of a large one, how far it is."""
    if file.stat().st_size > FROM:
        with in_bytes("sending") as progress:
            yield progress
    else:
        with err.status("uploading and inspecting", spinner=SPINNER):
            yield lambda *_: None


def _add_folder(folder: Path, visibility: Visibility | None, url: str | None) -> None:
    """Add every adapter in a folder; ends with status 1 where any was refused."""
    from app.commands.adapter_folder import adapters_in, add_all  # with storage, which nothing else here knows

    files, counts = adapters_in(folder), Counter[str]()
    others = sum(1 for file in folder.rglob("*") if file.suffix.lower() in OTHER_WEIGHTS)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with (
        terminal.connected(url) as client,
        Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar,
    ):
        task = bar.add_task("adding", total=len(files))
        for one in add_all(client, files, read_settings(), visibility):
            counts[one.what] += 1
            bar.advance(task)
            where = plain(str(one.file.relative_to(folder)))
            out.print(f"[{COLOURS[one.what]}]{one.what}[/] {where}: {plain(one.line)}", soft_wrap=True)
    told = ", ".join(f"{counts[what]} {what}" for what in COLOURS)
    left = f"; {others} files are no safetensors and were left" if others else ""
    out.print(f"{len(files)} files: {told}{left}")
    if counts["refused"]:
        raise typer.Exit(1)


@cli.command("list")
def adapters_list(url: Url = None) -> None:
    """Every adapter, newest version each."""
    with terminal.connected(url) as client:
        found = client.adapters()
    table = listing("name", "version", "kind", "fits", "size", "description")
    for one in found:
        size = f"{one['size_bytes'] / 1e6:.1f} MB"
        where = ", ".join(one["fits"])
        table.add_row(one["name"], str(one["version"]), one.get("kind", ""), where, size, plain(one["description"]))
    out.print(table)


@cli.command("show")
def adapters_show(ref: str, url: Url = None) -> None:
    """One adapter with its verdict: NAME, NAME:VERSION or sha256:…"""
    with terminal.connected(url) as client:
        show(client.adapter(ref))


@cli.command("visibility")
def adapters_visibility(name: str, who: Annotated[Visibility, typer.Argument(help=WHO)], url: Url = None) -> None:
    """Say who may use all versions of an adapter from now on."""
    with terminal.connected(url) as client:
        record = client.show_to(name, who)
    out.print(f"{plain(record['name'])} is {record['visibility']}")


@cli.command("rm")
def adapters_rm(name: str, url: Url = None) -> None:
    """Delete an adapter with all its versions."""
    with terminal.connected(url) as client:
        client.delete(name)
    out.print(f"{name} deleted")


# Of files on this machine, without a service: the library's own commands, in a process that may load torch
FILE_TOOLS = {
    "inspect": "What a file holds, and whether it fits a model's folder.",
    "merge": "Write a model's folder with adapters merged into its weights.",
    "convert": "Write a file under kohya's or diffusers' names, or as a LoRA, with the error it costs.",
    "resize": "Write a LoRA with a lower rank.",
    "extract": "Write what fine-tuning did to a base as a LoCon.",
    "anatomy": "Where a file's change lies: attention or convolution, block by block, as a table and a chart.",
}


def _file_tool(name: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        with told():
            read_settings()
        os.execv(sys.executable, [sys.executable, "-m", "lycoris", name, *context.args])

    return run


for _name, _help in FILE_TOOLS.items():
    cli.command(
        _name,
        help=f"{_help} Needs the `worker` extra; `radiata adapters {_name} --help` lists the options.",
        short_help=_help,
        rich_help_panel="Files on this machine (`python -m lycoris`)",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_file_tool(_name))
