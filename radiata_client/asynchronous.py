"""The service from asyncio: `AsyncClient`, which is `Client` with `await`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, closing
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


class AsyncClient:
    """One service; parameters, methods and errors are those of `Client`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        patience_s: float = 120.0,
        begin_s: float = 60.0,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = place(url)
        self.calls = Calls(self.url, patience_s, begin_s)
        self._http: httpx.AsyncClient = made(httpx.AsyncClient, self.url, readable_key(key), timeout_s, transport)
        self._sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def draw(
        self,
        prompt: str,
        adapters: Adapters | None = None,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[Drawing],
    ) -> "AsyncDrawn":
        """As `Client.draw`."""
        body = request_of(prompt, adapters, fields)
        return AsyncDrawn(self, OF_GENERATION, await self.run(self.calls.draw(body, idempotency_key)))

    async def draw_all(
        self, requests: Sequence[Mapping[str, Any]], idempotency_key: str | None = None
    ) -> list["AsyncDrawn"]:
        """As `Client.draw_all`."""
        found = await self.run(self.calls.draw_all(batch_of(requests), idempotency_key))
        return [AsyncDrawn(self, OF_GENERATION, one) for one in found]

    async def generation(self, generation_id: str) -> "AsyncDrawn":
        """As `Client.generation`."""
        return AsyncDrawn(self, OF_GENERATION, await self.run(self.calls.generation(generation_id)))

    async def image(self, image: Image | str) -> bytes:
        """As `Client.image`."""
        return await self.run(self.calls.image(image if isinstance(image, str) else image.url))

    async def models(self) -> list[dict[str, Any]]:
        """As `Client.models`."""
        return await self.run(self.calls.models())

    async def adapters(self) -> list[Adapter]:
        """As `Client.adapters`."""
        return await self.run(self.calls.adapters())

    async def adapter(self, ref: str) -> Adapter:
        """As `Client.adapter`."""
        return await self.run(self.calls.adapter(ref))

    async def upload_adapter(self, file: str | Path, name: str, **said: Any) -> Adapter:
        """As `Client.upload_adapter`."""
        return await self.run(self.calls.upload_adapter(Path(file), {"name": name, **said}))

    async def fetch_adapter(self, source: str, name: str, **said: Any) -> Adapter:
        """As `Client.fetch_adapter`."""
        return await self.run(self.calls.fetch_adapter({"source": source, "name": name, **said}))

    async def delete_adapter(self, name: str) -> None:
        """As `Client.delete_adapter`."""
        await self.run(self.calls.delete_adapter(name))

    async def upload_image(self, file: str | Path | bytes) -> Picture:
        """As `Client.upload_image`."""
        return await self.run(self.calls.upload_image(file if isinstance(file, bytes) else Path(file)))

    async def upload_dataset(self, file: str | Path) -> Dataset:
        """As `Client.upload_dataset`."""
        return await self.run(self.calls.upload_dataset(Path(file)))

    async def train(
        self, name: str, dataset: str, *, idempotency_key: str | None = None, **fields: Any
    ) -> "AsyncJob[Training, Trained]":
        """As `Client.train`."""
        begun = await self.run(self.calls.train({"name": name, "dataset": dataset, **fields}, idempotency_key))
        return AsyncJob(self, OF_TRAINING, begun)

    async def training(self, training_id: str) -> "AsyncJob[Training, Trained]":
        """As `Client.training`."""
        return AsyncJob(self, OF_TRAINING, await self.run(self.calls.training(training_id)))

    async def run(self, operation: Operation[T]) -> T:
        """Do an operation of `calls`."""
        result: list[T] = []
        async for _ in self.told(operation, result):
            pass
        return result[0]

    async def told(self, operation: Operation[T], result: list[T]) -> AsyncIterator[Any]:
        """Do an operation, and yield what it tells on its way; what it comes to is put into `result`."""
        reply: Any = None
        broken: Exception | None = None
        with closing(operation):
            async with AsyncExitStack() as stream:
                chunks: AsyncIterator[bytes] | None = None
                while True:
                    try:
                        effect = operation.send(reply) if broken is None else operation.throw(broken)
                    except StopIteration as end:
                        result.append(end.value)
                        return
                    except BROKEN as error:
                        raise Unreachable(f"{self.url}: {error}") from error
                    reply, broken = None, None
                    try:
                        match effect:
                            case Tell(what):
                                yield what
                            case Pause(seconds):
                                await self._sleep(seconds)
                            case Ask():
                                with ExitStack() as files:
                                    said = arguments(effect, files)
                                    response = await self._http.request(effect.method, effect.path, **said)
                                reply = answer_of(response, response.content)
                            case Listen():
                                await stream.aclose()
                                opened = self._http.stream("GET", effect.path, **of_listening(effect))
                                response = await stream.enter_async_context(opened)
                                chunks = response.aiter_bytes()
                                reply = answer_of(response, b"" if response.is_success else await response.aread())
                            case Hear():
                                reply = await anext(chunks, None) if chunks else None
                                if reply is None:
                                    await stream.aclose()
                    except BROKEN as error:
                        await stream.aclose()
                        broken = error


class AsyncJob(Generic[S, P]):
    """As `Job`, to be followed with `async for`."""

    def __init__(self, client: AsyncClient, kind: Kind[S, P], state: S) -> None:
        self._client, self._kind, self.state = client, kind, state

    @property
    def id(self) -> str:
        """Of the job: whoever has it can ask for it again."""
        return self.state.id

    async def __aiter__(self) -> AsyncIterator[P]:
        result: list[S] = []
        async for one in self._client.told(self._kind.followed(self._client.calls, self.state), result):
            yield one
        self.state = result[0]

    async def wait(self) -> S:
        """As `Job.wait`."""
        async for _ in self:
            pass
        return succeeded(self.state)

    async def cancel(self) -> S:
        """As `Job.cancel`."""
        self.state = await self._client.run(self._kind.canceled(self._client.calls, self.state))
        return self.state


class AsyncDrawn(AsyncJob[Generation, Progress]):
    """A generation."""

    async def with_previews(self) -> AsyncIterator[Model]:
        """As `Drawn.with_previews`."""
        result: list[Generation] = []
        followed = self._kind.followed(self._client.calls, self.state, previews=True)
        async for one in self._client.told(followed, result):
            yield one
        self.state = result[0]

    async def images(self) -> list[bytes]:
        """As `Drawn.images`."""
        return [await self._client.image(one) for one in (await self.wait()).images]

    async def save(self, path: str | Path) -> list[Path]:
        """As `Drawn.save`."""
        files = await self.images()
        paths = paths_of(path, self.state.images)
        for one, data in zip(paths, files, strict=True):
            one.parent.mkdir(parents=True, exist_ok=True)
            one.write_bytes(data)
        return paths
