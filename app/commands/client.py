"""The service as the command line sees it: the package `radiata_client`, with answers as the service writes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import radiata_client
from radiata_client.calls import ADAPTERS, DATASETS, IMAGES, path_of
from radiata_client.core import GENERATIONS, TRAININGS, if_known
from radiata_client.effects import Ask, Operation
from radiata_client.events import Event

T = TypeVar("T")
Told = Callable[[int, int], None]
JOB = ("id", "status")
PAGE = 200  # of a list, at most


class Client:
    """Talks to one service. Raises Refused for problems, Stranger, and Unreachable when nobody answers.

    What is refused is told at once; what was accepted is waited for, also where the service is away in between.
    """

    def __init__(self, url: str, key: str | None = None, **how: Any) -> None:
        """key: of the service, where it needs one. how: as `radiata_client.Client` takes it."""
        self.sdk = radiata_client.Client(url, key, begin_s=0, **how)
        self._calls = self.sdk.calls

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.sdk.close()

    def generate(
        self,
        body: dict[str, Any],
        progress: Callable[[int, int], None] = lambda *_: None,
        accepted: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Accept a generation, follow it to its end, and give it as it ended.

        accepted: called with its id as soon as there is one.
        """
        generation = self.sdk.run(self._calls.begin(GENERATIONS, body, *JOB))
        accepted(generation["id"])
        return self._follow(GENERATIONS, generation, lambda data: progress(data["step"], data["steps"]))

    def train(
        self,
        body: dict[str, Any],
        progress: Callable[[dict[str, Any]], None] = lambda _: None,
        accepted: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Accept a training, follow it to its end, and give it as it ended, as `generate` does."""
        training = self.sdk.run(self._calls.begin(TRAININGS, body, *JOB))
        accepted(training["id"])
        return self._follow(TRAININGS, training, progress)

    def foretell(self, body: dict[str, Any]) -> dict[str, Any]:
        """What a training would be and cost; nothing is accepted."""
        return self._json("POST", TRAININGS, "request", "layers", json=body, params={"dry_run": "true"})

    def go_on(
        self,
        training_id: str,
        steps: int | None,
        progress: Callable[[dict[str, Any]], None],
        accepted: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Resume a training, or train it so many steps longer, and follow what goes on, which has an id of its own."""
        path = f"{TRAININGS}/{path_of(training_id)}"
        if steps is None:
            training = self._json("POST", f"{path}/resume", *JOB)
        else:
            training = self._json("POST", f"{path}/extend", *JOB, json={"steps": steps})
        accepted(training["id"])
        return self._follow(TRAININGS, training, progress)

    def trainings(self) -> list[dict[str, Any]]:
        """The newest trainings."""
        return self._json("GET", TRAININGS, "trainings")["trainings"]

    def training(self, training_id: str) -> dict[str, Any]:
        """A training as it stands."""
        return self._json("GET", f"{TRAININGS}/{path_of(training_id)}", *JOB)

    def algorithms(self) -> list[dict[str, Any]]:
        """Every algorithm that a training may name."""
        return self._json("GET", f"{TRAININGS}/algorithms", "algorithms")["algorithms"]

    def stop(self, training_id: str, keep: bool) -> dict[str, Any]:
        """Cancel a training; keep: have what it learned so far get its version."""
        path = f"{TRAININGS}/{path_of(training_id)}/cancel"
        return self._json("POST", path, *JOB, params={"keep": str(keep).lower()})

    def publish(self, training_id: str, step: int) -> dict[str, Any]:
        """Have the checkpoint of a step get a version in the catalog; the adapter's record."""
        path, headers = f"{TRAININGS}/{path_of(training_id)}/publish", {"Idempotency-Key": uuid4().hex}
        return self._settled(Ask("POST", path, json={"step": step}, headers=headers, patient=True), "name")

    def dataset(self, archive: Path, told: Told = lambda *_: None) -> dict[str, Any]:
        """Send a zip of pictures and captions, and wait until it is read; its ref, and the report on it."""
        return self._run(self._calls.settle(DATASETS, archive, archive.name, {}, "ref"), told)

    def cancel(self, generation_id: str) -> dict[str, Any]:
        """Cancel a generation; as it was canceled. Raises Refused where it has ended in another way."""
        return self.sdk.run(self._calls.cancel(GENERATIONS, generation_id))

    def forget(self, generation_id: str) -> bool:
        """Delete a generation that has ended; True where it had not, and was canceled in place of that."""
        return self.sdk.run(self._calls.sent("DELETE", f"{GENERATIONS}/{path_of(generation_id)}")).status != 204

    def star(self, generation_id: str, starred: bool) -> None:
        """Have a generation kept whatever its age, or no longer."""
        self._json("PATCH", f"{GENERATIONS}/{path_of(generation_id)}", "starred", json={"starred": starred})

    def generations(self, limit: int, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """The newest generations that meet what is asked for, so many at most; asked: as the list's query has it."""
        found: list[dict[str, Any]] = []
        while True:
            params = {**asked, "limit": min(limit - len(found), PAGE)}
            answer = self._json("GET", GENERATIONS, "generations", "next", params=params)
            found += answer["generations"]
            if answer["next"] is None or len(found) >= limit:
                return found
            asked = {**asked, "before": answer["next"]}

    def image(self, url: str) -> bytes:
        """The bytes of a picture."""
        return self.sdk.image(url)

    def models(self) -> dict[str, Any]:
        """Every base model with what it takes, and those that nobody draws with now, and why."""
        return self._json("GET", "/v1/models", "models", "not_ready_why")

    def adapters(self) -> list[dict[str, Any]]:
        """Every adapter, newest version each."""
        return self._json("GET", ADAPTERS, "adapters")["adapters"]

    def adapter(self, ref: str) -> dict[str, Any]:
        """One adapter with its verdict."""
        return self.sdk.run(self._adapter(ref))

    def known(self, ref: str) -> dict[str, Any] | None:
        """The same, or None where there is none."""
        return self.sdk.run(if_known(self._adapter(ref)))

    def bytes_known(self, sha256: str) -> dict[str, Any] | None:
        """The first adapter with these bytes, or None."""
        return self.known(f"sha256:{sha256}")

    def upload(
        self,
        file: Path,
        name: str,
        description: str,
        ignore: list[str],
        cover: str | None = None,
        visibility: str | None = None,
        image_encoder: str = "",
        told: Told = lambda *_: None,
    ) -> dict[str, Any]:
        """Upload an adapter, wait for its verdict; its record. cover: ref of a picture; told: bytes of a large file."""
        fields: dict[str, Any] = {"name": name, "description": description, "ignore": ignore}
        further = (("cover", cover), ("visibility", visibility), ("image_encoder", image_encoder))
        fields |= {what: said for what, said in further if said}
        return self._run(self._calls.settle(ADAPTERS, file, file.name, fields, "name"), told)

    def fetch(self, body: dict[str, Any], told: Told = lambda *_: None, path: str = ADAPTERS) -> dict[str, Any]:
        """Have a file fetched from another host, and wait for its verdict; its record. told: bytes, of how many."""
        return self._run(self._calls.fetch(path, body), told)

    def picture(self, file: Path) -> dict[str, Any]:
        """Send a picture that requests draw from, and wait until it is decoded; its ref and size, and notes on it."""
        return self._run(self._calls.settle(IMAGES, file, file.name, {}, "ref"))

    def recipe(self, file: Path) -> dict[str, Any]:
        """How a picture was made: the request that it means, and what of it cannot be said."""
        return self._run(self._calls.settle(f"{IMAGES}/recipe", file, file.name, {}, "request", "unmatched"))

    def recipe_of(self, text: str) -> dict[str, Any]:
        """The same of infotext."""
        return self._json("POST", f"{IMAGES}/recipe", "request", "unmatched", json={"parameters": text})

    def map_of(self, ref: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Have a map of a picture made, and wait for it; its ref and size."""
        return self._settled(Ask("POST", f"{IMAGES}/{path_of(ref)}/preprocess", json=asked, patient=True), "ref")

    def judge_placed(
        self,
        upload_id: str,
        name: str,
        description: str,
        cover: str | None = None,
        visibility: str | None = None,
        image_encoder: str = "",
    ) -> dict[str, Any] | None:
        """The record of a file that was put into the service's own store; None where it is not in that."""
        said = {"name": name, "description": description, "cover": cover, "visibility": visibility}
        said["image_encoder"] = image_encoder
        ask = Ask("POST", f"{ADAPTERS}/uploads/{upload_id}", json=said, patient=True)
        return self._run(if_known(self._calls.settled_answer_of(ask, "name")))

    def usage(self, **asked: str | None) -> dict[str, Any]:
        """What jobs that have ended used, by owner and day; asked: `since`, `until`, `owner`."""
        params = {name: said for name, said in asked.items() if said is not None}
        return self._json("GET", "/v1/usage", "days", "total", params=params)

    def deliveries(self) -> list[dict[str, Any]]:
        """Webhooks, those first of which something was written last."""
        return self._json("GET", "/v1/webhooks", "deliveries")["deliveries"]

    def redeliver(self, generation_id: str) -> None:
        """Have the end of a generation told once more."""
        self._json("POST", f"/v1/webhooks/{path_of(generation_id)}/redeliver", "id")

    def webhook_secret(self) -> str:
        """What webhooks of the key's owner are signed with."""
        return self._json("GET", "/v1/webhooks/secret", "secret")["secret"]

    def datasets(self) -> list[dict[str, Any]]:
        """Every dataset, newest first, without its pictures."""
        return self._json("GET", DATASETS, "datasets")["datasets"]

    def delete_dataset(self, ref: str) -> None:
        """Delete a dataset."""
        self.sdk.run(self._calls.sent("DELETE", f"{DATASETS}/{path_of(ref)}"))

    def show_to(self, name: str, visibility: str) -> dict[str, Any]:
        """Say who may use an adapter; its record."""
        return self._json("PATCH", f"{ADAPTERS}/{path_of(name)}", "name", json={"visibility": visibility})

    def delete(self, name: str) -> None:
        """Delete an adapter."""
        self.sdk.delete_adapter(name)

    def _adapter(self, ref: str) -> Operation[dict[str, Any]]:
        return self._calls.ask("GET", f"{ADAPTERS}/{path_of(ref)}", "name")

    def _json(self, method: str, path: str, *holds: str, **arguments: Any) -> dict[str, Any]:
        return self.sdk.run(self._calls.ask(method, path, *holds, **arguments))

    def _settled(self, ask: Ask, *holds: str) -> dict[str, Any]:
        return self._run(self._calls.settled_answer_of(ask, *holds))

    def _run(self, operation: Operation[T], told: Told = lambda *_: None) -> T:
        return self.sdk.run(operation, lambda bytes_of: told(*bytes_of))

    def _follow(self, below: str, job: dict[str, Any], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        def progress_of(event: Event) -> dict[str, Any] | None:
            return event.data if event.kind == "progress" else None

        return self.sdk.run(self._calls.follow(below, job, progress_of), progress)
