"""Types for TypeScript of what the service describes: `python -m tests.radiata_client.typescript` writes them.

Every schema of `/openapi.json` is an interface or a type, and `Routes` says what each route takes and answers. A field
that may be left out of a request is optional where it is asked with; in what is only answered every field is there.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.main import create_app
from app.shared.settings import Settings

FILE = Path(__file__).parents[2] / "client" / "typescript" / "radiata.d.ts"
HEAD = "// Made of /openapi.json by `python -m tests.radiata_client.typescript`; a test fails where it is another.\n"
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
METHODS = ("get", "post", "put", "patch", "delete", "head")
Schema = dict[str, Any]


def described() -> Schema:
    """What the service describes of itself."""
    settings = Settings(data_dir=Path("unused"), redis_url="redis://127.0.0.1:1/0")  # type: ignore[arg-type]
    return create_app(settings).openapi()


def written(api: Schema) -> str:
    """The whole file."""
    schemas = api["components"]["schemas"]
    asked = _reached(schemas, _refs([one.get("requestBody") for _, one in _operations(api)]))
    parts = [_named(name, schemas[name], name in asked) for name in sorted(schemas)]
    return "\n".join([HEAD, *parts, _routes(api)])


def _named(name: str, schema: Schema, asked: bool) -> str:
    about = _about(schema.get("description"), "")
    if schema.get("properties"):
        return f"{about}export interface {_name(name)} {_fields(schema, asked, '')}\n"
    return f"{about}export type {_name(name)} = {_type(schema, asked, '')};\n"


def _fields(schema: Schema, asked: bool, indent: str) -> str:
    required, lines = schema.get("required", ()), []
    for field, said in schema["properties"].items():
        lines.append(_about(said.get("description"), f"{indent}  ").rstrip("\n"))
        optional = "?" if asked and field not in required else ""
        lines.append(f"{indent}  {_key(field)}{optional}: {_type(said, asked, f'{indent}  ')};")
    return "\n".join(["{", *filter(None, lines), f"{indent}}}"])


def _type(schema: Schema, asked: bool, indent: str) -> str:
    if "$ref" in schema:
        return _name(schema["$ref"].rpartition("/")[2])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(dict.fromkeys(_type(one, asked, indent) for one in schema[several]))
    if "allOf" in schema:
        return " & ".join(_type(one, asked, indent) for one in schema["allOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_type(schema | {"type": one}, asked, indent) for one in kind)
    if kind == "array":
        if places := schema.get("prefixItems"):
            return f"[{', '.join(_type(one, asked, indent) for one in places)}]"
        inner = _type(schema.get("items", {}), asked, indent)
        return f"({inner})[]" if " " in inner else f"{inner}[]"
    if kind == "object":
        if schema.get("properties"):
            return _fields(schema, asked, indent)
        inner = schema.get("additionalProperties", True)
        return f"Record<string, {_type(inner, asked, indent) if isinstance(inner, dict) else 'unknown'}>"
    if kind == "string" and (schema.get("format") == "binary" or "contentMediaType" in schema):
        return "Blob"
    return PLAIN.get(str(kind), "unknown")


def _routes(api: Schema) -> str:
    lines = ["/** What each route takes and answers. */", "export interface Routes {"]
    for route, operation in _operations(api):
        lines += [_about(operation.get("description"), "  ").rstrip("\n"), f"  {json.dumps(route)}: {{"]
        for place in ("path", "query"):
            found = [one for one in operation.get("parameters", ()) if one["in"] == place]
            if found:
                said = {one["name"]: one["schema"] for one in found}
                needed = [one["name"] for one in found if one.get("required")]
                lines.append(f"    {place}: {_fields({'properties': said, 'required': needed}, True, '    ')};")
        bodies = operation.get("requestBody", {}).get("content", {})
        if bodies:
            kinds = dict.fromkeys(_type(one.get("schema", {}), True, "    ") for one in bodies.values())
            lines.append(f"    body: {' | '.join(kinds)};")
        lines += [f"    answer: {_answer(operation)};", "  };"]
    return "\n".join([*filter(None, lines), "}", ""])


def _answer(operation: Schema) -> str:
    found: dict[str, None] = {}
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            content = response.get("content") or {}
            for media, said in content.items():
                text = _type(said.get("schema", {}), False, "    ") if media == "application/json" else "Blob"
                found[text] = None
            if not content:
                found["undefined"] = None
    return " | ".join(found) or "undefined"


def _operations(api: Schema) -> Iterator[tuple[str, Schema]]:
    for path, item in api["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def _reached(schemas: Schema, names: set[str]) -> set[str]:
    found: set[str] = set()
    while names - found:
        name = (names - found).pop()
        found.add(name)
        names |= _refs(schemas[name])
    return found


def _refs(of: Any) -> set[str]:
    return set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(of)))


def _about(text: str | None, indent: str) -> str:
    plain = " ".join((text or "").replace("*/", "* /").split())
    return f"{indent}/** {plain} */\n" if plain else ""


def _name(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _key(field: str) -> str:
    return field if re.fullmatch(r"[A-Za-z_]\w*", field) else json.dumps(field)


if __name__ == "__main__":
    FILE.write_text(written(described()), "utf-8")
