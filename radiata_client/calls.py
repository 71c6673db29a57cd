"""What can be asked of the service, as operations: each is done by either face."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from radiata_client.core import GENERATIONS, TRAININGS, Core, if_known
from radiata_client.effects import Ask, Operation
from radiata_client.models import Adapter, Dataset, Generation, Picture, Training

ADAPTERS, IMAGES, DATASETS = "/v1/adapters", "/v1/images", "/v1/datasets"
KNOWN = ("id", "status")


class Calls(Core):
    """Operations on one service, by what they are of."""

    def draw(self, body: Mapping[str, Any], key: str | None) -> Operation[Generation]:
        """Begin a generation."""
        return Generation.model_validate((yield from self.begin(GENERATIONS, body, *KNOWN, key=key)))

    def draw_all(self, bodies: Sequence[Mapping[str, Any]], key: str | None) -> Operation[list[Generation]]:
        """Begin several, all or none."""
        body = {"requests": list(bodies)}
        found = yield from self.begin(f"{GENERATIONS}/batch", body, "generations", key=key)
        return [Generation.model_validate(one) for one in found["generations"]]

    def generation(self, generation_id: str) -> Operation[Generation]:
        """A generation as it stands."""
        return Generation.model_validate((yield from self.look(f"{GENERATIONS}/{path_of(generation_id)}", *KNOWN)))

    def image(self, url: str) -> Operation[bytes]:
        """The bytes of a picture."""
        return (yield from self.again(Ask("GET", self.below(url)))).content

    def models(self) -> Operation[list[dict[str, Any]]]:
        """Every base model with what it takes."""
        return (yield from self.look("/v1/models", "models"))["models"]

    def adapters(self) -> Operation[list[Adapter]]:
        """Every adapter, newest version each."""
        found = yield from self.look(ADAPTERS, "adapters")
        return [Adapter.model_validate(one) for one in found["adapters"]]

    def adapter(self, ref: str) -> Operation[Adapter]:
        """One adapter with its verdict."""
        return Adapter.model_validate((yield from self.look(f"{ADAPTERS}/{path_of(ref)}", "name")))

    def has_bytes(self, sha256: str) -> Operation[Adapter | None]:
        """The first adapter with these bytes, or None."""
        return if_known(self.adapter(f"sha256:{sha256}"))

    def upload_adapter(self, file: Path, form: Mapping[str, Any]) -> Operation[Adapter]:
        """Send an adapter and wait for its verdict."""
        return Adapter.model_validate((yield from self.settle(ADAPTERS, file, file.name, form, "name")))

    def fetch_adapter(self, body: Mapping[str, Any]) -> Operation[Adapter]:
        """Have an adapter fetched from another host, and wait for its verdict."""
        return Adapter.model_validate((yield from self.fetch(ADAPTERS, body, "name")))

    def fetch(self, path: str, body: Mapping[str, Any], *holds: str) -> Operation[dict[str, Any]]:
        """Have a file of another host fetched, and wait for what is made of it; bytes so far, of how many, are told."""
        return self.settled_answer_of(Ask("POST", path, json=dict(body)), *holds)

    def delete_adapter(self, name: str) -> Operation[None]:
        """Delete an adapter with all its versions."""
        yield from self.sent("DELETE", f"{ADAPTERS}/{path_of(name)}")

    def upload_image(self, file: Path | bytes) -> Operation[Picture]:
        """Send a picture and wait until it is decoded."""
        name = file.name if isinstance(file, Path) else "picture"
        return Picture.model_validate((yield from self.settle(IMAGES, file, name, {}, "ref")))

    def upload_dataset(self, file: Path) -> Operation[Dataset]:
        """Send a zip of pictures and captions, and wait until it is read."""
        return Dataset.model_validate((yield from self.settle(DATASETS, file, file.name, {}, "ref")))

    def train(self, body: Mapping[str, Any], key: str | None) -> Operation[Training]:
        """Begin a training."""
        return Training.model_validate((yield from self.begin(TRAININGS, body, *KNOWN, key=key)))

    def training(self, training_id: str) -> Operation[Training]:
        """A training as it stands."""
        return Training.model_validate((yield from self.look(f"{TRAININGS}/{path_of(training_id)}", *KNOWN)))

    def cancel(self, below: str, job_id: str) -> Operation[dict[str, Any]]:
        """Cancel a job; as it was canceled."""
        return (yield from self.ask("POST", f"{below}/{path_of(job_id)}/cancel", *KNOWN))


def path_of(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe=":")
