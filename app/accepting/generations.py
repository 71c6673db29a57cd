"""Acceptance: what becomes of a request before it is a generation, or everything for which it cannot be honoured.

Every face asks here and none judges by itself, so all of them take and refuse the same. This file knows no HTTP. It
judges all that can be known without a model; the engine judges once more, as the last net.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Protocol, get_args

from app.accepting.judging import Judged, disobeyed, misused, too_long
from app.accepting.judging_control import uncontrolled
from app.accepting.judging_maps import EXAMPLES
from app.accepting.judging_masks import misfitting_mask
from app.accepting.liveness import Liveness
from app.accepting.picturing import drawn, unfit
from app.accepting.picturing import filled as with_size
from app.http.faults import Allowed, fault, meant, pointer
from app.shared.accepted import Aside
from app.shared.catalog import Catalog
from app.shared.errors import AdapterMisfit, BadRequest, Forbidden, Gone, NotFound, RadiataError, SourceRefused
from app.shared.fetching.place import read_place
from app.shared.image_encoders import encoder_for
from app.shared.pictures import Pictures
from app.shared.preprocessing import chosen
from app.shared.profiles import Profiles
from app.shared.prompts import PROMPTS
from app.shared.references import Box, box_of
from app.shared.settings import Settings
from app.shared.wire.adapter import OF_CONTROL_LORAS, TAKEN_BY, AdapterUse, AdapterVersion, ResolvedAdapter, denoises
from app.shared.wire.generation import MAX_SEED, GenerationRequest, Priority, ResolvedRequest
from app.shared.wire.model import ModelProfile
from app.shared.wire.picture import Place, StoredPicture, pictures_of
from app.shared.wire.webhook import Webhook

SEED_BITS = 32  # what people can read aloud, and what other tools take
UNRESOLVED = (
    "priority",
    *Aside.model_fields,
)  # of a request, what is not in the resolved one: it decides nothing of the pictures
FROM_PROFILE = GenerationRequest.model_fields.keys() & ModelProfile.model_fields.keys()
UNSAID = {field: AdapterUse.model_fields[field].get_default(call_default_factory=True) for field in TAKEN_BY}
URGENCY: tuple[Priority, ...] = get_args(Priority)  # the most urgent first
PASSES_ALL = URGENCY[0]
COMPARED = 1000  # names of adapters that a misspelt one is compared with


class Parts(Protocol):
    """The parts of a service that acceptance asks: the running service, or anything that has these."""

    @property
    def settings(self) -> Settings: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def profiles(self) -> Profiles: ...
    @property
    def pictures(self) -> Pictures: ...
    @property
    def liveness(self) -> Liveness: ...
    @property
    def may_hurry(self) -> bool: ...


def resolve(
    parts: Parts, body: GenerationRequest, find: Callable[[str], AdapterVersion] | None = None
) -> ResolvedRequest:
    """Fill in what was left open, and fix every adapter to its bytes.

    find: which version a ref means, where somebody has asked the catalog already.
    Raises BadRequest, AdapterMisfit, NotFound or Gone, by what is wrong first, with everything that is wrong; or
    Unavailable.
    """
    profile = profile_of(parts, body.model)
    found, unknown = _pictures(parts, body)
    if unknown:  # nothing can be said of what is not there
        raise together(unknown)
    filled = _filled(with_size(body, found, profile), profile)
    wrong = [*_over_limits(parts.settings, profile, filled), *disobeyed(filled, profile), *_uncalled(parts, body)]
    wrong += _hurried(parts, body)
    wrong += unfit(filled, found, profile)
    adapters, unusable = _resolved(parts, profile, filled, find or parts.catalog.resolve)
    wrong += unusable
    needed = preprocessors_of(parts, profile, filled)
    if not wrong:  # what the engine would refuse; of adapters that are none it could say nothing
        wrong += _foreseen(parts, profile, filled, adapters, needed)
    if wrong:
        raise together(wrong)
    parts.liveness.require(profile)
    pinned = {"base": profile.fingerprint, "model": profile.name, "adapters": adapters}
    pinned["drawn"] = drawn(filled, profile)
    pinned["preprocessors"] = needed
    return ResolvedRequest.model_validate(filled.model_dump(exclude={*UNRESOLVED, *pinned}) | pinned)


def preprocessors_of(parts: Parts, profile: ModelProfile, body: GenerationRequest) -> dict[str, list[str]] | None:
    """Return the models that the maps of a request are to be made with; None where nobody who draws it has all."""
    kinds = {use.preprocess for use in body.adapters} & EXAMPLES.keys()
    return chosen(kinds, parts.liveness.makers(profile), profile.preprocessors) if kinds else {}


def _filled(body: GenerationRequest, profile: ModelProfile) -> GenerationRequest:
    """Return the request with the model's own values where it leaves one open, and a seed."""
    own = {name: getattr(profile, name) for name in FROM_PROFILE if getattr(body, name) is None}
    seed = {"seed": secrets.randbits(SEED_BITS)} if body.seed is None else {}
    return body.model_copy(update=own | seed)


def profile_of(parts: Parts, model: str | None) -> ModelProfile:
    """The profile of a model that a request names, or of the default one; raises NotFound, Unavailable, Unreadable."""
    name = model or parts.settings.model
    try:
        return parts.profiles.get(name)
    except NotFound as error:
        known = list(parts.settings.models)
        raise _wrong(NotFound, "/model", error.code, error.message + meant(name, known), known) from error


def _pictures(parts: Parts, body: GenerationRequest) -> tuple[dict[Place, StoredPicture], list[RadiataError]]:
    """Return what is known of every picture that a request names, and a reason for each that is not there."""
    found: dict[Place, StoredPicture] = {}
    unknown: list[RadiataError] = []
    for place, ref in pictures_of(body):
        try:
            found[place] = parts.pictures.info(ref)
        except NotFound as error:
            unknown.append(_wrong(NotFound, pointer(place), error.code, error.message))
    return found, unknown


def _over_limits(settings: Settings, profile: ModelProfile, asked: GenerationRequest) -> Iterator[RadiataError]:
    limits = [
        *(
            ("prompt_too_long", field, len(getattr(asked, field) or ""), settings.max_prompt_chars, "maxLength")
            for field in chain(*PROMPTS.items())
        ),
        ("size_over_limit", "width", asked.width, profile.max_edge, "maximum"),
        ("size_over_limit", "height", asked.height, profile.max_edge, "maximum"),
        ("steps_over_limit", "steps", asked.steps, settings.max_steps, "maximum"),
        ("count_over_limit", "count", asked.count, settings.max_count, "maximum"),
        ("too_many_adapters", "adapters", len(asked.adapters), settings.max_adapters, "maxItems"),
    ]
    for code, field, value, most, word in limits:
        if value is not None and value > most:
            message = f"{field} is {value}; at most {most} is possible here"
            yield _wrong(BadRequest, f"/{field}", code, message, {word: most})
    if asked.seed is not None and (last := asked.seed + asked.count - 1) > MAX_SEED:
        message = f"the last of {asked.count} pictures would have the seed {last}; the largest is {MAX_SEED}"
        allowed = {"minimum": 0, "maximum": MAX_SEED - asked.count + 1}
        yield _wrong(BadRequest, "/seed", "seed_over_limit", message, allowed)


def _hurried(parts: Parts, asked: GenerationRequest) -> Iterator[RadiataError]:
    """Yield why a request may not pass those of all others: what is high goes before every owner's turn."""
    if asked.priority == PASSES_ALL and not parts.may_hurry:
        message = f"priority {PASSES_ALL} passes what everybody else waits for, and needs a key with the scope admin"
        message += "; to have one of yours drawn before another, send the other as low"
        yield _wrong(Forbidden, "/priority", "scope_missing", message, [one for one in URGENCY if one != PASSES_ALL])


def _uncalled(parts: Parts, asked: GenerationRequest) -> Iterator[RadiataError]:
    """Yield why nobody will be called at the address that a request names."""
    if asked.webhook:
        try:
            read_place(asked.webhook.url, parts.settings.fetch_allow)
        except SourceRefused as error:
            yield _wrong(BadRequest, "/webhook/url", error.code, error.message)


def aside_of(body: GenerationRequest, webhook: Webhook | None) -> Aside:
    """Return what a request says that decides nothing of its pictures; webhook: the one where it names none."""
    return Aside(metadata=body.metadata, start_within_s=body.start_within_s, webhook=body.webhook or webhook)


def _resolved(
    parts: Parts, profile: ModelProfile, asked: GenerationRequest, find: Callable[[str], AdapterVersion]
) -> tuple[list[ResolvedAdapter], list[RadiataError]]:
    """Return the adapters that a request means, and everything for which they cannot be applied."""
    adapters: list[ResolvedAdapter] = []
    wrong: list[RadiataError] = []
    names: list[str] | None = None  # asked for once, where one is needed
    for index, use in enumerate(asked.adapters[: parts.settings.max_adapters]):
        at = f"/adapters/{index}"
        try:
            version = find(use.ref)
        except NotFound as error:
            names = parts.catalog.names(COMPARED) if names is None else names
            near = meant(use.ref, names)
            wrong.append(_wrong(NotFound, f"{at}/ref", error.code, error.message + near))
            continue
        except Gone as error:
            wrong.append(_wrong(Gone, f"{at}/ref", error.code, error.message))
            continue
        twin = next((other for other in adapters if other.sha256 == version.sha256), None)
        if twin and version.kind != "control":  # a net may read several pictures
            message = f"{twin.ref!r} and {use.ref!r} are the same file; name it once"
            wrong.append(_wrong(BadRequest, f"{at}/ref", "adapter_twice", message))
        wrong += _misused(at, use, version, profile)
        pinned = {name: getattr(version, name) for name in ("name", "version", "sha256", "ignore", "kind")}
        pinned["boxes"] = _boxes(parts, use, version)
        try:
            pinned["image_encoder"] = _image_encoder(parts, version, profile)
        except ValueError as error:  # the base had others when the file was judged
            message = f"{use.ref!r} cannot be used with {profile.name!r} as it is now: it {error}"
            wrong.append(_wrong(AdapterMisfit, f"{at}/ref", "image_encoder_misfit", message))
        adapters.append(ResolvedAdapter.model_validate(use.model_dump() | pinned))
    return adapters, wrong


def _boxes(parts: Parts, use: AdapterUse, version: AdapterVersion) -> list[Box]:
    """Return what an image prompt reads of each of its pictures, which are there."""
    known = [parts.pictures.info(ref) for ref in use.pictures] if version.kind == "image_prompt" else []
    return [box_of(one.width, one.height, use.fit) for one in known]


def _misused(at: str, use: AdapterUse, version: AdapterVersion, profile: ModelProfile) -> Iterator[RadiataError]:
    if profile.name not in version.fits:
        places = ", ".join(version.fits) or "no model here"
        message = f"{use.ref!r} fits {places}, not {profile.name!r}; choose another of the two"
        yield _wrong(AdapterMisfit, f"{at}/ref", "adapter_for_another_base", message)
    for field, kinds in TAKEN_BY.items():
        if version.kind == "weights" and field in OF_CONTROL_LORAS:
            continue  # by what is known of it on the model
        if version.kind not in kinds and getattr(use, field) != UNSAID[field]:
            message = f"{use.ref!r} is of the kind {version.kind}, which takes no {field}; leave it out"
            yield _wrong(BadRequest, f"{at}/{field}", "setting_of_another_kind", message)
    if version.kind == "image_prompt" and not use.pictures:
        message = f"{use.ref!r} is an image prompt; give it a picture as image, or several as images"
        yield _wrong(BadRequest, f"{at}/image", "image_missing", message)
    if version.kind == "control":  # it has no components and no blocks
        return
    components = version.components_of.get(profile.name, version.components)
    known = ", ".join(components)
    for missing in sorted(set(use.strengths) - set(components)):
        message = f"{use.ref!r} does not change {missing}, only {known}"
        yield _wrong(BadRequest, f"{at}/strengths/{missing}", "component_unknown", message, components)
    if use.schedule and not any(map(denoises, components)):
        message = f"{use.ref!r} changes only {known}; give a strength, not a schedule"
        yield _wrong(BadRequest, f"{at}/schedule", "schedule_without_denoiser", message)
    for block in use.blocks:
        if not _named(block, profile.blocks):
            message = f"{profile.name!r} has no {block}; known: {', '.join(profile.blocks)}"
            yield _wrong(
                BadRequest, pointer([*at[1:].split("/"), "blocks", block]), "block_unknown", message, profile.blocks
            )


def _image_encoder(parts: Parts, version: AdapterVersion, profile: ModelProfile) -> str:
    """Return the fingerprint of what reads the pictures of an image prompt; empty of what is none, or is not known.

    Raises ValueError with a sentence where the base has none that it is for.
    """
    if version.kind != "image_prompt":
        return ""
    facts = parts.catalog.facts(version.sha256, version.ignore, profile.fingerprint)
    if facts is None or facts.reads is None:  # the engine judges
        return ""
    of = encoder_for(profile.image_encoders, profile.name, *facts.reads, version.image_encoder)
    return profile.image_encoders[of].fingerprint


def _foreseen(
    parts: Parts,
    profile: ModelProfile,
    asked: GenerationRequest,
    resolved: list[ResolvedAdapter],
    needed: Mapping[str, list[str]] | None,
) -> Iterator[RadiataError]:
    adapters: list[Judged] = []
    made = set(needed if needed is not None else chain(*parts.liveness.makers(profile)))
    if needed is None and (kinds := {use.preprocess for use in asked.adapters} & EXAMPLES.keys()) <= made:
        message = f"no worker of {profile.name!r} makes maps of both kinds, {' and '.join(sorted(kinds))}; ask for one"
        yield _wrong(BadRequest, "/adapters", "preprocess_unavailable", message)
    for index, (use, one) in enumerate(zip(asked.adapters, resolved, strict=True)):
        facts = parts.catalog.facts(one.sha256, one.ignore, profile.fingerprint)
        ranked, fitting = (facts.ranked, facts.on.get(profile.fingerprint)) if facts else (None, None)
        if one.kind == "control" or (fitting and fitting.picture):
            yield from uncontrolled(index, use, facts, parts.pictures, asked, profile, made)
        elif one.kind == "weights" and fitting:
            yield from _unread(index, use)
        adapters.append(Judged(index, use, one.name, ranked, fitting, one.kind))
        yield from misfitting_mask(index, use, one.kind, parts.pictures, asked, profile)
    steps = asked.steps or profile.steps
    yield from misused(asked, adapters, steps)
    yield from too_long(asked, adapters, steps, parts.profiles.tokenizers(profile), profile)


def _unread(index: int, use: AdapterUse) -> Iterator[RadiataError]:
    """Yield the settings of a control LoRA that an adapter which is none has."""
    for field in OF_CONTROL_LORAS:
        if getattr(use, field) != UNSAID[field]:
            message = f"{use.ref!r} is of the kind weights, and reads no picture: it takes no {field}; leave it out"
            yield _wrong(BadRequest, f"/adapters/{index}/{field}", "setting_of_another_kind", message)


def _named(block: str, known: list[str]) -> bool:
    """Tell whether a block is one of a model's or lies in the last of them; an old profile lists none, and all pass."""
    if not known or block in known:
        return True
    last = _last(tuple(known))
    return any(block[:at] in last for at, char in enumerate(block) if char == ".")


@lru_cache(16)
def _last(known: tuple[str, ...]) -> frozenset[str]:
    """Return the blocks that no other lies in."""
    return frozenset(known) - {one.rpartition(".")[0] for one in known}


def _wrong(kind: type[RadiataError], at: str, code: str, message: str, allowed: Allowed = None) -> RadiataError:
    return kind(code, message, reasons=[fault(at, code, message, allowed)])


def together(wrong: list[RadiataError]) -> RadiataError:
    """Return one error of all: of the kind of the first, with the reasons of each."""
    first = wrong[0]
    reasons = [reason for one in wrong for reason in one.reasons]
    return type(first)(first.code, "; ".join(dict.fromkeys(one.message for one in wrong)), reasons=reasons)
