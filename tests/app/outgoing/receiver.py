"""Somebody who is called: a server that answers as it is told, and verifies as the `standardwebhooks` package does."""

from collections.abc import Iterable
from typing import Any

from standardwebhooks import Webhook

from tests.app.shared.fetching.lying import Lying, answer


class Receiver:
    """status: what each next call is answered, the last for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.server = Lying(self._says)
        self.url = f"http://127.0.0.1:{self.server.port}/hook?token=hunter2"

    def _says(self, head: bytes) -> Iterable[bytes]:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return [answer(status=f"{status} X", Location="/elsewhere" if 300 <= status < 400 else "")]

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of each call."""
        return [self._headers(head)["webhook-id"] for head in self.server.asked]

    def verified(self, secret: str, index: int = -1) -> Any:
        """What a call said, once its signature was found good."""
        return Webhook(secret).verify(self.server.bodies[index], self._headers(self.server.asked[index]))

    def _headers(self, head: bytes) -> dict[str, str]:
        lines = head.decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
