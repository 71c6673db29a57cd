"""No line of a log says a secret, nor a prompt unless a setting says so, however it came into the line."""

import json
from typing import Any

import pytest

from app.shared.discretion import PROMPT, Discretion, hide
from app.shared.keys import TEXT

KEY = "rad_0123456789ab_" + "x" * 43
ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "hunter2hunter2",
    "RADIATA_HUB_TOKEN": "tokentoken",
    "RADIATA_REDIS_URL": "redis+sentinel://me:p%40ssw0rd@one:1,two:2/m",
    "PATH": "/usr/bin",
}


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "hunter2hunter2",
        "tokentoken",
        "p%40ssw0rd",
        "p@ssw0rd",
        "Bearer abcdefghijklmnop",
        "basic dXNlcjpwYXNz",
        "https://user:word@host/path",
        "hf_" + "a" * 30,
        "https://host/file?token=abcdef",
        "/v1/images/a/0.png?exp=1&sig=abcdef",
        "https://bucket/file?X-Amz-Signature=abcdef&x=1",
        "https://host/file?access_token=abcdef",
        "api_key=abcdef",
        "whsec_abcdefghijkl",
        "radiata=0123456789ab.1700000000.abcdef",
        "data:image/png;base64,iVBORw0KGgo=",
    ],
)
@pytest.mark.parametrize("wrap", [str, lambda text: [{"in": (text,)}], ValueError], ids=["text", "deep", "error"])
def test_a_secret_is_taken_out_wherever_it_stands(secret: str, wrap: Any) -> None:
    event = Discretion(ENVIRONMENT)(None, "", {"event": f"before {secret} after", "error": wrap(f"it was {secret}!")})
    said = json.dumps(event)
    assert secret not in said and "before" in said and "after" in said
    for part in ("hunter2", "tokentoken", "ssw0rd", "word@", "abcdef", "iVBOR", "x" * 43):
        assert part not in said


def test_the_form_of_a_key_is_that_of_our_keys_and_its_id_may_be_told() -> None:
    assert TEXT.fullmatch(KEY)
    assert Discretion({})(None, "", {"event": KEY})["event"] == "rad_0123456789ab_[hidden]"


@pytest.mark.parametrize("prompt", ["fox", "a", "a prompt that nobody has named"])
def test_a_field_of_a_prompt_is_hidden_however_short_it_is(prompt: str) -> None:
    event = {"event": "generation_ended", "prompt": prompt, "request": {"negative_prompt": prompt}}
    assert Discretion({})(None, "", event) == {**event, "prompt": PROMPT, "request": {"negative_prompt": PROMPT}}
    assert Discretion({}, prompts=True)(None, "", event) == event


def test_what_is_no_secret_stays() -> None:
    event = {
        "event": "redis_away",
        "error": "Error 111 connecting to redis.test:6379",
        "seconds": 1.5,
        "models": ["a/b"],
    }
    assert Discretion(ENVIRONMENT)(None, "", dict(event)) == event


@pytest.mark.parametrize("prompt", ["a red apple", 'a "red"\napple', "ein roter Äpfel 🍎", "it's a \\ red apple"])
def test_prompts_are_taken_out_as_they_are_and_quoted(prompt: str) -> None:
    hide((prompt, "", None, "a"))
    event = {"event": f"{prompt} / {prompt!r} / {json.dumps(prompt)}", "level": "info"}
    told = Discretion({})(None, "", event)
    assert "red" not in str(told) and "roter" not in str(told) and str(told).count(PROMPT) == 3
    assert Discretion({}, prompts=True)(None, "", event) == event
    hide(())
