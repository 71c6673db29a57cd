"""What a graph asks for, as a request of ours; docs/faces/comfy.md tells of each node and input."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.faces.adapter_shapes import SUFFIX
from app.faces.comfy.graph import Graph, wrong
from app.faces.comfy.nodes import OUTPUTS, SAMPLERS, SCHEDULERS
from app.http.faults import fault, pointer, quoted, refusal, refused
from app.shared.errors import RadiataError
from app.shared.wire.generation import MAX_SEED, GenerationRequest
from app.shared.wire.picture import REF_PREFIX
from app.shared.wire.values import OWNED_REF_PATTERN

TEXT = 512  # characters that metadata has room for
WORD = "comfy"  # of metadata, under which is kept what only this face needs
INPUT = re.compile(r"([0-9a-f]{64})\.png(?: \[input\])?")
Components = Callable[[str, str], list[str]]  # a base and an adapter -> the components that it changes there


@dataclass
class Meaning:
    """A request, and for each field of it the input of the graph that it comes from."""

    base: str
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    places: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def put(self, name: str, value: Any, node: str, of: str) -> None:
        """Take a field of the request from an input."""
        self.body[name], self.places[f"/{name}"] = value, (node, of)


@dataclass(frozen=True)
class Kept:
    """What is kept of a request in its generation's metadata."""

    prompt: str = ""  # its id, where its sender gave one
    client: str = ""
    outputs: tuple[str, ...] = ()  # nodes that show its pictures, each with the type of its files behind a colon
    sampler: str = ""
    previews: bool = False

    def written(self) -> dict[str, str]:
        """As metadata; raises BadRequest."""
        said = [self.prompt, self.client, list(self.outputs), self.sampler, int(self.previews)]
        text = json.dumps(said, separators=(",", ":"))
        if len(text) > TEXT:
            raise refusal(["client_id"], "invalid_prompt", "the ids of this request and its nodes are too long")
        return {WORD: text}


def kept_of(metadata: dict[str, str]) -> Kept:
    """What is kept of a request; nothing of one that came another way."""
    try:
        prompt, client, outputs, sampler, previews = json.loads(metadata[WORD])
        return Kept(str(prompt), str(client), tuple(map(str, outputs)), str(sampler), bool(previews))
    except (KeyError, ValueError, TypeError, RecursionError):
        return Kept()


def translated(graph: Graph, components: Components) -> tuple[Meaning, list[str], str]:
    """Return what a graph means, the nodes that show its pictures, and the one that draws; raises BadRequest."""
    shown = graph.outputs()
    if not shown:
        raise refusal(["prompt"], "prompt_no_outputs", "the graph has no SaveImage and no PreviewImage")
    decoded = {graph.source(node, "images") for node in shown}
    if len(decoded) > 1 or graph.kind(decoded.copy().pop()) != "VAEDecode":
        wrong(shown[0], "images", "bad_linked_input", "what is shown here is one VAEDecode of one KSampler")
    decode = decoded.pop()
    sampler = graph.source(decode, "samples")
    if not graph.kind(sampler).startswith("KSampler"):
        wrong(decode, "samples", "bad_linked_input", "what is decoded here is the latents of a KSampler")
    loras, loader = _chain(graph, sampler, "model", "model")
    base = graph.value(loader, "ckpt_name").removesuffix(SUFFIX)
    meaning = Meaning(base)
    meaning.put("model", base, loader, "ckpt_name")
    for node, part in ((decode, "vae"), (decode, "samples")):
        if part == "vae" and graph.source(node, part) != loader:
            wrong(node, part, "bad_linked_input", "the VAE is that of the checkpoint here")
    positive, nets = _conditioned(graph, sampler, "positive")
    negative, others = _conditioned(graph, sampler, "negative")
    advanced = [one for one in nets if graph.kind(one) == "ControlNetApplyAdvanced"]
    if advanced != others:
        message = "a ControlNetApplyAdvanced leads both sides of the sampler, each by its own output"
        wrong(sampler, "negative", "bad_linked_input", message)
    clips = [_chain(graph, node, "clip", "clip") for node in (positive, negative)]
    if clips[0] != clips[1] or clips[0][1] != loader:
        wrong(negative, "clip", "bad_linked_input", "both prompts are read by one CLIP, that of the checkpoint")
    meaning.put("prompt", graph.value(positive, "text"), positive, "text")
    meaning.put("negative_prompt", graph.value(negative, "text"), negative, "text")
    _words(graph, meaning, positive, negative)
    _sampling(graph, meaning, sampler)
    _latents(graph, meaning, sampler, loader)
    _adapters(graph, meaning, loras, clips[0][0], nets, components)
    return meaning, [f"{node}:{OUTPUTS[graph.kind(node)]}" for node in shown], sampler


def request_of(meaning: Meaning, metadata: dict[str, str]) -> GenerationRequest:
    """Return the request that it is; raises BadRequest at the inputs that are wrong."""
    try:
        return GenerationRequest.model_validate(meaning.body | {"metadata": metadata})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise refused(
            [placed(meaning, fault(pointer(one["loc"]), one["type"], one["msg"])) for one in found]
        ) from error


def placed(meaning: Meaning, one: Any) -> dict[str, Any]:
    """Return a fault of the request as one of the input that it comes from."""
    at = one.get("pointer", "")
    parts = at.split("/")
    for length in range(len(parts), 1, -1):
        if where := meaning.places.get("/".join(parts[:length])):
            return {**one, "pointer": pointer([where[0], "inputs", where[1]])}
    return dict(one)


def replaced(meaning: Meaning, error: RadiataError) -> None:
    """Make the places that an error tells those in the graph."""
    error.reasons = tuple(placed(meaning, one) for one in error.reasons)


def _chain(graph: Graph, node: str, field: str, through: str) -> tuple[list[str], str]:
    """Return the LoRA loaders before an input, the nearest to the checkpoint first, and the checkpoint's loader."""
    loras: list[str] = []
    at = graph.source(node, field)
    while graph.kind(at).startswith("LoraLoader") and len(loras) < 256:
        loras.insert(0, at)
        at = graph.source(at, through)
    if graph.kind(at) != "CheckpointLoaderSimple":
        wrong(node, field, "bad_linked_input", f"the {field} comes from a CheckpointLoaderSimple, through LoRAs alone")
    return loras, at


def _conditioned(graph: Graph, sampler: str, side: str) -> tuple[str, list[str]]:
    """Return the text of one side of the guidance, and the control nets on the way, the first applied first."""
    nets: list[str] = []
    at, place = graph.source(sampler, side), graph.place(sampler, side)
    while graph.kind(at).startswith("ControlNetApply") and len(nets) < 256:
        nets.insert(0, at)
        into = "conditioning"
        if graph.kind(at) == "ControlNetApplyAdvanced":
            into = ("positive", "negative")[place]
            if into != side:
                wrong(at, into, "bad_linked_input", f"the {side} conditioning of the sampler goes through {into} here")
        at, place = graph.source(at, into), graph.place(at, into)
    if graph.kind(at) != "CLIPTextEncode":
        wrong(sampler, side, "bad_linked_input", f"{side} comes from a CLIPTextEncode, through control nets alone")
    if side == "negative" and any(graph.kind(one) == "ControlNetApply" for one in nets):
        wrong(nets[0], "conditioning", "bad_linked_input", "ControlNetApply leads both sides: put it on the positive")
    return at, nets


def _words(graph: Graph, meaning: Meaning, *nodes: str) -> None:
    texts = [graph.value(node, "text") for node in nodes]
    for node, text in zip(nodes, texts, strict=True):
        if "embedding:" in text:
            wrong(node, "text", "not_obeyed", "an embedding is an adapter here: write its trigger, without embedding:")
    if any("(" in text.replace("\\(", "") for text in texts):
        meaning.put("prompt_syntax", "weighted", nodes[0], "text")


def _sampling(graph: Graph, meaning: Meaning, node: str) -> None:
    theirs, spacing = graph.value(node, "sampler_name"), graph.value(node, "scheduler")
    if theirs not in SAMPLERS:
        wrong(node, "sampler_name", "value_not_in_list", f"there is no sampler {quoted(theirs)} here", sorted(SAMPLERS))
    if spacing not in SCHEDULERS:
        wrong(
            node, "scheduler", "value_not_in_list", f"there is no scheduler {quoted(spacing)} here", sorted(SCHEDULERS)
        )
    ours, sigmas = SAMPLERS[theirs], SCHEDULERS[spacing]
    if (ours, sigmas) == ("dpmpp_2m", "karras"):
        ours, sigmas = "dpmpp_2m_karras", None
    meaning.put("sampler", ours, node, "sampler_name")
    if sigmas:
        meaning.put("sigmas", sigmas, node, "scheduler")
    advanced = graph.kind(node) == "KSamplerAdvanced"
    seed = "noise_seed" if advanced else "seed"
    meaning.put("seed", graph.value(node, seed), node, seed)
    meaning.put("steps", graph.value(node, "steps"), node, "steps")
    meaning.put("guidance_scale", graph.value(node, "cfg"), node, "cfg")
    if advanced:
        whole = {"add_noise": "enable", "start_at_step": 0, "return_with_leftover_noise": "disable"}
        for name, value in whole.items():
            if graph.value(node, name) != value:
                wrong(node, name, "not_obeyed", f"all steps are drawn in one KSampler here: {name} is {value}")
        if graph.value(node, "end_at_step") < graph.value(node, "steps"):
            wrong(node, "end_at_step", "not_obeyed", "all steps are drawn in one KSampler here: leave it at 10000")


def _latents(graph: Graph, meaning: Meaning, sampler: str, loader: str) -> None:
    latents = graph.source(sampler, "latent_image")
    denoise = 1.0 if graph.kind(sampler) == "KSamplerAdvanced" else graph.value(sampler, "denoise")
    if graph.kind(latents).startswith("Empty"):
        for name in ("width", "height"):
            meaning.put(name, graph.value(latents, name), latents, name)
        meaning.put("count", graph.value(latents, "batch_size"), latents, "batch_size")
        if denoise != 1:
            wrong(
                sampler, "denoise", "not_obeyed", "nothing is there to keep of an empty latent image: set denoise to 1"
            )
        return
    if graph.kind(latents) != "VAEEncode" or graph.source(latents, "vae") != loader:
        message = "latents are those of an EmptyLatentImage, or of a VAEEncode with the checkpoint's VAE"
        wrong(sampler, "latent_image", "bad_linked_input", message)
    meaning.put("init_image", _picture(graph, latents, "pixels"), graph.source(latents, "pixels"), "image")
    meaning.put("denoise", denoise, sampler, "denoise")
    if 0 < denoise < 1:  # there, so many steps are drawn; here, so much of the steps is
        drawn = min(graph.value(sampler, "steps"), MAX_SEED)  # what is more is as wrong, and no float
        meaning.put("steps", int(min(drawn / denoise, MAX_SEED)), sampler, "steps")


def _picture(graph: Graph, node: str, field: str) -> str:
    load = graph.source(node, field)
    if graph.kind(load) != "LoadImage" or graph.place(node, field) != 0:
        wrong(node, field, "bad_linked_input", f"{field} is the picture of a LoadImage")
    found = INPUT.fullmatch(graph.value(load, "image").removeprefix("/"))
    if not found:
        message = "send the picture (POST upload/image), and say the name that its answer has"
        wrong(load, "image", "image_unknown", message)
    return REF_PREFIX + found[1]


def _adapters(
    graph: Graph, meaning: Meaning, loras: list[str], clips: list[str], nets: list[str], components: Components
) -> None:
    entries: list[dict[str, Any]] = []
    for node in [*loras, *(one for one in clips if one not in loras)]:
        ref = _ref(graph, node, "lora_name")
        entry: dict[str, Any] = {"ref": ref, "strength": graph.value(node, "strength_model") if node in loras else 0.0}
        clip = graph.value(node, "strength_clip") if node in clips else 0.0
        read = [one for one in components(meaning.base, ref) if one.startswith("text_encoder")]
        entry["strengths"] = dict.fromkeys(read, clip)
        meaning.places[f"/adapters/{len(entries)}"] = node, "lora_name"
        meaning.places[f"/adapters/{len(entries)}/strength"] = node, "strength_model"
        meaning.places[f"/adapters/{len(entries)}/strengths"] = node, "strength_clip"
        entries.append(entry)
    for node in nets:
        loaded = graph.source(node, "control_net")
        strength, led = graph.value(node, "strength"), graph.source(node, "image")
        entry = {"ref": _ref(graph, loaded, "control_net_name"), "image": _picture(graph, node, "image")}
        entry |= {"strength": strength}
        if graph.kind(node) == "ControlNetApplyAdvanced":
            entry |= dict(_window(graph, node, strength))
        meaning.places[f"/adapters/{len(entries)}"] = loaded, "control_net_name"
        meaning.places[f"/adapters/{len(entries)}/strength"] = node, "strength"
        meaning.places[f"/adapters/{len(entries)}/schedule"] = node, "start_percent"
        meaning.places[f"/adapters/{len(entries)}/image"] = led, "image"
        entries.append(entry)
    meaning.body["adapters"] = entries
    if nets:
        meaning.body["fit"] = "crop"  # as there, where a map has another shape


def _window(graph: Graph, node: str, strength: float) -> Iterator[tuple[str, Any]]:
    begins, ends = graph.value(node, "start_percent"), graph.value(node, "end_percent")
    if not 0 <= begins < ends <= 1:
        wrong(
            node, "end_percent", "not_obeyed", "a net leads from start_percent to a larger end_percent, within 0 and 1"
        )
    if (begins, ends) != (0, 1):
        before = [[0.0, 0.0]] if begins else []
        yield "schedule", [*before, [begins, strength], *([[ends, 0.0]] if ends < 1 else [])]


def _ref(graph: Graph, node: str, field: str) -> str:
    ref = graph.value(node, field).removesuffix(SUFFIX)
    if not re.fullmatch(OWNED_REF_PATTERN, ref):
        message = f"{ref[:80]!r} is no adapter's name; upload it, or have it fetched (POST /v1/adapters), and name it"
        wrong(node, field, "adapter_unknown", message)
    return ref
