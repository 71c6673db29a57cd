"""The types for TypeScript are those that the service describes now."""

from tests.radiata_client import typescript


def test_the_file_is_as_the_service_describes_itself() -> None:
    api = typescript.described()
    assert typescript.FILE.read_text("utf-8") == typescript.written(api), (
        "the API has changed: python -m tests.radiata_client.typescript"
    )


def test_what_is_asked_may_be_left_out_and_what_is_answered_is_there() -> None:
    several = {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "how\nmany */"}
    schemas = {
        "Asked": {"properties": {"a-b": several, "of": {"$ref": "#/components/schemas/Inner"}}, "required": ["of"]},
        "Inner": {"properties": {"one": {"type": "array", "items": {"enum": ["x", "y"]}}}},
        "Answered": {"properties": {"pair": {"type": "array", "prefixItems": [{"type": "string"}, {"const": 1}]}}},
    }
    asked, answered = (
        {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}} for name in ("Asked", "Answered")
    )
    operation = {"requestBody": {"content": asked}, "responses": {"200": {"content": answered}, "204": {}}}
    text = typescript.written({"components": {"schemas": schemas}, "paths": {"/x": {"post": operation}}})
    assert 'export interface Asked {\n  /** how many * / */\n  "a-b"?: number | null;\n  of: Inner;\n}' in text
    assert 'export interface Inner {\n  one?: ("x" | "y")[];\n}' in text
    assert "export interface Answered {\n  pair: [string, 1];\n}" in text
    assert '"POST /x": {\n    body: Asked;\n    answer: Answered | undefined;\n  };' in text
