"""The hook says yes, no, or is away, whatever it is made of; what is sent to a URL is signed as webhooks are."""

import json
import signal
import threading
import time
from collections.abc import Iterable

import pytest
from standardwebhooks import Webhook

from app.shared.errors import Moderated, ModerationAway
from app.shared.moderation import UNSAID, Moderation
from app.shared.settings import BadSettings, Settings, read_settings
from tests.app.shared import hooks
from tests.app.shared.fetching.lying import Lying, answer

HOOKS = "tests.app.shared.hooks"
SECRET = "whsec_" + "QUJD" * 12
YES, NO = b'{"allow": true}', b'{"allow": false, "message": "not\\nhere"}'


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    hooks.ASKED.clear()
    hooks.AWAY.clear()


def behind(settings: Settings, port: int, **said: object) -> Moderation:
    told = {"moderation": f"http://127.0.0.1:{port}/judge", "fetch_allow": (f"127.0.0.1:{port}",)}
    return Moderation(settings.model_copy(update=told | said), lambda: SECRET)


def test_a_url_is_asked_with_a_signature_and_obeyed(settings: Settings) -> None:
    answers = [answer(YES), answer(NO), answer(b'{"allow": false}')]
    with Lying(lambda _: [answers.pop(0)]).serving() as server:
        hook = behind(settings, server.port)
        hook.request({"prompt": "an apple"}, "ada")
        with pytest.raises(Moderated, match=r"^not here$") as refusal:
            hook.picture("1" * 32, "", 0, "png", b"\x89PNG", request={})
        assert (refusal.value.code, refusal.value.status) == ("moderated", 422)
        with pytest.raises(Moderated, match=UNSAID):
            hook.request({"prompt": "an apple"}, "ada")
        lines = server.asked[0].decode().split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        said = Webhook(SECRET).verify(server.bodies[0], headers)
        assert said == {"type": "request", "id": "", "owner": "ada", "request": {"prompt": "an apple"}}
        picture = json.loads(server.bodies[1])
        assert picture["picture"] == {"index": 0, "format": "png", "data": "iVBORw=="} and picture["owner"] == "first"


@pytest.mark.parametrize(
    "says",
    [
        answer(YES, status="500 X"),
        answer(NO, status="403 X"),
        answer(b"yes"),
        answer(b"[]"),
        answer(b'{"allow": 1}'),
        answer(b'{"allow": "true"}'),
        answer(b"[" * 100_000),
        answer(b"{" + b" " * 100_000 + b'"allow": true}'),
        answer(status="302 X", Location="https://elsewhere.example/"),
        b"",
    ],
)
def test_whatever_is_neither_yes_nor_no_is_away(settings: Settings, says: bytes) -> None:
    with Lying(says).serving() as server:
        with pytest.raises(ModerationAway) as away:
            behind(settings, server.port).request({}, "")
        assert (away.value.code, away.value.status) == ("moderation_unavailable", 503)
        behind(settings, server.port, moderation_down="allow").request({}, "")


def test_silence_is_bounded(settings: Settings) -> None:
    def slowly(_: bytes) -> Iterable[bytes]:
        time.sleep(1)
        yield answer(YES)

    with Lying(slowly).serving() as server, pytest.raises(ModerationAway):
        behind(settings, server.port, moderation_timeout_s=0.2).request({}, "")


def test_a_private_url_needs_to_be_allowed(settings: Settings) -> None:
    for url in ("http://127.0.0.1:9/", "https://127.0.0.1:9/"):
        with pytest.raises(ModerationAway):
            Moderation(settings.model_copy(update={"moderation": url}), lambda: SECRET).request({}, "")


def test_a_function_is_called_and_obeyed(settings: Settings) -> None:
    said = {"moderation": "tests.app.shared.hooks:judge", "moderation_timeout_s": 0.5}
    hook = Moderation(settings.model_copy(update=said), lambda: SECRET)
    hook.request({"prompt": "an apple"}, "")
    with pytest.raises(Moderated, match=hooks.NO):
        hook.training({"name": "style"}, ["a pear"], "ada")
    for prompt in ("a storm", "a slow one", "the end"):  # of this process, were the hook to have its way
        with pytest.raises(ModerationAway):
            hook.request({"prompt": prompt}, "")
    assert hooks.ASKED[1] == {
        "type": "training",
        "id": "",
        "owner": "ada",
        "training": {"name": "style"},
        "captions": ["a pear"],
    }


def test_that_the_time_of_a_job_is_up_is_no_word_of_the_function(settings: Settings) -> None:
    """RQ raises it in the thread that waits for the hook; it ends the job, and asks nobody again."""

    class TimeIsUp(Exception):
        pass

    def ring(*_: object) -> None:
        raise TimeIsUp

    said = {"moderation": "tests.app.shared.hooks:judge", "moderation_down": "allow"}
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TimeIsUp):
            Moderation(settings.model_copy(update=said), lambda: SECRET).request({"prompt": "a slow one"}, "")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_function_that_never_returns_keeps_no_process_from_ending(settings: Settings) -> None:
    said = {"moderation": "tests.app.shared.hooks:judge", "moderation_timeout_s": 0.1}
    with pytest.raises(ModerationAway):
        Moderation(settings.model_copy(update=said), lambda: SECRET).request({"prompt": "a slow one"}, "")
    found = [one for one in threading.enumerate() if one.name.startswith("moderation")]
    assert found and all(one.daemon for one in found)


@pytest.mark.parametrize(
    "hook", ["tests.app.shared.hooks:nothing", "tests.none:judge", "tests.app.shared.hooks:no_function"]
)
def test_a_function_that_is_not_there_is_told_at_start(settings: Settings, hook: str) -> None:
    with pytest.raises(BadSettings, match="RADIATA_MODERATION"):
        Moderation(settings.model_copy(update={"moderation": hook}), lambda: SECRET)


@pytest.mark.parametrize("hook", ["judge", "ftp://x/", "a:b:c", "a b:c", "../x:y"])
def test_what_can_be_no_hook_is_told_as_a_setting(monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    monkeypatch.setenv("RADIATA_MODERATION", hook)
    with pytest.raises(BadSettings, match="neither a URL nor module:function"):
        read_settings()
