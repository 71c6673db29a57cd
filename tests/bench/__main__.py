"""Lists the benchmarks, and what makes a README of their figures: `python -m tests.bench`."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Return each benchmark's module, and the first line of what it says of itself."""
    files = {file.stem: file for file in HERE.glob("*.py")} | {
        file.parent.name: file for file in HERE.glob("*/__main__.py")
    }
    found = {}
    for name, file in sorted(files.items()):
        text = ast.get_docstring(ast.parse(file.read_text())) or ""
        if f"python -m tests.bench.{name}" in text:
            found[name] = text.partition("\n")[0]
    return found


if __name__ == "__main__":
    for name, line in benchmarks().items():
        print(f"{name:10} {line}")
    print("\nmake bench NAME=… [OPTIONS='…'], or python -m tests.bench.NAME; --help tells the options")
