"""`merge`: a copy of a diffusers folder with adapters merged into its weights; all other files are copied."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris.errors import Code, FileRefused, NoPlace, Reason
from lycoris.files.model_folder import Variant, default_shapes, variants_of
from lycoris.kernels.stored import FLOATS
from lycoris.merged.merge import Mode
from lycoris.stack import StackEntry
from lycoris.tools.dense import ParameterGroup, groups
from lycoris.tools.outputs import Named, new_folder
from lycoris.tools.progress import Progress, silent

RECORD = "lycoris_merge.jsonl"  # in the new folder: the adapters and the base
# Weights that diffusers would read too, in formats that are not changed here
OTHER_WEIGHTS = frozenset({".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".gguf"})


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The result of a merge."""

    parameters: int  # changed, over all variants of a component
    components: tuple[str, ...]
    stale: tuple[str, ...]  # weight files that were copied and do not have the adapters


def merge(
    folder: Named,
    stack: Sequence[StackEntry],
    out: Named,
    force: bool = False,
    progress: Progress[tuple[ParameterGroup, Variant]] = silent,
    mode: Mode = "sum",
) -> Merged:
    """Write a copy of a diffusers folder with the stack merged into its safetensors weights, as Patcher.swap does it.

    mode: see Patcher.swap. The sum is made in float32 and rounded once to the stored dtype; every other byte, of
    headers too, stays. One layer is in memory at a time, with its change. Variants (`fp16`) are merged as well, each
    from its own weights.
    Raises NoPlace, StackRefused, FileRefused and ToolRefused; then there is no new folder.
    """
    base = Path(folder)
    variants = variants_of(base)
    mode = mode if len(stack) > 1 else "sum"  # as in Patcher.swap
    wanted = groups(stack, default_shapes(variants), mode)
    work = [(group, variant) for group in wanted for variant in variants[group.component]]
    _refuse_unfit(work)
    with new_folder(out, base, force) as temporary:
        shutil.copytree(base, temporary, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for group, variant in progress(work, "merging"):
            _write_group(group, variant, mode, base, temporary)
        changed = tuple(dict.fromkeys(group.component for group, _ in work))
        _record(base, stack, mode, temporary / RECORD)
        return Merged(
            parameters=sum(len(group.parameters) for group, _ in work),
            components=changed,
            stale=tuple(_stale(base, changed)),
        )


def _write_group(group: ParameterGroup, variant: Variant, mode: Mode, base: Path, out: Path) -> None:
    pristine = {name: variant.spans[name].read() for name in group.parameters}
    for name, weight in group.patched(pristine, mode).items():
        span = variant.spans[name]
        span.write(weight, out / span.path.relative_to(base))


def _refuse_unfit(work: Sequence[tuple[ParameterGroup, Variant]]) -> None:
    first = {variant.component: variant for _, variant in reversed(work)}
    lacking: list[Reason] = []
    odd: list[Reason] = []
    for group, variant in work:
        for name in group.parameters:
            span, subject = variant.spans.get(name), f"{group.component}/{variant.name}: {name}"
            if span is None or span.shape != first[group.component].spans[name].shape:
                message = f"is not as it is in {first[group.component].name}"
                lacking.append(Reason(Code.NO_MODULE, subject, message))
            elif span.dtype not in FLOATS:
                odd.append(Reason(Code.BAD_DTYPE, subject, f"is of {span.dtype}, which cannot be changed exactly"))
    if lacking:
        raise NoPlace(lacking)
    if odd:
        raise FileRefused(odd)


def _stale(base: Path, changed: Sequence[str]) -> list[str]:
    weights = [path for component in changed for path in (base / component).iterdir() if path.suffix in OTHER_WEIGHTS]
    checkpoints = [path for path in base.iterdir() if path.suffix in OTHER_WEIGHTS | {".safetensors"}]
    return sorted(str(path.relative_to(base)) for path in (*weights, *checkpoints))


def _record(base: Path, stack: Sequence[StackEntry], mode: Mode, path: Path) -> None:
    done = {
        "tool": "merge",
        "mode": mode,
        "base": base.resolve().name,
        "adapters": [
            {"sha256": entry.adapter.sha256, "strength": entry.strength, "strengths": dict(entry.strengths)}
            for entry in stack
        ],
    }
    # A base that was merged itself has such a record; its lines stay above the new one.
    before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    path.write_text(before + json.dumps(done) + "\n", encoding="utf-8")
