"""The tools as sub-commands of `python -m lycoris`: their options and their output."""

import argparse
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from lycoris.adapter import load
from lycoris.errors import shown
from lycoris.files.model_folder import default_shapes, variants_of
from lycoris.merged.merge import Mode
from lycoris.stack import StackEntry
from lycoris.tools.anatomy import anatomy, table
from lycoris.tools.chart import chart
from lycoris.tools.convert import convert
from lycoris.tools.extract import extract
from lycoris.tools.lowrank import Budget, report
from lycoris.tools.merge import merge
from lycoris.tools.outputs import new_file, refuse_taken
from lycoris.tools.progress import on_stderr
from lycoris.tools.resize import resize, stored_in
from lycoris.tools.to_lora import to_lora
from lycoris.tools.writing import FACTOR_DTYPES, Draft

Lines = Iterator[str]
# FILE, FILE=0.8, FILE=0.8,text_encoder=0.5: the text after the file's name is a strength only if it is a number
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
STACK_ARGUMENT = re.compile(rf"(?P<file>.+?)(?:=(?P<strength>{NUMBER})(?P<parts>(?:,\w+={NUMBER})*))?", re.DOTALL)


def add(known: Any) -> None:
    """Add every tool to the sub-commands of a parser (what `add_subparsers` returns)."""
    _add_merge(known)
    _add_convert(known)
    _add_resize(known)
    _add_extract(known)
    _add_anatomy(known)


def _add_merge(known: Any) -> None:
    command = _command(
        known,
        "merge",
        _merge,
        "write a model's folder with adapters merged into its weights",
        "A copy of a diffusers folder with the adapters merged into its weights: each change is computed on the "
        "pristine weight, they are summed in float32 and rounded once to the stored dtype. All other files are copied. "
        "Variants (fp16) are merged too.",
    )
    command.add_argument("model", metavar="BASE_DIR", help="a diffusers folder with safetensors weights")
    command.add_argument(
        *("adapters",),
        metavar="FILE[=STRENGTH]",
        nargs="+",
        help="an adapter, by default at strength 1; FILE=0.8,text_encoder=0.5 for a component of the model",
    )
    command.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="sum",
        help="how several are combined: as the sum of their changes, or each on the result of the ones before it, in "
        "the order given, as ComfyUI and A1111 do (default: sum)",
    )
    _out(command, "OUT_DIR", "the folder to write")


def _add_convert(known: Any) -> None:
    command = _command(
        known,
        "convert",
        _convert,
        "write a file under other names, or as a LoRA",
        "--to writes the same changes under the names that kohya's scripts and ComfyUI read (lora_unet_…: LDM's for "
        "SDXL, the authors' for transformers, fused layers joined) or under diffusers' (unet.….lora_A.weight). "
        "--to-lora makes a LoRA of any algorithm, by singular values, and reports the loss. Both at once: a LoRA under "
        "those names.",
    )
    command.add_argument("file", metavar="FILE", help="an adapter")
    command.add_argument("--model", metavar="DIR", required=True, help="the diffusers folder that it is for")
    command.add_argument("--to", choices=("kohya", "diffusers"), help="whose names (with --to-lora: kohya)")
    command.add_argument("--to-lora", action="store_true", help="as a LoRA; needs --rank or --energy")
    _budget(command, required=False)
    _out(command, "FILE", "the file to write")


def _add_resize(known: Any) -> None:
    command = _command(
        known,
        "resize",
        _resize,
        "write a LoRA or LoCon with a lower rank",
        "The nearest LoRA of a lower rank, layer by layer (truncated singular values). alpha/rank stays, so a strength "
        "means the same; names stay; layers within the rank and layers of other algorithms stay as they are.",
    )
    command.add_argument("file", metavar="FILE", help="an adapter with LoRA layers")
    _budget(command, required=True)
    _out(command, "FILE", "the file to write")


def _add_extract(known: Any) -> None:
    command = _command(
        known,
        "extract",
        _extract,
        "write the difference of a fine-tuned model from its base as a LoCon",
        "The difference of two diffusers folders of one architecture: matrices and kernels as factors, biases and "
        "norms in full.",
    )
    command.add_argument("tuned", metavar="TUNED_DIR", help="the fine-tuned model's diffusers folder")
    command.add_argument("base", metavar="BASE_DIR", help="the folder of the model that it was made from")
    command.add_argument("--to", choices=("kohya", "diffusers"), default="kohya", help="whose names (default: kohya)")
    _budget(command, required=True)
    _out(command, "FILE", "the file to write")


def _add_anatomy(known: Any) -> None:
    command = _command(
        known,
        "anatomy",
        _anatomy,
        "show the size of a file's change by block and kind of layer: attention or convolution",
        "The size of the change (Frobenius) at strength 1, by block and kind of layer: composition or texture? Shares "
        "are of the square of the size, so that they add up. With --model also relative to the weights.",
    )
    command.add_argument("file", metavar="FILE", help="an adapter")
    command.add_argument("--model", metavar="DIR", help="the diffusers folder that it is for")
    command.add_argument("--svg", metavar="OUT.svg", help="write a chart too")
    command.add_argument("--force", action="store_true", help="replace OUT.svg if it exists")
    command.add_argument("--json", action="store_true", help="print numbers as JSON instead of the table")


def _merge(options: argparse.Namespace) -> Lines:
    stack = [_entry(text) for text in options.adapters]
    done = merge(options.model, stack, options.out, options.force, on_stderr, options.mode)
    parts = ", ".join(done.components) or "nothing"
    yield f"{shown(options.out)}: {done.parameters} weights changed, of {parts}"
    yield from (f"  {entry.adapter.sha256[:10]} at {entry.strength:g}" for entry in stack)
    yield from (f"  note: {shown(name)} was copied as it is and does not have the adapters" for name in done.stale)


def _convert(options: argparse.Namespace) -> Lines:
    budgeted = options.rank is not None or options.energy is not None
    if not options.to and not options.to_lora:
        options.parser.error("give --to kohya, --to diffusers, --to-lora, or both")
    if options.to_lora != budgeted:
        options.parser.error("--to-lora needs --rank or --energy, and they need it")
    refuse_taken(options.out, options.force)
    variants, adapter = variants_of(options.model), load(options.file)
    shapes = default_shapes(variants)
    if options.to_lora:
        style, budget = options.to or "kohya", Budget(options.rank, options.energy)
        draft, losses, notes = to_lora(adapter, variants, budget, style, FACTOR_DTYPES.get(options.dtype), on_stderr)
        lines = report(losses)
    else:
        draft, notes = convert(adapter, shapes, options.to)
        lines = []
    draft.write(options.out, options.force, shapes)
    yield from _written(options.out, draft)
    yield from (f"  {shown(line)}" for line in lines)
    yield from (f"  note: {shown(note)}" for note in notes)


def _resize(options: argparse.Namespace) -> Lines:
    refuse_taken(options.out, options.force)
    adapter, budget = load(options.file), Budget(options.rank, options.energy)
    draft, losses, notes = resize(adapter, stored_in(options.file), budget, FACTOR_DTYPES.get(options.dtype), on_stderr)
    draft.write(options.out, options.force)
    yield from _written(options.out, draft)
    yield from (f"  {shown(line)}" for line in report(losses))
    yield from (f"  note: {shown(note)}" for note in notes)


def _extract(options: argparse.Namespace) -> Lines:
    refuse_taken(options.out, options.force)
    tuned, base = variants_of(options.tuned), variants_of(options.base)
    budget = Budget(options.rank, options.energy)
    draft, losses = extract(tuned, base, budget, options.to, FACTOR_DTYPES.get(options.dtype), on_stderr)
    draft.write(options.out, options.force, default_shapes(base))
    yield from _written(options.out, draft)
    yield from (f"  {shown(line)}" for line in report(losses))


def _anatomy(options: argparse.Namespace) -> Lines:
    if options.svg:
        refuse_taken(options.svg, options.force)
    adapter = load(options.file)
    found = anatomy(adapter, variants_of(options.model) if options.model else None, on_stderr)
    if options.svg:
        with new_file(options.svg, options.force) as temporary:
            title = shown(adapter.metadata.get("modelspec.title") or Path(options.file).stem)
            temporary.write_text(chart(found, f"Where {title} changes the model"), encoding="utf-8")
    yield from [json.dumps(found.as_dict(), indent=2)] if options.json else table(found)


def _entry(text: str) -> StackEntry:
    found = STACK_ARGUMENT.fullmatch(text)
    assert found is not None, "the pattern takes any text"
    parts = (part.split("=") for part in (found["parts"] or "").split(",") if part)
    strengths = {name: float(number) for name, number in parts}
    return StackEntry(load(found["file"]), float(found["strength"] or 1), strengths)


def _written(out: str, draft: Draft) -> Lines:
    tensors = draft.tensors.values()
    yield f"{shown(out)}: {len(tensors)} tensors, {sum(tensor.nbytes for tensor in tensors):,} bytes"


def _command(known: Any, name: str, run: Callable[..., Lines], summary: str, text: str) -> argparse.ArgumentParser:
    command = known.add_parser(name, help=summary, description=text)
    command.set_defaults(run=run, parser=command, subject=lambda options: getattr(options, "file", name))
    return command


def _out(command: argparse.ArgumentParser, metavar: str, text: str) -> None:
    command.add_argument("-o", "--out", metavar=metavar, required=True, help=text)
    command.add_argument("--force", action="store_true", help="replace it if it exists")


def _budget(command: argparse.ArgumentParser, required: bool) -> None:
    kinds = command.add_mutually_exclusive_group(required=required)
    kinds.add_argument("--rank", metavar="R", type=_rank, help="that many singular values for every layer, at most")
    kinds.add_argument(
        "--energy", metavar="E", type=_share, help="as many as hold this share of the layer's ‖Δ‖², such as 0.95"
    )
    command.add_argument(
        "--dtype",
        choices=tuple(FACTOR_DTYPES),
        help="of new factors; by default that of the tensors they are made from",
    )


def _rank(text: str) -> int:
    rank = int(text)
    if rank < 1:
        raise argparse.ArgumentTypeError("a rank is 1 or more")
    return rank


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError("a share is more than 0 and at most 1")
    return share
