"""Refusals that the engine would make, made before a request is accepted: by what intake and workers wrote down.

Where they wrote nothing (adapters and models of version 0.1) nothing is refused here; the engine judges in any case.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from tokenizers import Tokenizer

from app.http.faults import refusal
from app.shared.at_once import about_to_wait
from app.shared.disobedience import disobeyed as what_is_disobeyed
from app.shared.errors import BadRequest
from app.shared.facts import Fitting, TokenizerFile, Word
from app.shared.obstacles import told
from app.shared.prompts import Part, any_length, texts
from app.shared.sequence import in_sequence
from app.shared.wire.adapter import AdapterKind, AdapterUse, denoises
from app.shared.wire.generation import ApplyMode, GenerationRequest
from app.shared.wire.model import ModelProfile
from app.shared.words import teach

BLOCKS = {"down": "down_blocks", "mid": "mid_block", "up": "up_blocks"}  # as lycoris.stack has them
PIPELINE = ("normalizer", "pre_tokenizer", "post_processor", "decoder")  # of a tokenizer, beside its model
PARSED = 64  # tokenizers kept as they are written down: to parse one of CLIP's size takes a second
TAUGHT = 16  # tokenizers kept, with the words of a stack


@dataclass(frozen=True)
class Judged:
    """An adapter of a request, and what is known of it on the model; None where that was not written down."""

    at: int  # in the request's list
    use: AdapterUse
    name: str
    ranked: bool | None
    fitting: Fitting | None
    kind: AdapterKind = "weights"


def disobeyed(asked: GenerationRequest, profile: ModelProfile) -> Iterator[BadRequest]:
    """Yield the fields of a request, filled in, that the model would drop or round."""
    for one in what_is_disobeyed(profile, asked):
        yield refusal(one.field.split("/"), one.code, one.message, one.allowed)


def misused(asked: GenerationRequest, adapters: Sequence[Judged], steps: int) -> Iterator[BadRequest]:
    """Yield everything for which these adapters cannot be applied as the request says."""
    sequence = in_sequence(asked.stack_mode, (one.kind for one in adapters))
    masked = any(map(_kept, adapters))
    if sequence and masked:
        message = "an adapter with a mask is applied by bypass, which is of a sum, not of a sequence"
        yield refusal(["stack_mode"], "mask_needs_bypass", message, ["sum"])
    elif sequence and asked.apply == "bypass":
        message = "several adapters in sequence have no bypass; merge or recompute them, or sum them"
        yield refusal(["apply"], "bypass_impossible", message, ["auto", "merge", "recompute"])
    for one in adapters:
        yield from _ranks(one)
        yield from _blocks(one)
        yield from _unplaced(one, steps)
        way = "bypass" if masked else asked.apply
        if one.fitting and way != "auto" and not (way == "bypass" and sequence):
            yield from _hindered(one, one.fitting, steps, way, sequence)
    yield from _triggers(adapters, steps)


def too_long(
    asked: GenerationRequest,
    adapters: Sequence[Judged],
    steps: int,
    files: Sequence[TokenizerFile],
    profile: ModelProfile,
) -> Iterator[BadRequest]:
    """Yield the prompts that no text encoder of the model reads whole: the pipeline would drop their ends."""
    if not files or any(one.fitting is None for one in adapters) or any_length(profile, asked):
        return
    counters = [
        _counter(file, _lengths(file.component, adapters, steps))  # pyright: ignore[reportArgumentType]  # frozen, so hashable
        for file in files
    ]
    for field, parts, readers in texts(asked, [file.component for file in files]):
        over = [(_tokens(counters[at], parts), files[at].most) for at in readers]
        if over and all(length > most for length, most in over):
            length, most = max(over, key=lambda pair: pair[1])
            message = f"the {field} is {length} tokens long; this model reads {most}"
            yield refusal([field], "prompt_too_long", message, {"maxTokens": most})


def overlong(texts: Iterable[str], files: Sequence[TokenizerFile]) -> Iterator[tuple[str, int, int]]:
    """Yield those of some texts that no text encoder of a model reads whole: text, tokens, how many it reads."""
    for text in texts:
        over = [(len(_parsed(file).encode(text).ids), file.most) for file in files]  # pyright: ignore[reportArgumentType]
        if over and all(length > most for length, most in over):
            yield text, *max(over, key=lambda pair: pair[1])


def _tokens(tokenizer: Tokenizer, parts: Sequence[Part]) -> int:
    """Return how many tokens a text is, whose parts are read one by one."""
    if len(parts) == 1:
        return len(tokenizer.encode(parts[0].text).ids)
    read = (len(tokenizer.encode(part.text, add_special_tokens=False).ids) for part in parts)
    return len(tokenizer.encode("").ids) + sum(read)


def _ranks(one: Judged) -> Iterator[BadRequest]:
    if one.use.rank is not None and one.ranked is False:
        message = f"{one.use.ref!r} has no layer of which the first {one.use.rank} ranks could be applied alone"
        yield refusal(["adapters", one.at, "rank"], "rank_impossible", f"{message}: only LoRA and LoCon have")


def _blocks(one: Judged) -> Iterator[BadRequest]:
    for block in one.use.blocks:
        if one.fitting and _path(block) not in one.fitting.paths:
            message = f"{one.use.ref!r} changes nothing in {block}; leave it out"
            yield refusal(["adapters", one.at, "blocks", block], "block_without_change", message)


def _hindered(one: Judged, fitting: Fitting, steps: int, way: ApplyMode, sequence: bool) -> Iterator[BadRequest]:
    """Yield what hinders a way of applying an adapter, and which others it leaves."""
    places = {"merge": fitting.unmergeable, "bypass": fitting.places, "recompute": fitting.fixed}
    factors = {_path(block): factor for block, factor in reversed(one.use.blocks.items())}  # of two names, the first
    if hindered := list(_changed(one.use, steps, factors, places.pop(way))):
        places = {other: part for other, part in places.items() if not (sequence and other == "bypass")}
        others = [other for other, part in places.items() if not any(_changed(one.use, steps, factors, part))]
        instead = f", or ask for {' or '.join(others)}" if others else ""
        message = f'leave "apply" out{instead}: {one.use.ref!r} has no {way} here; {told(hindered)}'
        yield refusal(["apply"], f"{way}_impossible", message, ["auto", *others])


def _changed(
    use: AdapterUse, steps: int, factors: Mapping[str, float], places: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield the places that are hindered, and why, of those that an adapter changes at some strength."""
    for component, part in places.items():
        if strongest := _strongest(use, component, steps):
            for name, why in part.items():
                if why and strongest * _factor(name, factors):
                    yield f"{component}.{name}", why


def _kept(one: Judged) -> bool:
    """Tell whether an adapter's changes of weights are kept to a region, which a bypass alone can."""
    return one.use.mask is not None and one.kind != "image_prompt"


def _unplaced(one: Judged, steps: int) -> Iterator[BadRequest]:
    """Yield that a mask leaves nothing out of some layers, unless they are to be changed everywhere."""
    if not _kept(one) or one.use.unmasked == "apply" or one.fitting is None:
        return
    factors = {_path(block): factor for block, factor in reversed(one.use.blocks.items())}
    if changed := list(_changed(one.use, steps, factors, one.fitting.placeless)):
        message = f'a mask keeps {one.use.ref!r} to a region, but not all of it: say "unmasked": "apply" to have that '
        message += f"changed everywhere, or give it the strength 0 there; {told(changed)}"
        yield refusal(["adapters", one.at, "unmasked"], "mask_without_positions", message, ["apply"])


def _triggers(adapters: Sequence[Judged], steps: int) -> Iterator[BadRequest]:
    owners: dict[str, Judged] = {}
    for one in adapters:
        for trigger, word in _words(one, steps):
            if (first := owners.setdefault(word.folded, one)) is not one:
                message = f"{trigger!r} is a trigger of embeddings in {first.use.ref!r} and in {one.use.ref!r}"
                yield refusal(["adapters", one.at, "ref"], "trigger_twice", f"{message}; leave one of them out")


def _words(one: Judged, steps: int) -> Iterable[tuple[str, Word]]:
    """Return the triggers of an adapter that are read."""
    return one.fitting.words.items() if one.fitting and _applied(one, steps) else ()


def _applied(one: Judged, steps: int) -> bool:
    """Tell whether an adapter is applied at all, so that its words are read."""
    use = one.use
    stepwise = by_step(use, steps) if one.fitting and any(map(denoises, one.fitting.places)) else ()
    return bool(use.strength) or any(chain(use.strengths.values(), stepwise))


def by_step(use: AdapterUse, steps: int) -> set[float]:
    """Return the strengths that the denoiser has at some step."""
    fractions = (step / steps for step in range(steps)) if use.schedule else ()
    return {next(strength for start, strength in reversed(use.schedule) if start <= fraction) for fraction in fractions}


def _strongest(use: AdapterUse, component: str, steps: int) -> float:
    """Return the strength on a component that is furthest from nothing."""
    if use.schedule and denoises(component):
        return max(map(abs, by_step(use, steps)))
    return abs(use.strengths.get(component, use.strength))


def _factor(parameter: str, factors: Mapping[str, float]) -> float:
    """Return the factor of the innermost block that a parameter lies in."""
    while parameter:
        if parameter in factors:
            return factors[parameter]
        parameter = parameter.rpartition(".")[0]
    return 1.0


def _path(block: str) -> str:
    first, dot, rest = block.partition(".")
    return BLOCKS.get(first, first) + dot + rest


def _lengths(component: str, adapters: Sequence[Judged], steps: int) -> tuple[tuple[str, int], ...]:
    """Return how many tokens the words of the adapters are for a text encoder, in the order in which it learns them."""
    found: dict[str, int] = {}
    for one in adapters:
        for trigger, word in _words(one, steps):
            found |= {trigger: word.vectors[component]} if component in word.vectors else {}
    return tuple(sorted(found.items()))


@lru_cache(TAUGHT)
def _counter(file: TokenizerFile, lengths: tuple[tuple[str, int], ...]) -> Tokenizer:
    tokenizer = _parsed(file)  # pyright: ignore[reportArgumentType]
    if not lengths:
        return tokenizer
    taught = _copy(tokenizer)
    teach(taught, dict(lengths))
    return taught


@lru_cache(PARSED)
def _parsed(file: TokenizerFile) -> Tokenizer:
    about_to_wait()  # for about as long as storage may take, so never on the event loop
    tokenizer = Tokenizer.from_str(file.text)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that can be taught alone; it shares the vocabulary, so it costs less than a millisecond."""
    copy = Tokenizer(tokenizer.model)
    for part in PIPELINE:
        if (value := getattr(tokenizer, part)) is not None:
            setattr(copy, part, value)
    added = tokenizer.get_added_tokens_decoder()
    copy.add_tokens([added[number] for number in sorted(added)])
    return copy
