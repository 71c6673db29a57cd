"""What ComfyUI's clients are told: histories, queues, nodes, this machine."""

from typing import Any

from app.deps import Service
from app.faces.comfy.nodes import NODES, OUTPUTS, SAMPLERS, SCHEDULERS
from app.faces.comfy.request import Kept, kept_of
from app.shared.wire.generation import MAX_SEED, Generation, Status

UNPLACED = "0"  # the node that shows pictures of what came another way


def prompt_id(generation: Generation) -> str:
    """By what its sender knows a generation."""
    return kept_of(generation.metadata).prompt or generation.id


def number(generation: Generation) -> int:
    """Its place among all: the later, the larger."""
    return int(generation.created_at.timestamp() * 1000)


def files(generation: Generation, kind: str) -> list[dict[str, str]]:
    """Its pictures as a node shows them."""
    return [
        {
            "filename": f"{generation.id}_{image.index:05}_.{generation.request.output_format}",
            "subfolder": "",
            "type": kind,
        }
        for image in generation.images
    ]


def shown(generation: Generation) -> dict[str, Any]:
    """What its nodes put out."""
    outputs = kept_of(generation.metadata).outputs or (f"{UNPLACED}:output",)
    pairs = [one.rpartition(":")[::2] for one in outputs]
    return {node: {"images": files(generation, kind)} for node, kind in pairs if generation.images}


def queued(generation: Generation) -> list[Any]:
    """A generation in a queue: number, id, graph, further facts, outputs. The graph itself is not kept."""
    kept: Kept = kept_of(generation.metadata)
    outputs = [one.rpartition(":")[0] for one in kept.outputs]
    return [number(generation), prompt_id(generation), {}, {"client_id": kept.client}, outputs]


def failure(generation: Generation) -> tuple[str, dict[str, Any]] | None:
    """The message that says why it ended without pictures, and what it says."""
    said: dict[str, Any] = {"prompt_id": prompt_id(generation), "node_id": kept_of(generation.metadata).sampler}
    said |= {"node_type": "KSampler", "executed": []}
    if generation.status is Status.CANCELED:
        return "execution_interrupted", said
    if error := generation.error:
        told = {"exception_type": error.code, "exception_message": error.message, "traceback": []}
        return "execution_error", said | told | {"current_inputs": {}, "current_outputs": []}
    return None


def past(generation: Generation) -> dict[str, Any]:
    """A generation that has ended, as a history has it."""
    wrong = failure(generation)
    status = {"status_str": "error" if wrong else "success", "completed": wrong is None}
    messages = [["execution_start", {"prompt_id": prompt_id(generation)}], *([list(wrong)] if wrong else [])]
    return {
        "prompt": queued(generation),
        "outputs": shown(generation),
        "status": status | {"messages": messages},
        "meta": {},
    }


def object_info(service: Service) -> dict[str, Any]:
    """The nodes, and what their inputs may say."""
    adapters = service.catalog.newest()
    choices = {
        "ckpt_name": list(service.settings.models),
        "lora_name": [one.name for one in adapters if one.kind == "weights"],
        "control_net_name": [one.name for one in adapters if one.kind == "control"],
        "sampler_name": list(SAMPLERS),
        "scheduler": list(SCHEDULERS),
        "add_noise": ["enable"],
        "return_with_leftover_noise": ["disable"],
        "image": list[str](),
    }
    words = {str: "STRING", int: "INT", float: "FLOAT"}
    told: dict[str, Any] = {}
    for kind, node in NODES.items():
        required: dict[str, Any] = {name: [of] for name, of in node.links.items() if name not in node.optional}
        for name, (of, default) in node.values.items():
            facts = {} if default is ... else {"default": default}
            if name in ("seed", "noise_seed"):
                facts |= {"min": 0, "max": MAX_SEED}
            required[name] = [choices.get(name, words[of]), facts]
        told[kind] = {
            "input": {"required": required, "optional": {name: [node.links[name]] for name in node.optional}},
            "output": list(node.gives),
            "output_is_list": [False] * len(node.gives),
            "output_name": list(node.gives),
            "name": kind,
            "display_name": kind,
            "description": "",
            "category": "radiata",
            "output_node": kind in OUTPUTS,
        }
    return told
