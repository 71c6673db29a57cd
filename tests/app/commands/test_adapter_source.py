"""What is fetched has a name that says something, and what is a file here is sent."""

import pytest

from app.commands.adapter_source import is_elsewhere, named

NAMES = {
    "hf:owner/My-Style": "my-style",
    "hf:owner/repo@main:pytorch_lora_weights.safetensors": "repo",
    "hf:owner/repo:sub/Ink Wash.safetensors": "ink-wash",
    "hf:owner/lora": "owner",
    "civitai:128713": "civitai-128713",
    "https://example.org/files/One.safetensors?token=hunter2": "one",
    "https://example.org/": "example",
    "https:///": "adapter",
}


@pytest.mark.parametrize("source", NAMES)
def test_a_name_is_made_of_what_was_asked_for(source: str) -> None:
    assert is_elsewhere(source)
    assert named(source) == NAMES[source]


@pytest.mark.parametrize("file", ["a.safetensors", "./hf", "models/Lora", "https.safetensors"])
def test_what_is_here_is_sent(file: str) -> None:
    assert not is_elsewhere(file)
