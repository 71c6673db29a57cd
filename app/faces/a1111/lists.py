"""`/sdapi/v1` and `/controlnet`: what clients ask on start. A list of what there is none of is empty."""

from typing import Annotated, Any, get_args

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from app.accepting.judging_maps import EXAMPLES
from app.deps import Service, ServiceDep
from app.faces.a1111.control import MODULES, edges
from app.faces.a1111.options import HASH, current, title
from app.faces.a1111.pictures import map_of
from app.http.faults import refusal
from app.http.routing import Router
from app.shared.a1111_names import SPACINGS, names_of
from app.shared.owners import BUNDLED
from app.shared.wire.adapter import AdapterKind, AdapterVersion
from app.shared.wire.map import Made, MapRequest
from app.shared.wire.values import Truth, Wire

router = Router(include_in_schema=False)

# Of queries that decide nothing: lists are always as they are now, and modules have one name
Updated = Annotated[Truth, Query(alias="update")]
Aliased = Annotated[Truth, Query(alias="alias_names")]
API, CONTROL = "/sdapi/v1", "/controlnet"
NOTHING: dict[str, Any] = {
    "sd-vae": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "prompt-styles": [],
    "artist-categories": [],
    "artists": [],
    "extensions": [],
    "script-info": [],
    "scripts": {"txt2img": [], "img2img": []},
    "loaded-loras": [],
    "cmd-flags": {"api": True},
    "memory": {"ram": {}, "cuda": {}},
    "upscalers": [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
        for name in ("None", "Lanczos")
    ],
    "latent-upscale-modes": [{"name": "Latent"}],
}


def _always(path: str, said: Any) -> None:
    router.add_api_route(f"{API}/{path}", lambda: JSONResponse(said), methods=["GET"], include_in_schema=False)


for _path, _said in NOTHING.items():
    _always(_path, _said)


@router.post(f"{API}/refresh-loras")
@router.post(f"{API}/refresh-checkpoints")
@router.post(f"{API}/refresh-vae")
@router.post(f"{API}/refresh-embeddings")
@router.post(f"{API}/reload-checkpoint")
def refresh() -> Response:
    """Nothing to do: lists are always as they are now."""
    return JSONResponse({})


@router.get(f"{API}/sd-models")
def models(service: ServiceDep) -> Response:
    """The bases that are ready."""
    return JSONResponse(
        [
            {
                "title": title(one),
                "model_name": one.name,
                "hash": one.fingerprint[:HASH],
                "sha256": one.fingerprint,
                "filename": one.name,
                "config": None,
            }
            for one in service.profiles.ready()
        ]
    )


@router.get(f"{API}/samplers")
def samplers(service: ServiceDep) -> Response:
    """The samplers of the base that is drawn with; `Automatic` is its own."""
    found = [{"name": "Automatic", "aliases": ["automatic"], "options": {}}]
    for ours in current(service).samplers:
        name, spacing = names_of(ours, None)
        if name:
            found.append({"name": f"{name} {spacing}".strip(), "aliases": [ours], "options": {}})
    return JSONResponse(found)


@router.get(f"{API}/schedulers")
def schedulers(service: ServiceDep) -> Response:
    """Ways of spacing noise levels that some sampler of it takes."""
    taken = {one for spacings in current(service).sampler_sigmas.values() for one in spacings}
    names = [("automatic", "Automatic"), *((ours, theirs) for ours, theirs in SPACINGS.items() if ours in taken)]
    return JSONResponse(
        [
            {"name": name, "label": label, "aliases": None, "default_rho": -1.0, "need_inner_model": False}
            for name, label in names
        ]
    )


@router.get(f"{API}/loras")
def loras(service: ServiceDep) -> Response:
    """The adapters that `<lora:name:1>` can name."""
    return JSONResponse([_lora(service, one) for one in _adapters(service, "weights")])


@router.get(f"{API}/lora")
def lora(service: ServiceDep, lora: Annotated[str, Query(max_length=256)]) -> Response:
    """One of them."""
    return JSONResponse(_lora(service, service.catalog.resolve(lora)))


@router.get(f"{API}/embeddings")
def embeddings(service: ServiceDep) -> Response:
    """Embeddings, which `<lora:name:1>` names too: a word of the prompt alone applies none."""
    return JSONResponse(
        {"loaded": {}, "skipped": {_named(service, one): {} for one in _adapters(service, "embedding")}}
    )


def _adapters(service: Service, kind: AdapterKind) -> list[AdapterVersion]:
    ready = {one.name for one in service.profiles.ready()}
    return [one for one in service.catalog.newest() if one.kind == kind and ready & set(one.fits)]


def _named(service: Service, one: AdapterVersion) -> str:
    """What a tag calls an adapter: that of another owner with whose it is."""
    return one.name if one.owner in (service.owner, BUNDLED) else f"{one.owner}/{one.name}"


def _lora(service: Service, one: AdapterVersion) -> dict[str, Any]:
    name = _named(service, one)
    metadata = {"description": one.description, "sha256": one.sha256, "version": one.version, "fits": one.fits}
    return {"name": name, "alias": name, "path": name, "metadata": metadata}


# ControlNet's extension


class Detect(Wire):
    """The body of `POST /controlnet/detect`."""

    controlnet_module: str = "none"
    controlnet_input_images: list[str] | None = None
    controlnet_images: list[str] | None = None  # the same, of older clients
    controlnet_processor_res: int | None = Field(None, description="says nothing: a map has its picture's size")
    controlnet_threshold_a: float | None = None
    controlnet_threshold_b: float | None = None
    controlnet_masks: list[str] | None = None
    low_vram: bool | None = None


@router.get(f"{CONTROL}/version")
def control_version() -> Response:
    """Of the extension whose routes these are."""
    return JSONResponse({"version": 2})


@router.get(f"{CONTROL}/settings")
def control_settings(service: ServiceDep) -> Response:
    """How many units a request may have."""
    return JSONResponse({"control_net_unit_count": service.settings.max_adapters})


@router.get(f"{CONTROL}/model_list")
def control_models(service: ServiceDep, _: Updated = True) -> Response:
    """The control nets."""
    return JSONResponse({"model_list": [_named(service, one) for one in _adapters(service, "control")]})


@router.get(f"{CONTROL}/module_list")
def control_modules(service: ServiceDep, _: Aliased = False) -> Response:
    """What makes maps here."""
    return JSONResponse({"module_list": ["none", *_modules(service)], "module_detail": {}})


def _modules(service: Service) -> list[str]:
    """What makes maps here: some need models of their own."""
    return [one for one in get_args(Made) if one not in EXAMPLES or one in service.settings.preprocessors]


@router.get(f"{CONTROL}/control_types")
def control_types(service: ServiceDep) -> Response:
    """All of them, as one kind."""
    nets = [_named(service, one) for one in _adapters(service, "control")]
    every = {"module_list": ["none", *_modules(service)], "model_list": ["None", *nets]}
    return JSONResponse({"control_types": {"All": every | {"default_option": "none", "default_model": "None"}}})


@router.post(f"{CONTROL}/detect")
async def detect(asked: Detect, service: ServiceDep) -> Response:
    """Make the maps of pictures that a control net would read."""
    kind = MODULES.get(asked.controlnet_module.lower())
    if kind is None or kind == "none":
        message = f"there is no module {asked.controlnet_module[:80]!r} that makes a map here"
        raise refusal(["controlnet_module"], "not_obeyed", message, _modules(service))
    if asked.controlnet_masks:
        raise refusal(["controlnet_masks"], "not_obeyed", "a map is made of all of a picture; leave them out")
    said: dict[str, Any] = {"preprocess": kind}
    if kind == "canny":
        try:
            said["thresholds"] = edges([asked.controlnet_threshold_a, asked.controlnet_threshold_b])
        except ValueError as error:
            raise refusal(["controlnet_threshold_a"], "not_obeyed", str(error)) from None
    task = MapRequest.model_validate(said)
    sent = asked.controlnet_input_images or asked.controlnet_images or []
    if not sent:
        raise refusal(["controlnet_input_images"], "image_missing", "send the pictures of which maps are made")
    images = [await map_of(service, one, task, "controlnet_input_images") for one in sent]
    return JSONResponse({"images": images, "info": "Success"})
