"""Our swaps against copying the touched weights once and, where diffusers takes the same adapter, against its fusing.

One process, the same weights, everything once a round; ratios are medians over rounds of samples of the same round.
"""

import gc
from collections.abc import Iterator

from lycoris import Adapter, Patcher, load
from lycoris.patcher import StackEntry
from tests.bench.figures import Figure, Samples
from tests.bench.swap import fuse
from tests.bench.swap.bench import Bench
from tests.bench.swap.families import FAMILIES, FOR_PEFT, kohya, layers, peft, touched
from tests.bench.swap.profiles import profiled
from tests.bench.swap.subjects import Subject

STRENGTH, OTHER = 0.8, 0.5
LIMIT = "copy the touched weights once: the limit"
BEFORE, AFTER = "the limit before the round", "the limit after it"
SWAP, BACK, TWO = "A → B, B never applied before", "B → A, applied before", "A → B + C"
STRONGER, SAME, OFF, COLD = "another strength", "the same again", "→ pristine", "load from a file + swap"
CASES = (SWAP, BACK, TWO, STRONGER, SAME, OFF, COLD)


def swaps(bench: Bench) -> Iterator[Figure]:
    """Every family's figures, one family after the other."""
    subject = bench.subject()
    patcher = Patcher({"unet": subject.unet})
    for family in bench.families:
        yield from _family(bench, subject, patcher, family)
        gc.collect()
    patcher.restore()
    yield Figure(
        part="swaps",
        model=subject.title,
        what="numbers changed after all these swaps and restore()",
        value=subject.changed(),
        unit="",
    )


def _family(bench: Bench, subject: Subject, patcher: Patcher, family: str) -> Iterator[Figure]:
    group = layers(family, subject, seed=1)
    file = bench.folder / "cold.safetensors"
    file.write_bytes(kohya(group))
    theirs = bench.folder / "peft.safetensors"
    if family in FOR_PEFT:
        theirs.write_bytes(peft(group))
    first, third = load(kohya(group)), load(kohya(layers(family, subject, seed=3)))
    second = layers(family, subject, seed=2)
    samples, weights = Samples(bench.device), touched(family, subject)
    copy = subject.copies(weights)
    for turn in range(bench.rounds + 1):
        bench.tick(f"{family}: {'warming up' if turn == 0 else f'round {turn} of {bench.rounds}'}")
        fresh = load(kohya(second, {"round": str(turn)}))  # other bytes, so nothing kept of the last round fits
        with samples.timed(BEFORE):
            copy()
        _round(samples, patcher, first, fresh, third)
        with samples.timed(COLD):
            patcher.swap([StackEntry(load(file), STRENGTH)])
        with samples.timed(OFF):
            patcher.restore()
        with samples.timed(AFTER):
            copy()
        samples.add(LIMIT, (samples.taken[BEFORE][-1] + samples.taken[AFTER][-1]) / 2)
        if family in FOR_PEFT:
            fuse.turn(samples, subject, theirs)
            copy()  # what unfusing left behind
        if turn == 0:
            samples.forget()
        del fresh
        gc.collect()
    yield from _figures(samples, subject, family, weights)
    if bench.profiled:
        about = Figure(part="swaps", model=subject.title, family=family)
        fresh = [[StackEntry(load(kohya(second, {"profile": str(number)})), STRENGTH)] for number in range(2)]
        patcher.swap([StackEntry(first, STRENGTH)])
        yield from profiled(about, lambda: patcher.swap(fresh[0]), lambda: patcher.swap(fresh[1]))
        patcher.restore()


def _round(samples: Samples, patcher: Patcher, a: Adapter, b: Adapter, c: Adapter) -> None:
    patcher.swap([StackEntry(a, STRENGTH)])
    with samples.timed(SWAP):
        patcher.swap([StackEntry(b, STRENGTH)])
    with samples.timed(BACK):
        patcher.swap([StackEntry(a, STRENGTH)])
    with samples.timed(TWO):
        patcher.swap([StackEntry(b, STRENGTH), StackEntry(c, STRENGTH)])
    patcher.swap([StackEntry(b, STRENGTH)])
    with samples.timed(STRONGER):
        patcher.swap([StackEntry(b, OTHER)])
    with samples.timed(SAME):
        patcher.swap([StackEntry(b, OTHER)])


def _figures(samples: Samples, subject: Subject, family: str, weights: list[str]) -> Iterator[Figure]:
    size = sum(subject.unet.get_parameter(name).nbytes for name in weights)
    about = Figure(part="swaps", model=subject.title, family=family)
    yield samples.figure(about, LIMIT, f"{LIMIT} ({size / 1e6:,.0f} MB)")
    for case in CASES:
        aim = FAMILIES[family].at_most if case == SWAP else None
        yield samples.figure(about, case, over=LIMIT, to="the limit", at_most=aim)
    if family in FOR_PEFT:
        yield from fuse.figures(samples, about, LIMIT, SWAP, (COLD, OFF))
