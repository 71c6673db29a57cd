"""`radiata train` and `radiata trainings …`: what is sent, what is told, and what is refused in a sentence."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import cli
from app.commands.following import Lines
from app.commands.foretold import NOT_SENT_YET
from app.shared.wire.training import TrainingRequest
from radiata_client import Refused

ID = "0123456789abcdef" * 2
UNKNOWN = {"pointer": "/dataset", "message": "there is no dataset"}
REPORT = {"pictures": 2, "missing": ["[red]b.png[/red]"], "empty": [], "orphaned": [], "unreadable": {}, "ignored": []}


class _Service:
    """Answers like a client, and remembers what it was asked."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {}
        self.sent: list[str] = []
        self.judged: list[str] = []
        self.wrong: list[dict[str, str]] = []
        self.ended: dict[str, Any] = {
            "id": ID,
            "status": "succeeded",
            "request": {"name": "style", "algorithm": "lokr", "continues": "e" * 32, "options": {"factor": 8}},
            "progress": {"step": 4, "steps": 4, "loss": 0.25},
            "adapter": {"name": "style", "version": 2, "step": 4},
            "pictures": [{"step": 4, "sample": 0, "url": "/sample"}],
            "error": None,
            "notes": ["a [red]rank[/red] was cut"],
            "checkpoints": [{"step": 4, "loss": 0.25}],
            "created_at": "2026-01-02",
        }
        self.waiting: list[dict[str, Any]] = []

    def dataset(self, archive: Path) -> dict[str, Any]:
        with zipfile.ZipFile(archive) as zipped:
            self.sent = sorted(zipped.namelist())
        return {"ref": f"dataset:{'d' * 64}", "report": REPORT}

    def train(self, body: dict[str, Any], progress: Any, accepted: Any) -> dict[str, Any]:
        self.body = body
        accepted(ID)
        progress({"step": 1, "steps": 4, "loss": 0.5, "remaining_s": 3.0})
        progress({"step": 2, "steps": 4, "loss": None, "remaining_s": None})
        return self.ended

    def go_on(self, training_id: str, steps: int | None, progress: Any, accepted: Any) -> dict[str, Any]:
        self.body = {"id": training_id, "steps": steps}
        accepted("f" * 32)
        return self.ended

    def stop(self, training_id: str, keep: bool) -> dict[str, Any]:
        self.body = {"id": training_id, "keep": keep}
        return self.ended | {"status": "canceled"}

    def training(self, _: str) -> dict[str, Any]:
        return self.ended

    def trainings(self) -> list[dict[str, Any]]:
        return [*self.waiting, self.ended]

    def foretell(self, body: dict[str, Any]) -> dict[str, Any]:
        self.body, self.judged = body, [*self.judged, body["dataset"]]
        if body["dataset"] == NOT_SENT_YET:
            raise Refused({"code": "dataset_unknown", "errors": [UNKNOWN, *self.wrong]}, 404)
        request = {"model": "emoji-64", "algorithm": "lokr", "rank": 4, "steps": 40, "learning_rate": 1e-4}
        told = {
            "layers": {"unet": 3},
            "parameters": 1234,
            "memory_bytes": 3 << 20,
            "activation_bytes": 1 << 20,
            "epochs": 2.0,
            "seconds": 90.0,
        }
        return {"request": request, "notes": ["cut"], "seconds_by": "drawing", "why": {"rank": "its own"}, **told}

    def publish(self, training_id: str, step: int) -> dict[str, Any]:
        self.body = {"id": training_id, "step": step}
        return {"name": "style", "version": 3}

    def algorithms(self) -> list[dict[str, Any]]:
        option = {"name": "factor", "default": 8, "meaning": "[red]rows[/red]"}
        return [
            {
                "name": "lokr",
                "summary": "a product",
                "untrainable": "",
                "options": [option],
                "rank": "width",
                "default_rank": 16,
                "learning_rate": 1e-4,
            },
            {"name": "other", "summary": "another", "untrainable": "it has no beginning", "options": []},
        ]

    def image(self, url: str) -> bytes:
        return url.encode()


@pytest.fixture
def service(stand_in: Callable[[Any], None]) -> _Service:
    one = _Service()
    stand_in(one)
    return one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "a.txt", "5_word/b.png", "notes.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"bytes")
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.cli, list(arguments))
    return result.exit_code, " ".join(result.output.split())


def test_a_folder_is_sent_and_trained_and_its_samples_are_saved(service: _Service, folder: Path) -> None:
    options = ("--algorithm", "dora", "--option", "conv_rank=4", "--option", "conv_alpha=2.5", "--option", "over=loha")
    said = (*options, "--shuffle-caption", "--steps", "4")
    asked = ("train", str(folder), "--name", "style", "--sample", "a disc", "--output", str(folder / "out"), *said)
    status, text = run(*asked)
    assert status == 0 and service.sent == ["5_word/b.png", "a.png", "a.txt"]
    body = service.body
    assert (body["name"], body["algorithm"], body["steps"], body["shuffle_caption"]) == ("style", "dora", 4, True)
    assert body["options"] == {"conv_rank": 4, "conv_alpha": 2.5, "over": "loha"}
    assert body["samples"] == [{"prompt": "a disc"}] and body["dataset"] == f"dataset:{'d' * 64}"
    assert (folder / "out" / "0000004-0.png").read_bytes() == b"/sample"
    assert "style:2 after 4 steps" in text and "missing: [red]b.png[/red]" in text


def test_a_dataset_that_was_sent_is_named(service: _Service) -> None:
    assert run("train", f"dataset:{'e' * 64}", "--name", "style")[0] == 0
    assert service.body["dataset"] == f"dataset:{'e' * 64}" and service.sent == []
    assert service.body["algorithm"] == TrainingRequest.model_fields["algorithm"].default  # the same for everybody


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("/nowhere", "--name", "a"), "there is no folder"),
        (("dataset:1", "--name", "a", "--option", "factor"), "write it as factor=8"),
        (("dataset:1", "--name", "a", "--output", "out"), "name a --sample"),
        (("dataset:1",), "--name"),
    ],
    ids=str,
)
def test_what_was_typed_wrong_is_a_sentence(service: _Service, arguments: tuple[str, ...], sentence: str) -> None:
    status, text = run("train", *arguments)
    assert status == 2 and sentence in text.replace("│ ", "") and service.body == {}


def test_nothing_is_sent_for_what_the_service_refuses(service: _Service, folder: Path) -> None:
    service.wrong = [{"pointer": "/options/facto", "message": "there is no such option; did you mean factor?"}]
    status, text = run("train", str(folder), "--name", "style", "--option", "facto=1")
    assert status == 2 and "options.facto: there is no such option" in text.replace("│ ", "")
    assert service.sent == [] and service.judged == [NOT_SENT_YET]
    service.wrong = []
    assert run("train", str(folder), "--name", "style", "--dry-run")[0] == 0
    assert service.sent and service.judged == [NOT_SENT_YET, NOT_SENT_YET, f"dataset:{'d' * 64}"]


def test_one_that_made_nothing_says_why_and_how_to_go_on(service: _Service) -> None:
    service.ended |= {"status": "failed", "adapter": None, "error": {"message": "[red]why[/red]"}}
    status, text = run("train", f"dataset:{'e' * 64}", "--name", "style")
    assert status == 1 and "failed: [red]why[/red]" in text and f"radiata trainings resume {ID}" in text


def test_trainings_are_listed_with_whole_ids_and_gone_on_with(service: _Service) -> None:
    assert ID in run("trainings", "list")[1] and ID in run("trainings", "show", ID)[1]
    assert "canceled" in run("trainings", "cancel", ID)[1] and service.body == {"id": ID, "keep": False}
    assert "gets its version" in run("trainings", "cancel", ID, "--keep")[1] and service.body == {
        "id": ID,
        "keep": True,
    }
    assert f"training {'f' * 32}" in run("trainings", "resume", ID)[1] and service.body == {"id": ID, "steps": None}
    assert run("trainings", "extend", ID, "5")[0] == 0 and service.body == {"id": ID, "steps": 5}
    told = run("trainings", "algorithms")[1]
    assert (
        "rank 16, learning rate 0.0001" in told
        and "factor=8: [red]rows[/red]" in told
        and "cannot be trained: it has no beginning" in told
    )


def test_a_folder_that_says_how_often_it_is_shown_keeps_its_name(service: _Service, folder: Path) -> None:
    assert run("train", str(folder / "5_word"), "--name", "style")[0] == 0
    assert service.sent == ["5_word/b.png"]


def test_a_dry_run_accepts_nothing_and_tells_what_it_would_be(service: _Service) -> None:
    status, text = run("train", f"dataset:{'e' * 64}", "--name", "style", "--dry-run")
    assert status == 0 and "1,234" in text and "3 MiB" in text and "3 layers of unet" in text and "note cut" in text
    assert "rank 4: its own" in text and "about 1.5 min, by the speed of drawing" in text


def test_without_a_terminal_there_are_lines_and_who_is_before_it(service: _Service) -> None:
    service.waiting = [
        {"id": "0" * 32, "status": "running", "created_at": "2026-01-01"},
        {"id": ID, "status": "queued", "created_at": "2026-01-02"},
    ]
    _, text = run("train", f"dataset:{'e' * 64}", "--name", "style")
    assert f"training {ID}: queued behind 1" in text
    assert "step 1 of 4, loss 0.5000, 3 s left" in text and "step 2 of 4" in text
    assert "note: a [red]rank[/red] was cut" in text


def test_lines_come_for_a_tenth_or_after_a_while() -> None:
    told: list[str] = []
    clock = iter([0.0, 0.0, 40.0, 40.0, 41.0])
    lines = Lines(told.append, lambda: next(clock))
    for step in (1, 2, 3, 20):
        lines({"step": step, "steps": 100})
    assert told == ["step 1 of 100", "step 3 of 100", "step 20 of 100"]


def test_what_is_shown_is_no_python(service: _Service) -> None:
    text = run("trainings", "show", ID)[1]
    assert "step 4 of 4, loss 0.2500" in text and "style:2, after step 4" in text and "factor=8" in text
    assert "a [red]rank[/red] was cut" in text and "checkpoint step 4, loss 0.2500" in text and "{" not in text
    assert "after eeeeeeee" in run("trainings", "list")[1]
    assert "style:3" in run("trainings", "publish", ID, "4")[1] and service.body == {"id": ID, "step": 4}


def test_a_worker_does_one_kind_of_work() -> None:
    status, text = run("worker", "--intake", "--train")
    assert status == 2 and "name one of the three" in text.replace("│ ", "")
