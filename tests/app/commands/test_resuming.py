"""What the command line sends in parts goes on where it was, in one run and in another."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from app.shared.uploads import Uploads, bytes_key
from radiata_client import Client, resuming
from tests.app.conftest import serving
from tests.app.shared.making import profile

DATA = bytes(range(256)) * 40
SAID = {"name": "large", "description": "", "ignore": ["b", "a"]}


class Killed(BaseException):
    """The command was killed."""


def test_a_large_file_goes_on_after_breaks_and_kills(
    settings: Settings, storage: Storage, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    monkeypatch.setattr(resuming, "FROM", 1000)
    monkeypatch.setattr(resuming, "PART", 3000)
    monkeypatch.setattr(resuming, "POLL_S", 0.05)
    file = tmp_path / "large.safetensors"
    file.write_bytes(DATA)
    told: list[int] = []
    with serving(settings) as api, Client(str(api.base_url)) as client:
        request, patches = client._http.request, 0

        def breaks(method: str, path: str, **arguments: Any) -> httpx.Response:
            nonlocal patches
            patches += method == "PATCH"
            answer = request(method, path, **arguments)
            if method == "PATCH" and patches == 2:  # it came through, and its answer did not
                raise httpx.ReadError("gone")
            if method == "PATCH" and patches == 4:
                raise Killed
            return answer

        def send(client: Client) -> str:
            sending = resuming.send(client.calls.tried, "adapters", file, SAID)
            return client.run(sending, lambda bytes_of: told.append(bytes_of[0]))

        monkeypatch.setattr(client._http, "request", breaks)
        with pytest.raises(Killed):
            send(client)
        assert send(client) != ""
        (upload_id,) = Uploads(storage, redis, settings).records.waiting()
    upload = Uploads(storage, redis, settings).waiting(upload_id)
    assert upload and (upload.name, upload.ignore, upload.sha256) == ("large", ["a", "b"], sha256(DATA).hexdigest())
    assert storage.get(bytes_key(upload_id)) == DATA
    assert told[0] == 0 and told == sorted(told) and set(told) == {0, 3000, 6000, 9000, len(DATA)}
