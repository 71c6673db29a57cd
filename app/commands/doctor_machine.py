"""What `radiata doctor` looks at on this machine: room on its disks, folders of models, and the port of the API."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from app.commands.findings import Finding
from app.http.address import url_of
from app.shared.settings import MIB, Settings

LITTLE_MB = 1024
INDEX = "model_index.json"
BUNDLED = "bundled:"
ANSWER_S = 2.0


def checks(settings: Settings) -> Iterator[Finding]:
    """Every check in turn."""
    yield _room("data folder", settings.data_dir.resolve(), LITTLE_MB)
    yield _room("temporary files", Path(tempfile.gettempdir()), settings.max_upload_mb)
    for model in settings.models:
        yield _model(model, settings.base(model).source)
    yield _port(settings)


def _room(check: str, folder: Path, wanted_mb: int) -> Finding:
    while not folder.exists():
        folder = folder.parent
    free_mb = shutil.disk_usage(folder).free // MIB
    result = f"{folder} has {free_mb:,} MiB free"
    if free_mb < wanted_mb:
        return Finding(check, "wrong", f"{result}, fewer than {wanted_mb:,}: free some, or choose another folder")
    return Finding(check, "ok", result)


def _model(model: str, source: str) -> Finding:
    check, path = f"model {model}", Path(source).expanduser()
    if source.startswith(BUNDLED):
        return Finding(check, "ok", "it comes with the code")
    if path.is_file() or (path / INDEX).is_file():
        return Finding(check, "ok", f"{path} is there; `radiata models show {model}` looks into it")
    if path.is_dir():
        return Finding(check, "wrong", f"{path} has no {INDEX}: name the folder that has, or the file with the weights")
    if path.is_absolute() or source.startswith((".", "~")):
        return Finding(check, "wrong", f"there is no {path} on this machine: workers of this model cannot load it here")
    return Finding(check, "note", f"{source} is of a hub, from which a worker fetches it")


def _port(settings: Settings) -> Finding:
    host, port = settings.host, settings.port
    if port == 0:
        return Finding("port", "ok", "a free one is taken")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
        return Finding("port", "ok", f"{host}:{port} is free")
    except OSError as error:
        why = error.strerror or str(error)
    try:
        if httpx.get(f"{url_of(host, port)}/healthz", timeout=ANSWER_S, trust_env=False).json() == {"status": "ok"}:
            return Finding("port", "ok", f"the service answers at {host}:{port}")
    except (httpx.HTTPError, ValueError, RecursionError):
        pass
    return Finding("port", "wrong", f"{host}:{port} cannot be taken ({why}): set RADIATA_PORT or RADIATA_HOST")
