"""For every route, how an owner names what is theirs there: what `tests/app/test_owners.py` asks as others."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any

from app.http.permissions import A1111_DRAWS, A1111_LISTS, A1111_REFRESHES, CONTROLNET_LISTS
from app.shared.wire.upload import UploadKind
from tests.app.faces.owned_comfy import comfy
from tests.app.shared.making import MODEL

NOBODYS = "f" * 32


@dataclass(frozen=True)
class Belongings:
    """What one owner has, by the kind of its id."""

    generation: str
    ended: str
    picture: str
    dataset: str
    training: str
    trained: str
    fetching: str
    parts: str
    uploads: dict[UploadKind, str]
    adapter: str  # a name
    sha256: str


def drawn(**fields: Any) -> dict[str, Any]:
    return {"json": {"prompt": "a red apple"} | fields}


def tus(**said: str) -> dict[str, Any]:
    pairs = (f"{name} {b64encode(value.encode()).decode()}" for name, value in said.items())
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "4", "Upload-Offset": "0"}
    headers |= {"Content-Type": "application/offset+octet-stream"} if not said else {}
    return {"headers": headers | {"Upload-Metadata": ",".join(pairs)}}


def learned(dataset: str, **fields: Any) -> dict[str, Any]:
    return {"json": {"name": "style", "dataset": dataset, "algorithm": "lokr"} | fields}


def _of_a1111(adapter: str) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    unit = {"image": "iVBORw0KGgo=", "model": adapter}
    return {
        **{f"POST /sdapi/v1/{path}": [] for path in (*A1111_DRAWS, *A1111_REFRESHES)},
        **{f"GET /sdapi/v1/{path}": [] for path in ("progress", *A1111_LISTS)},
        **{f"GET /controlnet/{path}": [] for path in CONTROLNET_LISTS},
        "POST /controlnet/detect": [],
        "POST /sdapi/v1/txt2img": [
            ("", {"json": {"prompt": f"a <lora:{adapter}:1>", "width": 4096}}),
            ("", {"json": {"prompt": "a", "width": 4096, "alwayson_scripts": {"controlnet": {"args": [unit]}}}}),
        ],
        "GET /sdapi/v1/lora": [(f"?lora={adapter}", {})],
    }


def requests(of: Belongings) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """For every route, how its owner names what is theirs there: path, and the rest of the request.

    `of` of nobody at all (`NOTHING`) gives the same requests for what is not there.
    """
    size, wide = {"width": 64, "height": 64}, {"width": 4096, "height": 64}
    star = {"json": {"starred": True}}
    image = {"init_image": of.picture, "denoise": 0.5, **size}
    return {
        "POST /v1/generations": [
            ("", drawn(adapters=[{"ref": of.adapter}])),
            ("", drawn(adapters=[{"ref": f"{of.adapter}:1"}])),
            ("", drawn(adapters=[{"ref": f"sha256:{of.sha256}"}])),
            ("", drawn(**image)),
            ("", drawn(**image, mask_image=of.picture)),
        ],
        "POST /v1/generations/batch": [("", {"json": {"requests": [drawn(adapters=[{"ref": of.adapter}])["json"]]}})],
        "GET /v1/generations": [(f"?before={of.generation}", {})],
        "GET /v1/generations/{generation_id}": [(of.generation, {}), (of.ended, {})],
        "GET /v1/generations/{generation_id}/events": [(of.generation, {}), (of.ended, {})],
        "POST /v1/generations/{generation_id}/cancel": [(of.generation, {}), (of.ended, {})],
        "DELETE /v1/generations/{generation_id}": [(of.generation, {}), (of.ended, {})],
        "PATCH /v1/generations/{generation_id}": [(of.generation, star), (of.ended, star)],
        "POST /v1/adapters/uploads/{upload_id}": [],  # put there by whoever reaches the store
        "GET /v1/adapters/uploads/{upload_id}": [(of.uploads["adapter"], {}), (of.fetching, {})],
        "DELETE /v1/adapters/uploads/{upload_id}": [(of.uploads["adapter"], {}), (of.fetching, {})],
        "POST /v1/adapters": [("", {"files": {"file": b"x" * 99}, "data": {"name": "a", "cover": of.picture}})],
        "GET /v1/adapters": [],
        "GET /v1/adapters/{ref}": [(of.adapter, {}), (f"{of.adapter}:1", {}), (f"sha256:{of.sha256}", {})],
        "GET /v1/adapters/{ref}/file": [(of.adapter, {}), (f"sha256:{of.sha256}", {})],
        "PATCH /v1/adapters/{name}": [(of.adapter, {"json": {"visibility": "private"}})],
        "DELETE /v1/adapters/{name}": [(of.adapter, {})],
        "POST /v1/images": [],
        "POST /v1/images/recipe": [],
        "GET /v1/images/recipe/{upload_id}": [(of.uploads["recipe"], {})],
        "POST /v1/images/{ref}/preprocess": [(of.picture, {"json": {"preprocess": "canny", **size}})],
        "GET /v1/images/uploads/{upload_id}": [(of.uploads["picture"], {})],
        "GET /v1/images/{key:path}": [(of.picture, {}), (f"{of.ended}/0.png", {})],
        "DELETE /v1/images/{ref}": [(of.picture, {})],
        "POST /v1/datasets": [],
        "GET /v1/datasets/uploads/{upload_id}": [(of.uploads["dataset"], {})],
        "GET /v1/datasets": [],
        "GET /v1/datasets/{ref}": [(of.dataset, {})],
        "PATCH /v1/datasets/{ref}": [(of.dataset, {"json": {"captions": {of.picture: "another"}}})],
        "DELETE /v1/datasets/{ref}": [(of.dataset, {})],
        "POST /v1/trainings": [("", learned(of.dataset)), ("", learned(of.dataset, start=of.adapter))],
        "GET /v1/trainings": [(f"?before={of.training}", {})],
        "GET /v1/trainings/algorithms": [],
        "GET /v1/trainings/{training_id}": [(of.training, {}), (of.trained, {})],
        "GET /v1/trainings/{training_id}/events": [(of.training, {}), (of.trained, {})],
        "GET /v1/trainings/{training_id}/samples/{name}": [(of.training, {})],
        "POST /v1/trainings/{training_id}/publish": [(of.training, {"json": {"step": 1}})],
        "POST /v1/trainings/{training_id}/cancel": [(of.training, {}), (of.trained, {})],
        "DELETE /v1/trainings/{training_id}": [(of.training, {}), (of.trained, {})],
        "POST /v1/trainings/{training_id}/resume": [(of.training, {}), (of.trained, {})],
        "POST /v1/trainings/{training_id}/extend": [(of.training, {"json": {"steps": 9}})],
        # Too large besides: an adapter of one's own would be drawn with, and waited for
        "POST /openai/v1/images/generations": [("", {"json": {"prompt": "a", "size": "4096x64", "lora": of.adapter}})],
        "POST /openai/v1/images/edits": [("", {"data": {"prompt": "a", "size": "4096x64", "lora": of.adapter}})],
        "POST /mcp": [],  # tests/app/faces/test_mcp.py
        "GET /mcp": [],
        "DELETE /mcp": [],
        "GET /openai/v1/models": [],
        **_of_a1111(of.adapter),
        "GET /openai/v1/models/{name:path}": [(f"{MODEL}:{of.adapter}", {})],
        "POST /hf": [("", {"json": {"inputs": "a", "parameters": {"width": 4096, "lora": of.adapter}}})],
        "POST /hf/models/{model:path}": [
            (f"{MODEL}:{of.adapter}", {"json": {"inputs": "a", "parameters": {"width": 4096}}})
        ],
        "GET /v1/usage": [],
        **comfy(of),
        "POST /fal/run/{owner}/{app}": [
            ("radiata", {"json": {"prompt": "a", "image_size": wide, "loras": [{"path": of.adapter}]}})
        ],
        "POST /fal/run/{owner}/{app}/stream": [],  # by the same function
        "POST /fal/queue/{owner}/{app}": [],
        "GET /fal/queue/{owner}/{app}/requests/{generation_id}/status": [],
        "GET /fal/queue/{owner}/{app}/requests/{generation_id}/status/stream": [],
        "GET /fal/queue/{owner}/{app}/requests/{generation_id}": [],
        "PUT /fal/queue/{owner}/{app}/requests/{generation_id}/cancel": [],
        "POST /replicate/v1/predictions": [
            ("", {"json": {"version": "0" * 64, "input": {"prompt": "a", "width": 4096, "adapters": [of.adapter]}}})
        ],
        "POST /replicate/v1/models/{owner}/{name}/predictions": [],  # by the same function
        "POST /replicate/v1/deployments/{owner}/{name}/predictions": [],
        "GET /replicate/v1/predictions": [(f"?cursor={of.generation}", {})],
        "GET /replicate/v1/predictions/{generation_id}": [(of.generation, {}), (of.ended, {})],
        "POST /replicate/v1/predictions/{generation_id}/cancel": [(of.generation, {}), (of.ended, {})],
        "GET /replicate/v1/predictions/{generation_id}/stream": [(of.generation, {}), (of.ended, {})],
        "GET /replicate/v1/models": [],
        "GET /replicate/v1/models/{owner}/{name}": [],
        "GET /replicate/v1/models/{owner}/{name}/versions": [],
        "GET /replicate/v1/models/{owner}/{name}/versions/{version_id}": [],
        "GET /v1/webhooks": [],
        "GET /v1/webhooks/secret": [],
        "POST /v1/webhooks/{generation_id}/redeliver": [(of.ended, {})],
        "OPTIONS /v1/uploads": [],
        "GET /v1/uploads": [],
        "POST /v1/uploads/adapters": [("", tus(name="a", cover=of.picture))],
        "POST /v1/uploads/datasets": [],
        "GET /v1/uploads/{upload_id}": [(of.parts, {}), (of.uploads["adapter"], {})],
        "PATCH /v1/uploads/{upload_id}": [(of.parts, tus() | {"content": b"x"})],
        "DELETE /v1/uploads/{upload_id}": [(of.parts, tus()), (of.uploads["dataset"], tus())],
        "GET /v1/session": [],  # of whoever asks
        "GET /v1/models": [],  # the same for all
        "GET /v1/workers": [],  # for admins, who see what each is at
        "GET /metrics": [],
    }


NOTHING = Belongings(
    generation=NOBODYS,
    ended=NOBODYS,
    picture=f"image:{NOBODYS}{NOBODYS}",
    dataset=f"dataset:{NOBODYS}{NOBODYS}",
    training=NOBODYS,
    trained=NOBODYS,
    fetching=NOBODYS,
    parts=NOBODYS,
    uploads={"adapter": NOBODYS, "picture": NOBODYS, "dataset": NOBODYS, "recipe": NOBODYS},
    adapter="nothing",
    sha256=NOBODYS + NOBODYS,
)
