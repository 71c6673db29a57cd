"""The service from Python that waits: `Client`."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Generic, Unpack

import httpx

from radiata_client.address import place, readable_key
from radiata_client.calls import Calls
from radiata_client.drawing import Adapters, Drawing, batch_of, request_of
from radiata_client.effects import Ask, Hear, Listen, Operation, Pause, T, Tell
from radiata_client.errors import Unreachable
from radiata_client.jobs import OF_GENERATION, OF_TRAINING, Kind, P, S, paths_of, succeeded
from radiata_client.models import Adapter, Dataset, Generation, Image, Model, Picture, Progress, Training
from radiata_client.models import TrainingProgress as Trained
from radiata_client.transport import BROKEN, answer_of, arguments, made, of_listening


class Client:
    """One service. Methods raise Refused (and what is below it), Stranger and Unreachable.

    url, key: unset, of RADIATA_URL and RADIATA_KEY; ValueError where one cannot be. patience_s and begin_s: as
    `radiata_client.core.Core` has them.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience_s: float = 120.0,
        begin_s: float = 60.0,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = place(url)
        self.calls = Calls(self.url, patience_s, begin_s)
        self._http: httpx.Client = made(httpx.Client, self.url, readable_key(key), timeout_s, transport)
        self._sleep: Callable[[float], object] = time.sleep

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def draw(
        self,
        prompt: str,
        adapters: Adapters | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[Drawing],
    ) -> "Drawn":
        """Begin a generation; adapters: `{"style": 0.8}`, or as `radiata_client.drawing.entries` takes them."""
        body = request_of(prompt, adapters, fields)
        return Drawn(self, OF_GENERATION, self.run(self.calls.draw(body, idempotency_key)))

    def draw_all(self, requests: Sequence[Mapping[str, Any]], idempotency_key: str | None = None) -> list["Drawn"]:
        """Begin up to 100 generations, all or none, each a mapping of what `draw` takes."""
        found = self.run(self.calls.draw_all(batch_of(requests), idempotency_key))
        return [Drawn(self, OF_GENERATION, one) for one in found]

    def generation(self, generation_id: str) -> "Drawn":
        """A generation that was begun before, by whomever."""
        return Drawn(self, OF_GENERATION, self.run(self.calls.generation(generation_id)))

    def image(self, image: Image | str) -> bytes:
        """The bytes of a picture, or of what is at the address of one."""
        return self.run(self.calls.image(image if isinstance(image, str) else image.url))

    def models(self) -> list[dict[str, Any]]:
        """Every base model with what it takes."""
        return self.run(self.calls.models())

    def adapters(self) -> list[Adapter]:
        """Every adapter, newest version each."""
        return self.run(self.calls.adapters())

    def adapter(self, ref: str) -> Adapter:
        """One adapter with its verdict: what its inspection found. ref: `name`, `name:version` or `sha256:…`."""
        return self.run(self.calls.adapter(ref))

    def upload_adapter(self, file: str | Path, name: str, **said: Any) -> Adapter:
        """Send an adapter, wait for its verdict. said: description, ignore, cover, visibility, image_encoder."""
        return self.run(self.calls.upload_adapter(Path(file), {"name": name, **said}))

    def fetch_adapter(self, source: str, name: str, **said: Any) -> Adapter:
        """Have an adapter fetched (`hf:…`, `civitai:…`, `https://…`). said: as of `upload_adapter`, and sha256."""
        return self.run(self.calls.fetch_adapter({"source": source, "name": name, **said}))

    def delete_adapter(self, name: str) -> None:
        """Delete an adapter with all its versions."""
        self.run(self.calls.delete_adapter(name))

    def upload_image(self, file: str | Path | bytes) -> Picture:
        """Send a picture that requests name by its `ref`."""
        return self.run(self.calls.upload_image(file if isinstance(file, bytes) else Path(file)))

    def upload_dataset(self, file: str | Path) -> Dataset:
        """Send a zip of pictures and captions that trainings name by its `ref`."""
        return self.run(self.calls.upload_dataset(Path(file)))

    def train(
        self, name: str, dataset: str, *, idempotency_key: str | None = None, **fields: Any
    ) -> "Job[Training, Trained]":
        """Begin a training; fields: as `POST /v1/trainings` has them."""
        begun = self.run(self.calls.train({"name": name, "dataset": dataset, **fields}, idempotency_key))
        return Job(self, OF_TRAINING, begun)

    def training(self, training_id: str) -> "Job[Training, Trained]":
        """A training that was begun before."""
        return Job(self, OF_TRAINING, self.run(self.calls.training(training_id)))

    def run(self, operation: Operation[T], told: Callable[[Any], object] = lambda _: None) -> T:
        """Do an operation of `calls`; told: called with what it tells on its way."""
        going = self.told(operation)
        while True:
            try:
                one = next(going)
            except StopIteration as end:
                return end.value
            told(one)

    def told(self, operation: Operation[T]) -> Generator[Any, None, T]:
        """Do an operation, and yield what it tells on its way."""
        reply: Any = None
        broken: Exception | None = None
        with closing(operation), ExitStack() as stream:
            chunks: Iterator[bytes] = iter(())
            while True:
                try:
                    effect = operation.send(reply) if broken is None else operation.throw(broken)
                except StopIteration as end:
                    return end.value
                except BROKEN as error:
                    raise Unreachable(f"{self.url}: {error}") from error
                reply, broken = None, None
                try:
                    match effect:
                        case Tell(what):
                            yield what
                        case Pause(seconds):
                            self._sleep(seconds)
                        case Ask():
                            with ExitStack() as files:
                                response = self._http.request(effect.method, effect.path, **arguments(effect, files))
                            reply = answer_of(response, response.content)
                        case Listen():
                            stream.close()
                            opened = self._http.stream("GET", effect.path, **of_listening(effect))
                            response = stream.enter_context(opened)
                            chunks = response.iter_bytes()
                            reply = answer_of(response, b"" if response.is_success else response.read())
                        case Hear():
                            if (reply := next(chunks, None)) is None:
                                stream.close()
                except BROKEN as error:
                    stream.close()
                    broken = error


class Job(Generic[S, P]):
    """Work that the service has taken on. Iterated, it gives its progress to its end; `wait` gives what it came to.

    state: as it was when it was last heard of.
    """

    def __init__(self, client: Client, kind: Kind[S, P], state: S) -> None:
        self._client, self._kind, self.state = client, kind, state

    @property
    def id(self) -> str:
        """Of the job: whoever has it can ask for it again."""
        return self.state.id

    def __iter__(self) -> Iterator[P]:
        self.state = yield from self._client.told(self._kind.followed(self._client.calls, self.state))

    def wait(self) -> S:
        """The job as it has succeeded; raises Failed and Canceled."""
        for _ in self:
            pass
        return succeeded(self.state)

    def cancel(self) -> S:
        """Cancel it; raises Conflict where it has ended."""
        self.state = self._client.run(self._kind.canceled(self._client.calls, self.state))
        return self.state


class Drawn(Job[Generation, Progress]):
    """A generation."""

    def with_previews(self) -> Iterator[Model]:
        """Its progress, and previews of what is being drawn as they come."""
        self.state = yield from self._client.told(self._kind.followed(self._client.calls, self.state, previews=True))

    def images(self) -> list[bytes]:
        """Its pictures' files, once it has succeeded."""
        return [self._client.image(one) for one in self.wait().images]

    def save(self, path: str | Path) -> list[Path]:
        """Write its picture to a file, several to -1, -2, … of it, once it has succeeded; where they are."""
        files = self.images()
        paths = paths_of(path, self.state.images)
        for one, data in zip(paths, files, strict=True):
            one.parent.mkdir(parents=True, exist_ok=True)
            one.write_bytes(data)
        return paths
