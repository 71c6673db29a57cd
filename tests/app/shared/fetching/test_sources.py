"""What people write of a file elsewhere is found, or told of in a sentence that says what to write instead."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from app.shared.errors import SourceRefused
from app.shared.fetching.fetcher import SMALL, Fetcher
from app.shared.fetching.sources import SourceKind, Sources
from tests.app.shared.fetching.hub import COMMIT, SHA256, TOKEN, Hub


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    one = Hub()
    with one.server.serving():
        yield one


def sources(hub: Hub, token: str | None = None) -> Sources:
    return Sources(Fetcher(("127.0.0.1", "localhost")), hub.url, hub.url, SecretStr(token) if token else None)


WRITTEN = ("", "@v1", ":lora.safetensors", "@v1:lora.safetensors", "/lora.safetensors", "/lora.safetensors@v1")


@pytest.mark.parametrize("written", WRITTEN)
def test_a_file_of_a_hub_is_named_with_its_commit_and_its_hash(hub: Hub, written: str) -> None:
    found = sources(hub).find(f"hf:owner/one{written}", "adapter")
    assert found.url == f"{hub.url}/owner/one/resolve/{COMMIT}/lora.safetensors"
    assert (found.sha256, found.beside) == (SHA256, None)


def test_what_peft_wrote_is_fetched_with_its_configuration(hub: Hub) -> None:
    found = sources(hub).find("hf:owner/peft", "adapter")
    assert found.beside == f"{hub.url}/owner/peft/resolve/{COMMIT}/sub/adapter_config.json"


def test_other_places(hub: Hub) -> None:
    found = sources(hub).find("hf:owner/pictures", "dataset")
    assert found.url == f"{hub.url}/datasets/owner/pictures/resolve/{COMMIT}/train.zip"
    found = sources(hub).find("civitai:1", "adapter")
    assert (found.url, found.sha256) == (f"{hub.url}/api/download/models/1", SHA256)
    assert sources(hub).find("civitai:2:b.safetensors", "adapter").sha256 == SHA256
    assert sources(hub).find("https://example.org/a?b=c", "adapter").url == "https://example.org/a?b=c"
    assert sources(hub).judge("https://example.org/a?token=hunter2", "adapter") == "https://example.org/a"


WRONG: dict[str, tuple[SourceKind, str, str]] = {
    "hf:owner/none": ("adapter", "source_has_no_file", "README.md, model.ckpt"),
    "hf:owner/several": ("adapter", "source_has_several_files", "hf:owner/several@main:FILE"),
    "hf:owner/one:other.safetensors": ("adapter", "source_not_found", "it has lora.safetensors"),
    "hf:owner/nothing": ("adapter", "source_not_found", "has no such thing"),
    "hf:owner/one@v2": ("adapter", "source_not_found", "has no such thing"),
    "hf:owner/one": ("dataset", "source_not_found", "has no such thing"),
    "civitai:404": ("adapter", "source_not_found", "has no such thing"),
    "civitai:2": ("adapter", "source_has_several_files", "a.safetensors, b.safetensors"),
    "civitai:3": ("adapter", "source_has_no_file", "one.pt"),
    "civitai:1": ("dataset", "source_not_understood", "a zip"),
    "civitai:x": ("adapter", "source_not_understood", "civitai:<version id>"),
    "hf:owner": ("adapter", "source_not_understood", "hf:owner/repository"),
    "hf:../../etc": ("adapter", "source_not_understood", "hf:owner/repository"),
    "/etc/passwd": ("adapter", "source_not_understood", "a source is"),
    "file:///etc/passwd": ("adapter", "source_not_understood", "a source is"),
    "http://example.org/a": ("adapter", "address_refused", "only https"),
    "https://user:word@example.org/a": ("adapter", "address_refused", "password"),
}


@pytest.mark.parametrize("source", WRONG)
def test_what_is_not_there_is_told_with_what_is(hub: Hub, source: str) -> None:
    kind, code, words = WRONG[source]
    with pytest.raises(SourceRefused) as refusal:
        sources(hub).find(source, kind)
    assert refusal.value.code == code
    assert words in refusal.value.message


def test_a_token_opens_what_is_gated(hub: Hub) -> None:
    for token, status in ((TOKEN, 200), (None, 401)):
        found = sources(hub, token).find("hf:owner/gated", "adapter")
        with sources(hub, token).get("hf:owner/gated", found.url, SMALL) as answer:
            assert answer.status == status
            if token is None:
                with pytest.raises(SourceRefused) as refusal:
                    answer.judge()
                assert refusal.value.code == "source_gated"
    assert not [one for one in hub.server.asked if b"GET /cdn" in one and b"Authorization" in one]


def test_a_token_goes_with_a_get_of_its_own_source_alone(hub: Hub) -> None:
    """Whoever writes an address or a webhook to the hub would otherwise act there as the operator."""
    known = sources(hub, TOKEN)
    before = len(hub.server.asked)
    known.fetcher.post(f"{hub.url}/api/repos/create", b"{}", {}, SMALL)
    for source in (f"{hub.url}/owner/gated", "civitai:1"):
        with known.get(source, f"{hub.url}/owner/one/resolve/{COMMIT}/lora.safetensors", SMALL):
            pass
    known.find("civitai:1", "adapter")
    asked = hub.server.asked[before:]
    assert len(asked) >= 4 and not [one for one in asked if b"authorization" in one.lower()]
