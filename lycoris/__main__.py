"""`python -m lycoris COMMAND`: inspect an adapter file, and make other files of it.

Exit code 0: done. 1: refused, with the reasons. 2: wrong usage.
Results go to stdout, progress to stderr.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

from lycoris.errors import AdapterError, shown
from lycoris.files.model_folder import default_shapes, variants_of
from lycoris.inspection import Verdict, inspect
from lycoris.tools import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a letter shows its code
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        lines = list(options.run(options))
    except AdapterError as error:
        lines = [f"{shown(options.subject(options))}: refused"]
        lines += [f"  {reason.code:<16} {reason}" for reason in error.reasons]
        print(json.dumps(error.as_dict(), indent=2) if options.json else "\n".join(lines))
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # the reader, such as `head`, has ended; nothing may be flushed again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lycoris",
        description="Adapter files: inspect, merge, convert, resize, extract, explain.",
        epilog="`python -m lycoris COMMAND --help` has the options. No file is replaced without --force.",
    )
    parser.set_defaults(json=False)
    known = parser.add_subparsers(required=True, metavar="COMMAND")
    command = known.add_parser("inspect", help="show the contents of a file, and whether it fits a model")
    command.set_defaults(run=_inspect, subject=lambda options: options.file)
    command.add_argument("file", metavar="FILE", help="a safetensors file, or PEFT's folder or a zip of it")
    command.add_argument(
        "--model", metavar="DIR", help="a diffusers folder to check it against (only headers are read)"
    )
    command.add_argument(
        "--ignore",
        metavar="PATTERN",
        action="append",
        default=[],
        help="leave out tensors with matching names; repeatable",
    )
    command.add_argument("--json", action="store_true", help="print the verdict as JSON")
    commands.add(known)
    return parser


def _inspect(options: argparse.Namespace) -> Iterator[str]:
    components = default_shapes(variants_of(options.model)) if options.model else None
    verdict = inspect(options.file, components, options.ignore)
    if options.json:
        yield json.dumps(verdict.as_dict(), indent=2)
    else:
        yield from _lines(options.file, verdict)


def _lines(file: str, verdict: Verdict) -> Iterator[str]:
    rows = {
        "sha256": verdict.sha256,
        "AutoV2, AutoV3": f"{verdict.autov2}, {verdict.autov3}",
        "layers": f"{verdict.layers} ({verdict.file_bytes:,} bytes)",
        "base": _base(verdict),
        "algorithms": _counts(verdict.algorithms),
        "ranks": ", ".join(map(str, verdict.ranks)) or "none",
        "components": _counts({name or "(not named)": count for name, count in verdict.components.items()}),
        "embeddings": ", ".join(verdict.embeddings),
        "trigger words": ", ".join(verdict.triggers),
        **verdict.metadata,
    }
    yield f"{shown(file)}: accepted" if verdict.resolved is not None else f"{shown(file)}: sound"
    if verdict.resolved is not None:
        yield f"  every one of its {verdict.resolved} layers has a place in the model"
    yield from (f"  {shown(name):<24} {shown(text)}" for name, text in rows.items() if text)
    yield from (f"  ignored: {name}" for name in verdict.ignored)
    yield from (f"  note: {shown(warning)}" for warning in verdict.warnings)


def _base(verdict: Verdict) -> str:
    base = verdict.base
    return f"{base.name}{'' if base.sure else ' (a guess)'}: {', '.join(base.evidence)}" if base else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
