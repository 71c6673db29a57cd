"""What people type is understood or refused in a sentence, and what a service says is never markup."""

import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

from app import cli
from app.commands import terminal
from app.shared.shown import UNSHOWN, shown
from radiata_client import Refused
from tests.app.shared.making import profile


class _Service:
    """Answers like a client, and remembers what it was asked."""

    def __init__(self, status: str = "succeeded") -> None:
        self.status = status
        self.body: dict[str, Any] = {}

    def generate(self, body: dict[str, Any], progress: Any, accepted: Any) -> dict[str, Any]:
        self.body = body
        accepted("0123abcd")
        progress(1, 2)
        images = [{"index": index, "url": f"/{index}", "seed": 7 + index} for index in range(body["count"])]
        error = {"code": "x", "message": "[red]why[/red]"} if self.status == "failed" else None
        return {"status": self.status, "images": images, "error": error}

    def forget(self, generation_id: str) -> bool:
        return generation_id == "living"

    def star(self, generation_id: str, starred: bool) -> None:
        self.starred = starred

    def cancel(self, generation_id: str) -> dict[str, Any]:
        return {"id": generation_id, "status": "canceled"}

    def models(self) -> dict[str, Any]:
        facts = {"name": "small", "width": 64, "obeys": {"width": True, "eta": False}, "sizes": [[64, 64], [128, 64]]}
        return {"models": [facts], "not_ready_why": {"other": "[red]no worker[/red]"}}

    def picture(self, file: Path) -> dict[str, Any]:
        return {"ref": f"image:{file.name}", "notes": ["[red]taken as sRGB[/red]"]}

    def map_of(self, ref: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.body = asked | {"of": ref}
        return {"ref": "image:map", "width": 64, "height": 48}

    def image(self, url: str) -> bytes:
        return url.encode()


@pytest.fixture
def service(stand_in: Callable[[Any], None]) -> _Service:
    one = _Service()
    stand_in(one)
    return one


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.cli, list(arguments))
    return result.exit_code, result.output


def test_a_model_is_shown_with_what_it_refuses(service: _Service) -> None:
    code, text = run("models")
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line]
    assert code == 0 and ["refuses", "eta"] in [[name, rest.strip()] for name, rest in rows]
    assert "other is not ready: [red]no worker[/red]" in text


def test_a_model_is_shown_with_all_that_its_profile_says() -> None:
    whole = profile(apply_modes=["auto", "merge"], obeys={"eta": False}).model_dump(mode="json")
    said = shown(whole, whole["name"])
    assert whole.keys() - said.keys() == {*UNSHOWN}
    assert (said["name"], said["apply_modes"]) == (f"{whole['name']} (default)", ["auto (default)", "merge"])
    assert said["refuses"] == ["eta"] and shown(whole, "another")["name"] == whole["name"]


def test_adapters_are_named_with_their_strengths(service: _Service, tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.png"
    code, said = run("generate", "a fox", "-a", "one", "-a", "two:3=0.5", "-a", "sha256:ab=-1", "-o", str(out))
    assert "0123abcd" in said.splitlines()[0], "whoever loses the connection knows what to ask for"
    assert code == 0 and out.read_bytes() == b"/0"
    uses = [(use["ref"], use["strength"]) for use in service.body["adapters"]]
    assert uses == [("one", 1.0), ("two:3", 0.5), ("sha256:ab", -1.0)]
    assert (service.body["stack_mode"], service.body["priority"]) == ("sum", "normal")
    assert run("generate", "a fox", "--priority", "high", "-o", str(out))[0] == 0
    assert service.body["priority"] == "high"
    assert run("generate", "a fox", "--stack-mode", "sequential", "-o", str(out))[0] == 0
    assert service.body["stack_mode"] == "sequential"
    assert run("generate", "a fox", "--stack-mode", "backwards", "-o", str(out))[0] == 2


def test_more_of_how_an_adapter_is_applied_follows_its_name(service: _Service, tmp_path: Path) -> None:
    out = str(tmp_path / "a.png")
    text = "one:2=0.8 down=0.5 up.1=-0.25 0:0.2 0.6:1 rank=8"
    assert run("generate", "a fox", "-a", text, "--apply", "bypass", "-o", out)[0] == 0
    blocks, schedule = {"down": 0.5, "up.1": -0.25}, [[0.0, 0.2], [0.6, 1.0]]
    assert service.body["adapters"] == [
        {"ref": "one:2", "strength": 0.8, "blocks": blocks, "schedule": schedule, "rank": 8}
    ]
    assert service.body["apply"] == "bypass"
    assert run("generate", "a fox", "-a", "one 0:0.5", "-o", out)[0] == 0
    assert service.body["adapters"] == [{"ref": "one", "strength": 1.0, "schedule": [[0.0, 0.5]]}]


def test_pictures_are_sent_before_they_are_drawn_from(
    service: _Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b c.png", "m.png"):
        Path(name).write_bytes(b"picture")
    options = "--init a.png --mask m.png --denoise 0.5 --fit crop --upscale 1.5 --control edges=0.8:a.png@canny"
    words = [
        "--control",
        "poses=b c.png 0:1 0.5:0",
        "--control",
        "union=0.5:a.png@depth mode=soft_edge 0:1",
        "--image-prompt",
        "like=0.6:a.png",
        "--image-prompt",
        "like=0.6:m.png",
    ]
    code, said = run("generate", "a fox", *options.split(), *words)
    assert code == 0 and "a.png: [red]taken as sRGB[/red]" in said, said
    body = service.body
    assert (body["init_image"], body["mask_image"], body["denoise"], body["fit"]) == (
        "image:a.png",
        "image:m.png",
        0.5,
        "crop",
    )
    assert body["upscale"] == {"scale": 1.5}
    assert body["adapters"] == [
        {"ref": "edges", "strength": 0.8, "image": "image:a.png", "preprocess": "canny"},
        {"ref": "poses", "strength": 1.0, "image": "image:b c.png", "schedule": [[0.0, 1.0], [0.5, 0.0]]},
        {
            "ref": "union",
            "strength": 0.5,
            "image": "image:a.png",
            "preprocess": "depth",
            "mode": "soft_edge",
            "schedule": [[0.0, 1.0]],
        },
        {"ref": "like", "strength": 0.6, "images": ["image:a.png", "image:m.png"]},
    ]
    assert run("generate", "a fox", "--init", "image:0123")[0] == 0 and service.body["init_image"] == "image:0123"
    for wrong in (
        ["--init", "none.png"],
        ["--control", "edges"],
        ["--control", "edges=none.png"],
        ["--control", "edges=0.8"],
        ["--control", "edges=a.png@none"],
        ["--control", "edges=a.png mode="],
        ["--upscale-denoise", "0.4"],
    ):
        service.body = {}
        assert run("generate", "a fox", *wrong)[0] == 2 and service.body == {}, wrong
    assert run("generate", "a fox", "--image-prompt", "one=a.png", "--image-prompt", "one=0.5:a.png")[0] == 2
    code, said = run("generate", "a fox", "--control", "edges=0.8:a.png@cany")
    assert code == 2 and "did you mean @canny?" in " ".join(said.replace("│", " ").split()), said


def test_a_map_is_made_and_saved(service: _Service, tmp_path: Path) -> None:
    photo, made = tmp_path / "photo.png", tmp_path / "maps" / "map.png"
    photo.write_bytes(b"picture")
    code, said = run(
        "preprocess", str(photo), "-o", str(made), "--width", "64", "--fit", "crop", "--thresholds", "1", "2"
    )
    assert code == 0 and "64×48" in said, said
    assert service.body == {
        "preprocess": "canny",
        "width": 64,
        "fit": "crop",
        "thresholds": (1, 2),
        "of": "image:photo.png",
    }
    assert made.read_bytes() == b"/v1/images/image:map"


@pytest.mark.parametrize("twice", ["down=0.5 down=0.7", "rank=3 0:1 rank=4"])
def test_what_is_said_twice_is_refused(service: _Service, tmp_path: Path, twice: str) -> None:
    code, said = run("generate", "a fox", "-a", f"one {twice}", "-o", str(tmp_path / "a.png"))
    assert code == 2 and f"{twice.partition('=')[0]} is given twice" in " ".join(said.replace("│", " ").split())
    assert service.body == {}


@pytest.mark.parametrize(
    "text", ["one=0.8 down", "one down=half", "one 0:much", "one :1", "one =1", "one rank=-1", "one rank=", "one="]
)
def test_what_says_nothing_about_an_adapter_is_refused(service: _Service, tmp_path: Path, text: str) -> None:
    code, said = run("generate", "a fox", "-a", text, "-o", str(tmp_path / "a.png"))
    words = " ".join(said.replace("│", " ").split())  # out of the box that it is told in
    assert code == 2 and ("as in" in words or "neither" in words), words
    assert service.body == {}


def test_more_pictures_are_numbered(service: _Service, tmp_path: Path) -> None:
    assert run("generate", "a fox", "--count", "2", "-o", str(tmp_path / "a.png"))[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.png", "a-2.png"]


@pytest.mark.parametrize("adapter", ["one=much", "one=nan", "one=inf"])
def test_a_strength_that_is_no_number_is_refused(service: _Service, tmp_path: Path, adapter: str) -> None:
    code, text = run("generate", "a fox", "-a", adapter, "-o", str(tmp_path / "a.png"))
    assert code == 2 and "strength" in text and service.body == {}


def test_a_generation_without_pictures_fails_the_command(service: _Service, tmp_path: Path) -> None:
    service.status = "failed"
    code, _ = run("generate", "a fox", "-o", str(tmp_path / "a.png"))
    assert code == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["[red]", "\\[red]", "[/]", "[link=file:///etc]x", "\\\\[b]", "trailing\\"])
def test_text_from_outside_is_never_markup(text: str) -> None:
    assert Text.from_markup(f"[bold]{terminal.plain(text)}[/bold]").plain == text


def test_nobody_at_the_door_is_a_sentence() -> None:
    code, text = run("adapters", "list", "--url", "http://127.0.0.1:9")
    assert code == 2 and "radiata up" in text and "Traceback" not in text


@pytest.mark.parametrize("url", ["http://::1:8000", "ftp://localhost", "localhost:http", "http://"])
def test_what_is_no_address_is_a_sentence(url: str) -> None:
    code, text = run("adapters", "list", "--url", url)
    assert code == 2 and "no address" in text and len(text.splitlines()) == 1 and "nobody answers" not in text


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """Whoever says these bytes to everything that is asked."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    one, _ = server.accept()
                    with one:
                        one.recv(65536)
                        one.sendall(content)

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize("content", [PAGE, b"SSH-2.0-OpenSSH\r\n", b""], ids=["a page", "no http", "nothing"])
def test_a_stranger_at_the_door_is_a_sentence(content: bytes) -> None:
    with answering(content) as where:
        code, text = run("adapters", "list", "--url", where)
    assert code == 2 and where in text and len(text.splitlines()) == 1, text


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_terminal_of_ascii_alone_shows_everything(encoding: dict[str, str], tmp_path: Path) -> None:
    description = "Ein schöner Stil — 花"
    listed = {"name": "one", "version": 1, "fits": ["m"], "size_bytes": 1, "description": description, "why": "“…”"}
    content = json.dumps({"adapters": [listed], **listed}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    environment = {**os.environ, "LC_ALL": "C", "COLUMNS": "300"} | encoding
    with answering(answer) as where:
        for arguments in (
            ["--help"],
            ["adapters", "list", "--url", where],
            ["adapters", "show", "one", "--url", where],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "app.cli", *arguments], env=environment, capture_output=True, timeout=120
            )
            assert done.returncode == 0, done.stderr.decode()
            assert done.stdout.isascii()
        assert b"sch\\xf6ner" in done.stdout and b"\\u82b1" in done.stdout
    file = str(Path(__file__).parents[2] / "workers/models/emoji-64/adapters/striped-locon.safetensors")
    done = subprocess.run(
        [sys.executable, "-m", "lycoris", "inspect", file], env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_prompt_that_is_no_text_is_a_sentence() -> None:
    code, text = run("generate", "a \udcff fox", "--url", "127.0.0.1:9")
    assert code == 2 and "not UTF-8" in text


def test_a_refusal_names_every_reason(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class _Refusing:
        def __init__(self, *_: str | None) -> None: ...
        def __enter__(self) -> "_Refusing":
            return self

        def __exit__(self, *_: object) -> None: ...
        def adapters(self) -> None:
            raise Refused({"detail": "no", "code": "c", "errors": [{"subject": "lora_a", "message": "a shape"}]})

    monkeypatch.setattr(terminal, "Client", _Refusing)
    code, text = run("adapters", "list")
    assert code == 1 and "lora_a" in text and "a shape" in text


def test_a_generation_can_be_canceled(service: _Service) -> None:
    assert run("cancel", "0123abcd") == (0, "0123abcd canceled\n")


def test_generations_are_deleted_and_starred(service: _Service) -> None:
    assert run("delete", "one", "living") == (0, "one deleted\nliving canceled\n")
    assert run("star", "one") == (0, "one starred\n")
    assert run("star", "one", "--off") == (0, "one no longer starred\n")


def test_the_garbage_collector_leaves_out_what_the_service_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look through all of it stopped every request for half a second."""
    frozen: list[int] = []

    class Served:
        started = True

        def __init__(self, *_: object) -> None: ...

        def run(self, **_: object) -> None:
            frozen.append(gc.get_freeze_count())

    done = (
        "http.connections.allow_many_connections",
        "shared.exit_with_parent.watch_parent",
        "shared.connection.connect",
    )
    done += ("shared.identity.claim_at_start", "shared.connection.warn_of_eviction", "main.create_app")
    for name in (*done, "cli.serving_settings", "cli.listen"):
        monkeypatch.setattr(f"app.{name}", lambda *_: nullcontext())
    monkeypatch.setattr("app.http.server.Server", Served)
    before = gc.get_freeze_count()
    try:
        cli.api()
    finally:
        gc.unfreeze()
    assert frozen[0] > before + 10_000
