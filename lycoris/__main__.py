"""`python -m lycoris inspect FILE`: what an adapter file holds, and whether a model can wear it or why it cannot.

Exit code 0: accepted. 1: refused, with the reasons. 2: not a question that can be answered (usage).
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from lycoris.errors import AdapterError, shown
from lycoris.folder import shapes_of_folder
from lycoris.targets import inspect
from lycoris.verdict import Verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        components = shapes_of_folder(options.model) if options.model else None
        verdict = inspect(options.file, components, options.ignore)
    except AdapterError as error:
        lines = [f"{shown(options.file)}: refused"]
        lines += [f"  {reason.code:<16} {reason}" for reason in error.reasons]
        print(json.dumps(error.as_dict(), indent=2) if options.json else "\n".join(lines))
        return 1
    print(json.dumps(verdict.as_dict(), indent=2) if options.json else "\n".join(_lines(options.file, verdict)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lycoris", description="Adapter files, judged.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("inspect", help="say what a file holds, and whether a model can wear it")
    command.add_argument("file", metavar="FILE", help="a safetensors file")
    command.add_argument(
        "--model", metavar="DIR", help="a diffusers folder to judge it against (only headers are read)"
    )
    command.add_argument(
        "--ignore", metavar="PATTERN", action="append", default=[], help="leave out tensors of such names; repeatable"
    )
    command.add_argument("--json", action="store_true", help="print the verdict as JSON")
    return parser


def _lines(file: str, verdict: Verdict) -> Iterator[str]:
    rows = {
        "sha256": verdict.sha256,
        "AutoV2, AutoV3": f"{verdict.autov2}, {verdict.autov3}",
        "layers": f"{verdict.layers} ({verdict.file_bytes:,} bytes)",
        "algorithms": _counts(verdict.algorithms),
        "ranks": ", ".join(map(str, verdict.ranks)) or "none",
        "components": _counts({name or "(not said)": count for name, count in verdict.components.items()}),
        "trigger words": ", ".join(verdict.triggers),
        **verdict.metadata,
    }
    yield f"{shown(file)}: accepted" if verdict.resolved is not None else f"{shown(file)}: sound"
    if verdict.resolved is not None:
        yield f"  every one of its {verdict.resolved} layers has its place in the model"
    yield from (f"  {shown(name):<24} {shown(text)}" for name, text in rows.items() if text)
    yield from (f"  ignored: {name}" for name in verdict.ignored)
    yield from (f"  note: {shown(warning)}" for warning in verdict.warnings)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
