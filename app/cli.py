"""The command line: `radiata …`."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app import adapter_syntax as uses
from app.address import listen, read_url, url_of
from app.client import Client, Refused, Stranger
from app.request_options import with_options
from app.shared.log import configure, speak_any_encoding
from app.shared.settings import BadSettings, read_settings, serving_settings
from app.shared.wire.generation import GenerationRequest

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Pictures from one base model with any set of LoRA and LyCORIS adapters.",
    rich_markup_mode="markdown",
)
adapters = typer.Typer(no_args_is_help=True, help="Add, list, show and remove adapters; make files of files.")
cli.add_typer(adapters, name="adapters")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
SPINNER = "line"  # of ASCII alone


@contextmanager
def _told() -> Iterator[None]:
    """End a command with a sentence for every error that its user can mend."""
    try:
        yield
    except BadSettings as error:
        err.print(f"[red]settings:[/red] {_plain(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from error
    except Refused as refused:
        err.print(f"[red]refused:[/red] {_plain(str(refused))}")
        for reason in refused.reasons:
            about, message = reason.get("subject") or reason.get("field"), reason.get("message", "")
            if len(refused.reasons) > 1 or message not in str(refused):
                err.print("  -", _plain(f"{about}: {message}" if about else message))
        raise typer.Exit(1) from refused
    except Stranger as stranger:
        err.print(f"[red]no Radiata:[/red] {_plain(str(stranger))}", soft_wrap=True)
        raise typer.Exit(2) from stranger
    except UnicodeEncodeError as error:
        err.print("[red]not UTF-8:[/red] what you typed cannot be sent")
        raise typer.Exit(2) from error


Url = Annotated[
    str | None,
    typer.Option(envvar="RADIATA_URL", help="Where the service is; unset, where RADIATA_HOST and RADIATA_PORT say."),
]


@contextmanager
def _client(url: str | None) -> Iterator[Client]:
    """A client whose errors end the command with a sentence."""
    with _told():
        settings = read_settings()
        # Whoever moved the service with a setting means that one
        try:
            there = read_url(url) if url else url_of(settings.host, settings.port)
        except ValueError as error:
            raise BadSettings(f"--url or RADIATA_URL: {error}") from error
        try:
            with Client(there) as client:
                yield client
        except httpx.TransportError as error:
            err.print(
                f"[red]nobody answers at {_plain(there)}[/red] ({_plain(str(error))}); start the service with "
                "`radiata up`, or give --url",
                soft_wrap=True,
            )
            raise typer.Exit(2) from error


def _plain(text: str) -> str:
    return escape(text)  # names from outside are never markup


@cli.command()
def up() -> None:
    """Run everything on this machine: Valkey, the API, a generation worker and an intake worker. Ctrl-C stops it."""
    from app.supervisor import Service

    with _starting():
        settings = serving_settings()
        configure(settings.log_level)
        out.print("starting: the model takes a few seconds to load; wait for the line that says where it is")
        with err.status("starting", spinner=SPINNER) as status, Service(settings).running(_telling(status)) as service:
            status.stop()
            out.print(f"Radiata is ready at [bold]{service.url}[/bold]", soft_wrap=True)
            out.print(f"its API is described at {service.url}/docs", soft_wrap=True)
            out.print(f"data: {_plain(str(settings.data_dir.resolve()))}; Ctrl-C stops everything", soft_wrap=True)
            service.watch()
            err.print("stopping")


@contextmanager
def _starting() -> Iterator[None]:
    from app.supervisor import StartFailed

    try:
        with _told():
            yield
    except StartFailed as failure:
        err.print(f"[red]not started:[/red] {_plain(str(failure))}", soft_wrap=True)
        raise typer.Exit(failure.status) from failure


def _telling(status: Any) -> Any:
    return lambda waiting: status.update(f"waiting for {waiting}")


@cli.command()
def api() -> None:
    """Run the API alone (on the Redis of RADIATA_REDIS_URL, or of an `up` over the same data folder)."""
    import uvicorn

    from app.connections import allow_many_connections
    from app.main import create_app
    from app.server import Server
    from app.shared.connection import connect, warn_of_eviction
    from app.shared.exit_with_parent import watch_parent
    from app.shared.identity import claim_at_start

    watch_parent()
    allow_many_connections()
    with _told():
        settings = serving_settings()
        with connect(settings) as redis:
            claim_at_start(settings, redis)
            warn_of_eviction(redis)
        sockets = listen(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `app/middleware/forwarded.py` takes them, from those that are trusted
        timeout_graceful_shutdown=3,
    )
    server = Server(config, app)
    gc.collect()
    gc.freeze()  # what the service is made of is no garbage: looking through it stopped every request for half a second
    server.run(sockets=sockets)
    if not server.started:
        raise typer.Exit(1)


@cli.command()
def worker(
    model: Annotated[str | None, typer.Argument(help="A model of RADIATA_MODELS; unset, the default one.")] = None,
    intake: Annotated[bool, typer.Option("--intake", help="Inspect uploads instead of drawing.")] = False,
) -> None:
    """Run one worker (on the Redis that the API uses; needs the `worker` extra installed)."""
    what = ["intake"] if intake else ["generate", *([model] if model else [])]
    os.execv(sys.executable, [sys.executable, "-m", "workers", *what])


@cli.command()
@with_options(GenerationRequest, "prompt", "adapters", names={"negative_prompt": "negative"})
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    adapter: Annotated[list[str] | None, typer.Option("--adapter", "-a", help=uses.HELP)] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write; more pictures get -1, -2, …")] = Path(
        "out.png"
    ),
    url: Url = None,
    **fields: Any,
) -> None:
    """Draw a prompt and save the picture."""
    body = {"prompt": prompt, "adapters": [_use(text) for text in adapter or []], **fields}
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with _client(url) as client, Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("waiting", total=None)
        generation = client.generate(
            body,
            lambda step, total: bar.update(task, description="drawing", completed=step, total=total),
            lambda generation_id: err.print(f"generation {_plain(generation_id)}"),
        )
        if generation["status"] != "succeeded":
            error = generation["error"] or {"message": "it was canceled"}
            err.print(f"[red]{generation['status']}:[/red] {_plain(error['message'])}")
            raise typer.Exit(1)
        for image in generation["images"]:
            path = output if len(generation["images"]) == 1 else output.with_stem(f"{output.stem}-{image['index'] + 1}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.image(image["url"]))
            out.print(f"{path}  seed {image['seed']}")


OF_A_MODEL = (
    *("name", "pipeline", "components", "width", "height", "size_multiple", "sizes", "steps", "max_steps"),
    *("guidance_scale", "samplers", "tokens", "dtype", "device"),
)


@cli.command()
def models(url: Url = None) -> None:
    """Every base model: its own values and limits, and the fields of a request that it refuses."""
    with _client(url) as client:
        found = client.models()
    for one in found["models"]:
        refused = [field for field, obeyed in one.get("obeys", {}).items() if not obeyed]
        _show({field: one.get(field) for field in OF_A_MODEL} | {"refuses": refused})
        out.print()
    for name, why in found["not_ready_why"].items():
        out.print(f"[yellow]{_plain(name)}[/yellow] is not ready: {_plain(why)}")


@cli.command()
def cancel(
    generation_id: Annotated[str, typer.Argument(help="As `radiata generate` prints it.")], url: Url = None
) -> None:
    """Cancel a generation that waits or is drawn."""
    with _client(url) as client:
        generation = client.cancel(generation_id)
    out.print(f"{_plain(generation['id'])} {_plain(generation['status'])}")


def _use(text: str) -> dict[str, Any]:
    try:
        return uses.use_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@adapters.command("add")
def adapters_add(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .safetensors file, or PEFT's folder as a zip.")
    ],
    name: Annotated[str | None, typer.Option(help="Its name here; unset, the file's.")] = None,
    description: Annotated[str, typer.Option(help="A line about it.")] = "",
    ignore: Annotated[list[str] | None, typer.Option(help="Tensors to leave out (pattern); repeatable.")] = None,
    url: Url = None,
) -> None:
    """Upload an adapter and print its verdict."""
    with _client(url) as client, err.status("uploading and inspecting", spinner=SPINNER):
        record = client.upload(file, name or file.stem.lower(), description, ignore or [])
    _show(record)


@adapters.command("list")
def adapters_list(url: Url = None) -> None:
    """Every adapter, newest version each."""
    with _client(url) as client:
        found = client.adapters()
    table = Table("name", "version", "fits", "size", "description")
    for one in found:
        size = f"{one['size_bytes'] / 1e6:.1f} MB"
        table.add_row(one["name"], str(one["version"]), ", ".join(one["fits"]), size, _plain(one["description"]))
    out.print(table)


@adapters.command("show")
def adapters_show(ref: str, url: Url = None) -> None:
    """One adapter with its verdict: NAME, NAME:VERSION or sha256:…"""
    with _client(url) as client:
        _show(client.adapter(ref))


@adapters.command("rm")
def adapters_rm(name: str, url: Url = None) -> None:
    """Delete an adapter with all its versions."""
    with _client(url) as client:
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
        with _told():
            read_settings()
        os.execv(sys.executable, [sys.executable, "-m", "lycoris", name, *context.args])

    return run


for _name, _help in FILE_TOOLS.items():
    adapters.command(
        _name,
        help=f"{_help} Needs the `worker` extra; `radiata adapters {_name} --help` lists the options.",
        short_help=_help,
        rich_help_panel="Files on this machine (`python -m lycoris`)",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_file_tool(_name))


def _show(record: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    verdict = record.get("verdict") or {}
    for key, value in [*((key, value) for key, value in record.items() if key != "verdict"), *verdict.items()]:
        if value not in (None, "", [], {}):
            table.add_row(f"[bold]{key}[/bold]", _plain(_text(value)))
    out.print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return ", ".join(str(inner) for inner in value) if isinstance(value, list) else str(value)


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON in place of a table.")] = False,
) -> None:
    """Look whether everything this service stands on is sound, and name records that cannot be read."""
    from app.doctor import examine, report

    sound = report(examine(), out, as_json)
    raise typer.Exit(0 if sound else 1)


@cli.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("out/demo"),
) -> None:
    """Start everything, draw with every bundled adapter, write a labelled comparison, stop everything."""
    from app.demo import run

    with _starting():
        run(folder, out, err)


def main() -> None:
    """Entry point of the `radiata` command."""
    speak_any_encoding()
    cli()


if __name__ == "__main__":
    main()
