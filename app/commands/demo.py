"""`radiata demo`: the whole service once, from nothing to a labelled comparison of every bundled adapter."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.commands.client import Client
from app.commands.comparison import write
from app.commands.demo_gifts import GIFTS
from app.commands.terminal import key
from app.shared.log import configure
from app.shared.settings import read_settings, serving_settings
from app.supervisor import Service

PROMPTS = ("red apple", "purple butterfly", "fox")
SEED = 7
BASE = "base"
LOG = "service.log"  # what the service's processes say, beside the pictures


def run(folder: Path, out: Console, err: Console) -> None:
    """Start, draw, compare, stop; pictures go to `folder`. Raises StartFailed and BadSettings."""
    read_settings()  # what the demo has in its own way may be set wrongly too
    settings = serving_settings(data_dir=folder / "data", port=0)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG).write_bytes(b"")
    configure("warning")
    started = time.monotonic()
    with err.status("starting", spinner="line") as status:
        service = Service(settings, folder / LOG)
        told: dict[str, None] = {}

        def waits(waiting: str) -> None:
            line = f"starting: waiting for {waiting}"
            status.update(line)
            if not err.is_terminal and line not in told:  # where a spinner is not seen
                err.print(line, soft_wrap=True)
            told[line] = None

        with service.running(waits):
            status.stop()
            took_start = time.monotonic() - started
            took_draw = _draw(service.url, folder, err)
            stopping = time.monotonic()
    took_stop = time.monotonic() - stopping
    out.print(f"pictures: {folder}/{BASE}.png and one for each adapter; what the service said: {folder}/{LOG}")
    out.print(f"comparison: [bold]{folder}/sheet.png[/bold], and of those that are given a picture {folder}/given.png")
    out.print(f"start {took_start:.1f} s, drawing {took_draw:.1f} s, stop {took_stop:.1f} s")


def _draw(url: str, folder: Path, err: Console) -> float:
    started = time.monotonic()
    with Client(url, key()) as client:
        adapters = client.adapters()
        names = [BASE, *(one["name"] for one in adapters if one["kind"] not in GIFTS)]
        guided = [(one["name"], one["kind"]) for one in adapters if one["kind"] in GIFTS]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=err) as bar:
            task = bar.add_task("drawing", total=len(PROMPTS) * (len(names) + len(guided)))
            drawn: list[list[Path]] = []
            given: list[list[Path]] = []

            def draw(number: int, name: str, prompt: str, stack: list[dict[str, Any]]) -> Path:
                bar.update(task, description=f"{prompt}, {name}")
                path = folder / (f"{name}.png" if number == 0 else f"{name}-{number + 1}.png")
                path.write_bytes(_picture(client, prompt, stack))
                bar.advance(task)
                if not err.is_terminal:
                    err.print(f"drawn: {prompt}, {name}", soft_wrap=True)
                return path

            for number, prompt in enumerate(PROMPTS):
                row = [draw(number, name, prompt, [] if name == BASE else [{"ref": name}]) for name in names]
                pair = [row[0]]
                for name, kind in guided:
                    gift, shown = GIFTS[kind], folder / f"{name}-given-{number + 1}.png"
                    entry = {"ref": name, **gift.write(row[0], shown)}
                    pair += [shown, draw(number, name, gift.prompt or prompt, [entry])]
                drawn.append(row)
                given.append(pair)
                prompts = PROMPTS[: number + 1]  # whoever looks before the end sees what there is
                write(folder / "sheet.png", prompts, names, drawn)
                if guided:
                    titles = [title for name, _ in guided for title in (f"given to {name}", name)]
                    write(folder / "given.png", prompts, [BASE, *titles], given)
    return time.monotonic() - started


def _picture(client: Client, prompt: str, stack: list[dict[str, Any]]) -> bytes:
    generation = client.generate({"prompt": prompt, "seed": SEED, "adapters": stack})
    if generation["status"] != "succeeded":
        raise RuntimeError(f"{prompt!r} with {stack}: {generation['error']}")
    return client.image(generation["images"][0]["url"])
