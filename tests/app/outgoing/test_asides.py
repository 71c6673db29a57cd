"""What a request says beside its picture, over HTTP: given back, told on, and no part of the picture."""

import httpx
from redis import Redis

from app.shared.accepted import Aside
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.signing import Signer
from app.shared.storage import Storage
from app.shared.webhooks import webhook_secret
from app.shared.wire.generation import Picture, ResolvedRequest
from tests.app.conftest import serving
from tests.app.outgoing.receiver import Receiver
from tests.app.shared.making import profile


def test_no_pixel_depends_on_them() -> None:
    """A recipe is made of these two alone."""
    assert not Aside.model_fields.keys() & (Picture.model_fields.keys() | ResolvedRequest.model_fields.keys())


def test_an_end_is_told_over_http(settings: Settings, storage: Storage, redis: Redis) -> None:
    Profiles(storage, settings).publish(profile(), {"unet": {}})
    allowing = settings.model_copy(update={"fetch_allow": ("127.0.0.1",)})
    receiver = Receiver(204)
    with receiver.server.serving(), serving(allowing) as api:
        body = {"prompt": "a", "metadata": {"order": "17"}, "webhook": {"url": receiver.url}, "start_within_s": 600}
        accepted = api.post("/v1/generations", json=body)
        assert (accepted.status_code, accepted.json()["metadata"]) == (202, {"order": "17"})
        assert accepted.json()["start_by"] > accepted.json()["created_at"]
        told = accepted.json()["id"]
        api.post(f"/v1/generations/{told}/cancel").raise_for_status()
        delivered(api)
        said = receiver.verified(webhook_secret(Signer(storage), settings))
        assert (said["type"], said["data"]["id"]) == ("generation.canceled", told)
        assert api.post(f"/v1/webhooks/{told}/redeliver").status_code == 202
        delivered(api)
        assert receiver.ids == [told, told]
        refused = api.post("/v1/generations", json={"prompt": "a", "webhook": {"url": "https://10.0.0.1/"}})
        assert refused.status_code == 422
        assert [(one["pointer"], one["code"]) for one in refused.json()["errors"]] == [
            ("/webhook/url", "address_refused")
        ]


def delivered(api: httpx.Client) -> None:
    for _ in range(1000):
        if [one["status"] for one in api.get("/v1/webhooks").json()["deliveries"]] == ["delivered"]:
            return
    raise AssertionError(api.get("/v1/webhooks").text)
