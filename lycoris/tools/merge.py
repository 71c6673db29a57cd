"""`merge`: a diffusers folder whose weights wear adapters for good; everything else in it is copied as it is."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lycoris.errors import Code, FileRefused, NoPlace, Reason
from lycoris.files.model_folder import Copy, copies_of, shapes_of
from lycoris.merged.merge import Mode
from lycoris.patcher import FLOATS
from lycoris.stack import StackEntry
from lycoris.tools.dense import Group, groups
from lycoris.tools.outputs import Named, new_folder
from lycoris.tools.progress import Progress, silent

RECORD = "lycoris_merge.jsonl"  # in the new folder: what was merged into what
# Weights that diffusers would read too, in formats that are not touched here
OTHER_WEIGHTS = frozenset({".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".gguf"})


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What was done."""

    parameters: int  # changed, over all copies of a component (variants)
    components: tuple[str, ...]
    stale: tuple[str, ...]  # weights that were copied as they are and do not wear the adapters


def merge(
    folder: Named,
    stack: Sequence[StackEntry],
    out: Named,
    force: bool = False,
    told: Progress[tuple[Group, Copy]] = silent,
    mode: Mode = "sum",
) -> Merged:
    """Write a copy of a diffusers folder whose safetensors weights wear the stack, as Patcher.swap makes them wear it.

    mode: as of Patcher.swap. The sum is made in float32 and rounded once to the stored dtype; every other byte, of
    headers too, stays. One layer is in memory at a time, with its change. Variants (`fp16`) are merged as well, each
    from its own weights.
    Raises NoPlace, StackRefused, FileRefused and ToolRefused; then there is no new folder.
    """
    base = Path(folder)
    copies = copies_of(base)
    mode = mode if len(stack) > 1 else "sum"  # as Patcher.swap has it
    wanted = groups(stack, shapes_of(copies), mode)
    work = [(group, copy) for group in wanted for copy in copies[group.component]]
    _refuse_unfit(work)
    with new_folder(out, base, force) as temporary:
        shutil.copytree(base, temporary, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for group, copy in told(work, "merging"):
            _wear(group, copy, mode, base, temporary)
        changed = tuple(dict.fromkeys(group.component for group, _ in work))
        _record(base, stack, mode, temporary / RECORD)
        return Merged(
            parameters=sum(len(group.parameters) for group, _ in work),
            components=changed,
            stale=tuple(_stale(base, changed)),
        )


def _wear(group: Group, copy: Copy, mode: Mode, base: Path, out: Path) -> None:
    pristine = {name: copy.stored[name].read() for name in group.parameters}
    for name, weight in group.patched(pristine, mode).items():
        stored = copy.stored[name]
        stored.write(weight, out / stored.path.relative_to(base))


def _refuse_unfit(work: Sequence[tuple[Group, Copy]]) -> None:
    first = {copy.component: copy for _, copy in reversed(work)}
    lacking: list[Reason] = []
    odd: list[Reason] = []
    for group, copy in work:
        for name in group.parameters:
            stored, subject = copy.stored.get(name), f"{group.component}/{copy.name}: {name}"
            if stored is None or stored.shape != first[group.component].stored[name].shape:
                message = f"is not there as it is in {first[group.component].name}"
                lacking.append(Reason(Code.NO_MODULE, subject, message))
            elif stored.dtype not in FLOATS:
                odd.append(Reason(Code.BAD_DTYPE, subject, f"is of {stored.dtype}, which cannot be changed exactly"))
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
    # A base that was merged itself has such a record; its lines stay above ours.
    before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    path.write_text(before + json.dumps(done) + "\n", encoding="utf-8")
