"""A base of RADIATA_MODELS is a string, or an object that says more; anything else is refused in a sentence."""

from typing import Any

import pytest

from app.shared.base_source import BaseSource
from app.shared.settings import BadSettings, read_settings


def test_a_string_stays_what_it_is_and_an_object_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "RADIATA_MODELS",
        '{"plain": "/a", "more": {"source": "/b.safetensors", "vae": "/c", "text_encoder_3": null, '
        '"dtype": "float32", "quantize": "int8"}}',
    )
    settings = read_settings()
    assert settings.models["plain"] == "/a"
    assert settings.base("plain") == BaseSource("/a")
    parts = {"vae": "/c", "text_encoder_3": None}
    assert settings.base("more") == BaseSource("/b.safetensors", "float32", parts, "int8")
    assert f"{settings.models['more']}" == "/b.safetensors"  # as messages have it


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('{"vae": "/c"}', "'it': a base is a folder, a file or a hub id, or an object that has one as its `source`"),
        ('{"source": ""}', "'it': a base is a folder"),
        ("7", "'it': a base is a folder"),
        ('{"source": "/a", "dtype": "int8"}', "'it': `dtype` is 'int8'; it is one of auto, float32, float16, bfloat16"),
        ('{"source": "/a", "quantize": "int4"}', "'it': `quantize` is 'int4'; it is one of int8, fp8, nf4"),
        ('{"source": "/a", "offload": true}', "'it': `offload` is not served: leave it out"),
        ('{"source": "/a", "vae": 3}', "'it': `vae` is 3; it is a folder, a file or a hub id, or null"),
    ],
)
def test_what_no_base_can_be_is_refused(monkeypatch: pytest.MonkeyPatch, said: Any, sentence: str) -> None:
    monkeypatch.setenv("RADIATA_MODELS", f'{{"it": {said}}}')
    with pytest.raises(BadSettings) as refused:
        read_settings()
    assert str(refused.value).startswith(f"RADIATA_MODELS: {sentence}")
