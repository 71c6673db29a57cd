"""The documentation tells the truth: its examples work, and nothing is answered that it does not say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import Phase, given
from hypothesis import settings as examples
from hypothesis.errors import FailedHealthCheck, Unsatisfiable
from redis import Redis
from schemathesis.checks import CHECKS

from app.shared.catalog import Catalog
from app.shared.profiles import Profiles
from app.shared.settings import Settings
from app.shared.storage import Storage
from tests.app.shared.making import profile, version

PAGES = [page.read_text() for page in sorted((Path(__file__).parents[2] / "docs").glob("*.md"))]
READING = {"get", "head", "options"}
EXAMPLES = 25  # of each operation and check of it
TRUTHS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance"),
)


@pytest.fixture
def document(api: httpx.Client, settings: Settings, storage: Storage, redis: Redis) -> dict[str, Any]:
    """The document of a service with the bundled model's adapters."""
    Profiles(storage, settings).publish(profile(blocks=["down", "mid", "up", "up.1"]), {"unet": {}})
    for number, name in enumerate(("fluent-3d-locon", "fluent-3d-loha")):
        Catalog(storage, redis).admit(version(name, bytes([number])), {})
    return api.get("/openapi.json").json()


def shown(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every example of a request that the document has, and those of docs/."""
    schemas = document["components"]["schemas"]
    use = {"ref": "fluent-3d-locon"}
    yield from schemas["GenerationRequest"]["examples"]
    yield from ({"prompt": "a", "adapters": [one]} for one in schemas["AdapterUse"]["examples"])
    for name, field in schemas["GenerationRequest"]["properties"].items():
        yield from ({"prompt": "a", name: one} for one in field.get("examples", ()))
    for name, field in schemas["AdapterUse"]["properties"].items():
        yield from ({"prompt": "a", "adapters": [use | {name: one}]} for one in field.get("examples", ()))
    for text in re.findall(r"```json\n(.*?)```", "\n".join(PAGES), re.DOTALL):
        yield {"prompt": "a", "adapters": [json.loads(text)]}


def test_every_example_works(api: httpx.Client, document: dict[str, Any]) -> None:
    bodies = list(shown(document))
    assert len(bodies) > 8
    for body in bodies:
        answer = api.post("/v1/generations", json=body)
        assert answer.status_code == 202, (body, answer.text)


def test_every_operation_says_what_problems_it_answers(document: dict[str, Any]) -> None:
    for path, of_path in document["paths"].items():
        for method, operation in of_path.items():
            if not path.startswith("/v1/"):
                continue
            said = operation["responses"]
            expected = {"413", "421", "422", "500", "502", "503"}
            expected |= set() if method in READING else {"403"}
            expected |= {"404"} if "{" in path else set()
            expected |= {"400", "415"} if "requestBody" in operation else set()
            assert expected <= set(said), (method, path, expected - set(said))
            for status in expected:
                if status == "503" and "application/json" in said[status]["content"]:
                    continue
                schema = said[status]["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (method, path, status)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert {"409", "503", "507"} <= set(document["paths"]["/v1/generations"]["post"]["responses"])


def test_nothing_is_answered_that_is_not_documented(api: httpx.Client, document: dict[str, Any]) -> None:
    """schemathesis: what fits the document, and what does not, made up again and again, the same each time."""
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=str(api.base_url))
    told = []
    for result in schema.get_all_operations():
        operation = result.ok()  # pyright: ignore[reportAttributeAccessIssue]  # an Err says why by itself
        if operation.path.endswith("/events"):
            continue  # an accepted generation's never end here, where nobody draws

        truths = TRUTHS[1:] if operation.path == "/readyz" else TRUTHS  # 503 is what it is for: nobody draws here
        checks: list[Any] = [CHECKS.get_one(name) for name in truths]

        for mode in schemathesis.GenerationMode:
            told.append((operation.label, mode, wrong(operation.as_strategy(generation_mode=mode), checks)))
    failed = [f"{label} ({mode}): {failure}" for label, mode, failure in told if failure]
    assert not failed, "\n\n".join(failed)


def wrong(strategy: Any, checks: list[Any]) -> str:
    """What is wrong with the answers to these requests, or nothing."""

    @examples(max_examples=EXAMPLES, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
    @given(case=strategy)
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=checks)

    try:
        ask()
    except (Unsatisfiable, FailedHealthCheck):
        return ""  # whatever is sent there fits the document
    except BaseException as failure:  # noqa: BLE001 - several at once come as a group
        return str(failure)[:3000]
    return ""
