"""The wire takes what it says and nothing else."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from app.shared.wire.adapter import AdapterUse
from app.shared.wire.generation import GenerationRequest, Status
from app.shared.wire.values import Name, Ref


def asked(text: str) -> GenerationRequest:
    return GenerationRequest.model_validate(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        '{"prompt": "\\ud800"}',
        '{"prompt": "a", "negative_prompt": "\\udfff"}',
        '{"prompt": "a", "\\ud800": 1}',
        '{"prompt": "a", "adapters": [{"ref": "a", "strengths": {"\\ud800": 1}}]}',
        '{"prompt": "a", "adapters": [{"ref": "a", "strength": 1' + "0" * 400 + "}]}",
        '{"prompt": "a", "adapters": [{"ref": "a", "strength": NaN}]}',
        '{"prompt": "a", "seed": 1' + "0" * 400 + "}",
        '{"prompt": "a", "seed": 9007199254740992}',
        '{"prompt": "a", "guidance_scale": Infinity}',
        '{"prompt": "a\\u007fb"}',
        '{"prompt": "\\u3000"}',
    ],
)
def test_json_that_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        asked(text)


def test_one_way_to_write_a_number_is_as_good_as_another() -> None:
    texts = ['{"ref": "a", "strength": 1}', '{"ref": "a", "strength": 1.0}', '{"ref": "a"}']
    dumped = {json.dumps(AdapterUse.model_validate(json.loads(text)).model_dump(mode="json")) for text in texts}
    assert len(dumped) == 1, dumped


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", "A", "ä", "a" * 65, "-a", "a:1", "a\\b", "a\0"])
def test_no_name_can_be_a_path_or_a_line(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize("ref", ["a:0", "a:01", "a:", ":1", "a:1:2", "sha256:abc", f"sha256:{'A' * 64}", "a:1\n"])
def test_a_ref_is_a_name_a_version_or_a_hash(ref: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Ref).validate_python(ref)


def test_three_of_five_are_ends() -> None:
    assert [status for status in Status if status.ended] == [Status.SUCCEEDED, Status.FAILED, Status.CANCELED]
