"""`python -m workers models …`, which `radiata models` runs: what has to look into files, or to fetch them."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from app.shared.base_source import read_source
from app.shared.models_file import ModelsFile, fetched_folder
from app.shared.settings import Settings, read_settings
from app.shared.shown import shown
from workers.ending import err, out, told
from workers.models.fetching import fetch
from workers.models.hub import NotFetched, chosen, wanted_of

cli = typer.Typer(no_args_is_help=True, help="Look into base models, fetch them, and name them in the settings.")

NEXT = (
    "RADIATA_DEFAULT_MODEL={0} makes it the model that `radiata up` draws with; `radiata worker {0}` draws with it "
    "beside others. What runs now knows it when it is started again."
)


@cli.command()
def add(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, a .safetensors or .gguf file, or hf:owner/repository; or a file of one, or @revision."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name in requests; unset, made of the source's.")] = None,
    vae: Annotated[str | None, typer.Option(help="A VAE in place of its own: a folder, a file or a hub id.")] = None,
    part: Annotated[
        list[str] | None, typer.Option(help="Any part from elsewhere: text_encoder=PLACE, or text_encoder= for none.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="In place of RADIATA_DTYPE.")] = None,
    variant: Annotated[str | None, typer.Option(help="Of weights on a hub, as `fp16`; unset, the one without.")] = None,
) -> None:
    """Look into a base model without loading it, say what it is, and name it in the data folder's `models.json`."""
    with told(NotFetched):
        settings, wanted = read_settings(), wanted_of(source)
        name = name or _called(
            wanted.name if wanted else Path(source).stem if Path(source).is_file() else Path(source).name
        )
        models = ModelsFile(settings.data_dir)
        if name in settings.models and (by := settings.named_by(name)) != str(models.path):
            raise ValueError(f"{by} names a {name!r}: choose another --name")
        if wanted:
            place = _fetched(source, name, settings, variant)
        elif (place := Path(source).resolve()).exists():
            pass
        else:
            raise ValueError(f"there is no folder or file {source!r}; a repository on a hub is written hf:owner/name")
        said = _said(place, {"vae": vae} if vae else {}, part or [], dtype)
        from workers.models.looking import look  # torch, for seconds

        looked_at = settings.model_copy(update={"models": {**settings.models, name: read_source(said)}})
        _print(look(name, looked_at), settings)
        models.put(name, said)
        out.print(f"\n{name} is in {models.path}. {NEXT.format(name)}", soft_wrap=True)


@cli.command()
def look(name: str) -> None:
    """Say what a model of the settings is and takes, without loading it."""
    with told(NotFetched):
        settings = read_settings()
        if name not in settings.models:
            raise ValueError(f"no model {name!r}; there are {', '.join(settings.models)}")
        from workers.models.looking import look as looked  # torch, for seconds

        _print(looked(name, settings), settings)


def _called(text: str) -> str:
    """Return a name that a request can have, made of one that it cannot."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:64] or "base"


def _said(place: Path, parts: dict[str, Any], further: list[str], dtype: str | None) -> Any:
    """Return what the settings say of a base."""
    for one in further:
        named, _, where = one.partition("=")
        parts[named] = where or None
    found = {
        named: str(Path(where).resolve()) if where and Path(where).exists() else where for named, where in parts.items()
    }
    said = {"source": str(place)} | ({"dtype": dtype} if dtype else {}) | found
    return said if len(said) > 1 else str(place)


def _fetched(source: str, name: str, settings: Settings, variant: str | None) -> Path:
    """Fetch a repository of a hub, or a file, into the data folder; tell how far it is."""
    wanted = wanted_of(source)
    assert wanted
    token = settings.hub_token.get_secret_value() if settings.hub_token else None
    what = chosen(wanted, variant, token)
    total, done = sum(what.files.values()), dict.fromkeys(what.files, 0)
    out.print(
        f"{wanted.repository} at {what.commit[:12]}: {len(what.files)} files, {total / 1e9:.2f} GB", soft_wrap=True
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=total)

        def tell(file: str, there: int, _: int) -> None:
            done[file] = there
            bar.update(task, description=file, completed=sum(done.values()))

        return fetch(what, fetched_folder(settings.data_dir, name), token, tell)


def _print(found: Any, settings: Settings) -> None:
    facts = {
        "family": found.family,
        "stored": ", ".join(found.stored),
        "on disk": f"{found.disk_bytes / 1e9:.2f} GB",
        "in memory": f"{found.memory_bytes / 1e9:.2f} GB, in {found.profile.dtype}",
        "obeys": ", ".join(field for field, obeyed in found.profile.obeys.items() if obeyed),
    }
    table = Table(show_header=False, box=None)
    for key, value in {**facts, **shown(found.profile.model_dump(mode="json"), settings.model)}.items():
        if value not in (None, "", [], {}):
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            table.add_row(key, ", ".join(f"{k}: {v}" for k, v in text.items()) if isinstance(text, dict) else str(text))
    out.print(table)
