"""The command line: `radiata …`."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.commands import adapter_syntax as uses
from app.commands import adapters as adapter_commands
from app.commands import datasets as dataset_commands
from app.commands import keys as key_commands
from app.commands import models as model_commands
from app.commands import terminal
from app.commands import trainings as training_commands
from app.commands import webhooks as webhook_commands
from app.commands.audit import audit
from app.commands.collecting import gc as collect
from app.commands.config import config
from app.commands.listing import listed
from app.commands.pictures import preprocess, recipe, send
from app.commands.request_options import as_fields, with_options
from app.commands.setting_options import with_settings
from app.commands.terminal import SPINNER, Url, err, out, plain, told
from app.commands.usage import usage
from app.http.address import listen
from app.shared.any_encoding import speak_any_encoding
from app.shared.environment import KEY
from app.shared.settings import read_settings, serving_settings
from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import GenerationRequest
from app.shared.wire.picture import picture_fields

FORMATS = {".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}  # of a file whose name says so
SHORT = {  # options that are not called as their fields are
    "negative_prompt": "negative",
    "init_image": "init",
    "mask_image": "mask",
    "reference_images": "reference",
}

cli = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Pictures from one base model with any set of LoRA and LyCORIS adapters.",
    rich_markup_mode="markdown",
)
cli.add_typer(adapter_commands.cli, name="adapters")
cli.add_typer(model_commands.cli, name="models")
cli.add_typer(key_commands.cli, name="keys")
cli.add_typer(webhook_commands.cli, name="webhooks")
cli.command()(preprocess)
cli.command("list")(listed)
cli.command()(recipe)
cli.add_typer(dataset_commands.cli, name="datasets")
cli.command("gc")(collect)
cli.command()(audit)
cli.command()(with_settings(config))
cli.command()(usage)
cli.add_typer(training_commands.cli, name="trainings")
cli.command()(training_commands.train)


@cli.callback()
def _with_key(
    key: Annotated[
        str | None, typer.Option(envvar=KEY, show_envvar=True, help="Key of the service, where it needs one.")
    ] = None,
) -> None:
    if key:
        os.environ[KEY] = key  # for every command, and whatever it runs


@cli.command()
@with_settings
def up() -> None:
    """Run everything on this machine: Valkey, the API, and workers that draw, inspect and train. Ctrl-C stops it.

    Every setting is a flag here, and a variable of the environment, over which a flag goes; `radiata config` shows all.
    """
    from app.shared.log import configure
    from app.supervisor import Service

    with _starting():
        settings = serving_settings()
        configure(settings.log_level, settings.log_prompts)
        out.print("starting: the model takes a few seconds to load; wait for the line that says where it is")
        with err.status("starting", spinner=SPINNER) as status, Service(settings).running(_telling(status)) as service:
            status.stop()
            out.print(f"Radiata is ready at [bold]{service.url}[/bold]", soft_wrap=True)
            out.print(f"its API is described at {service.url}/docs", soft_wrap=True)
            out.print(f"data: {plain(str(settings.data_dir.resolve()))}; Ctrl-C stops everything", soft_wrap=True)
            service.watch()
            err.print("stopping")


@contextmanager
def _starting() -> Iterator[None]:
    from app.supervisor import StartFailed

    try:
        with told():
            yield
    except StartFailed as failure:
        err.print(f"[red]not started:[/red] {plain(str(failure))}", soft_wrap=True)
        raise typer.Exit(failure.status) from failure


def _telling(status: Any) -> Any:
    return lambda waiting: status.update(f"waiting for {waiting}")


@cli.command()
@with_settings
def api() -> None:
    """Run the API alone (on the Redis of RADIATA_REDIS_URL, or of an `up` over the same data folder)."""
    import uvicorn

    from app.http.connections import allow_many_connections
    from app.http.server import Server
    from app.main import create_app
    from app.shared.connection import connect, warn_of_eviction
    from app.shared.exit_with_parent import watch_parent
    from app.shared.identity import claim_at_start

    watch_parent()
    allow_many_connections()
    with told():
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
@with_settings
def worker(
    model: Annotated[str | None, typer.Argument(help="A model of RADIATA_MODELS; unset, the default one.")] = None,
    intake: Annotated[bool, typer.Option("--intake", help="Inspect uploads instead of drawing.")] = False,
    train: Annotated[bool, typer.Option("--train", help="Train adapters instead of drawing.")] = False,
) -> None:
    """Run one worker (on the Redis that the API uses; needs the `worker` extra installed)."""
    if intake + train + (model is not None) > 1:
        raise typer.BadParameter("a worker draws with one MODEL, or inspects, or trains; name one of the three")
    with told():
        read_settings()  # here a flag is told as it was typed
    what = ["intake"] if intake else ["train"] if train else ["generate", *([model] if model else [])]
    os.execv(sys.executable, [sys.executable, "-m", "workers", *what])


@cli.command()
@with_options(
    GenerationRequest, "prompt", "adapters", "webhook", "metadata", names=SHORT, files=picture_fields(GenerationRequest)
)
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    adapter: Annotated[list[str] | None, typer.Option("--adapter", "-a", help=uses.HELP)] = None,
    control: Annotated[list[str] | None, typer.Option("--control", help=uses.CONTROL_HELP)] = None,
    image_prompt: Annotated[list[str] | None, typer.Option("--image-prompt", help=uses.PROMPT_HELP)] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG, WebP or JPEG; more get -1, -2, …")] = Path(
        "out.png"
    ),
    url: Url = None,
    **fields: Any,
) -> None:
    """Draw a prompt and save the picture."""
    try:
        adapters = [*map(uses.use_of, adapter or []), *map(uses.control_of, control or [])]
        adapters += uses.prompts_of(image_prompt or [])
        body = {"prompt": prompt, "adapters": adapters, **as_fields(GenerationRequest, fields)}
        if body["output_format"] == "png":
            body["output_format"] = FORMATS.get(output.suffix.lower(), "png")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with terminal.connected(url) as client, Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("waiting", total=None)
        send(client, body, GenerationRequest)
        for entry in adapters:
            send(client, entry, AdapterUse)
        generation = client.generate(
            body,
            lambda step, total: bar.update(task, description="drawing", completed=step, total=total),
            lambda generation_id: err.print(f"generation {plain(generation_id)}"),
        )
        if generation["status"] != "succeeded":
            error = generation["error"] or {"message": "it was canceled"}
            err.print(f"[red]{generation['status']}:[/red] {plain(error['message'])}")
            raise typer.Exit(1)
        for image in generation["images"]:
            path = output if len(generation["images"]) == 1 else output.with_stem(f"{output.stem}-{image['index'] + 1}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.image(image["url"]))
            out.print(f"{path}  seed {image['seed']}")


@cli.command()
def cancel(
    generation_id: Annotated[str, typer.Argument(help="As `radiata generate` prints it.")], url: Url = None
) -> None:
    """Cancel a generation that waits or is drawn."""
    with terminal.connected(url) as client:
        generation = client.cancel(generation_id)
    out.print(f"{plain(generation['id'])} {plain(generation['status'])}")


@cli.command()
def delete(
    generation_ids: Annotated[list[str], typer.Argument(help="As `radiata generate` prints them.")], url: Url = None
) -> None:
    """Delete generations that have ended, with their pictures; one that has not is canceled, and stays."""
    with terminal.connected(url) as client:
        for one in generation_ids:
            out.print(f"{plain(one)} {'canceled' if client.forget(one) else 'deleted'}")


@cli.command()
def star(
    generation_ids: Annotated[list[str], typer.Argument(help="As `radiata generate` prints them.")],
    off: Annotated[bool, typer.Option("--off", help="Take the star instead.")] = False,
    url: Url = None,
) -> None:
    """Star generations: what has a star is deleted by nobody but who asks for it."""
    with terminal.connected(url) as client:
        for one in generation_ids:
            client.star(one, not off)
            out.print(f"{plain(one)} {'no longer starred' if off else 'starred'}")


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON in place of a table.")] = False,
) -> None:
    """Look whether everything this service stands on is sound, and name records that cannot be read."""
    from app.commands.doctor import examine, report

    sound = report(examine(), out, as_json)
    raise typer.Exit(0 if sound else 1)


@cli.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the pictures go.")] = Path("out/demo"),
) -> None:
    """Start everything, draw with every bundled adapter, write a labelled comparison, stop everything."""
    from app.commands.demo import run

    with _starting():
        run(folder, out, err)


def main() -> None:
    """Entry point of the `radiata` command."""
    speak_any_encoding()
    cli()


if __name__ == "__main__":
    main()
