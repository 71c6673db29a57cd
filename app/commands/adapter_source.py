"""`radiata adapters add hf:…`: what the service fetches from another host."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from app.commands.client import Client
from app.commands.terminal import err

ELSEWHERE = re.compile(r"(hf:|civitai:|https?://).*", re.DOTALL)
NOT_IN_A_NAME = re.compile(r"[^a-z0-9._-]+")
SAYS_NOTHING = {"pytorch_lora_weights", "adapter_model", "model", "lora", "diffusion_pytorch_model"}  # names of files


def is_elsewhere(source: str) -> bool:
    """Whether it is fetched, not sent."""
    return ELSEWHERE.fullmatch(source) is not None


def named(source: str) -> str:
    """Return a name for what is fetched: its file's, where that says something, else its repository's."""
    kind, _, rest = source.partition(":")
    if kind == "civitai":
        return f"civitai-{rest.partition(':')[0]}"
    path = rest.partition("?")[0].partition("#")[0]
    repository, _, file = path.partition(":") if kind == "hf" else ("", "", path)
    repository = repository.partition("@")[0]
    parts = [PurePosixPath(file).stem, *reversed(repository.split("/"))]
    said = next((one for one in parts if one and one.lower() not in SAYS_NOTHING), "adapter")
    return NOT_IN_A_NAME.sub("-", said.lower()).strip("-._")[:64] or "adapter"


@contextmanager
def in_bytes(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes, and of how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda got, size: bar.update(task, completed=got, total=size or None)


def fetched(client: Client, body: dict[str, Any], path: str) -> dict[str, Any]:
    """Have a file of another host fetched, with a bar; what has become of it."""
    with in_bytes("fetching") as told:
        return client.fetch(body, told, path)
