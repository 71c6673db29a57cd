"""Which scope each route needs: every route has a line here, and one without it is for `admin` alone.

Open to all, also where every request needs a key:

- `/healthz`, because whoever starts a process anew when it does not answer has no key; it says that it answers.
- `/readyz`, for the same reason; where keys are needed it says whether, and neither which models nor why not.
- the page and its files, which ask for the key and hold nothing of anybody's.
- `POST` and `DELETE /v1/session`, which take the key, and forget the session.
"""

from collections.abc import Sequence
from re import Pattern
from typing import Any

from app.shared.wire.key import SCOPES, Scope

Rule = frozenset[Scope] | None  # a key with one of these scopes; None is open to all

OPEN: Rule = None
ANY: Rule = frozenset(SCOPES)
DRAW: Rule = frozenset(("draw",))
UPLOAD: Rule = frozenset(("upload",))
TRAIN: Rule = frozenset(("train",))
ADMIN: Rule = frozenset(("admin",))
SENDS_PICTURES: Rule = frozenset(("draw", "upload"))  # to draw from, and as the cover of an adapter
SENDS_FILES: Rule = frozenset(("upload", "train"))  # adapters, and datasets

# Routes of A1111's API (`app/faces/a1111`)
A1111_DRAWS = (
    *("txt2img", "img2img", "interrupt", "skip", "options", "png-info"),
    *("extra-single-image", "extra-batch-images", "interrogate"),
)
A1111_REFRESHES = ("refresh-loras", "refresh-checkpoints", "refresh-vae", "refresh-embeddings", "reload-checkpoint")
A1111_LISTS = (
    *("options", "sd-models", "samplers", "schedulers", "loras", "lora", "embeddings", "upscalers", "sd-vae"),
    *("latent-upscale-modes", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "scripts"),
    *("artist-categories", "artists", "extensions", "script-info", "loaded-loras", "cmd-flags", "memory"),
)
CONTROLNET_LISTS = ("version", "settings", "model_list", "module_list", "control_types")

RULES: dict[str, Rule] = {
    "POST /v1/generations": DRAW,
    "POST /v1/generations/batch": DRAW,
    "GET /v1/generations": DRAW,
    "GET /v1/generations/{generation_id}": DRAW,
    "POST /v1/generations/{generation_id}/cancel": DRAW,
    "DELETE /v1/generations/{generation_id}": DRAW,
    "PATCH /v1/generations/{generation_id}": DRAW,
    "GET /v1/generations/{generation_id}/events": DRAW,
    "POST /v1/adapters": UPLOAD,
    "POST /v1/adapters/uploads/{upload_id}": UPLOAD,
    "GET /v1/adapters/uploads/{upload_id}": UPLOAD,
    "DELETE /v1/adapters/uploads/{upload_id}": UPLOAD,
    "GET /v1/adapters": ANY,
    "GET /v1/adapters/{ref}": ANY,
    "GET /v1/adapters/{ref}/file": ANY,
    "PATCH /v1/adapters/{name}": UPLOAD,
    "DELETE /v1/adapters/{name}": UPLOAD,
    "POST /v1/images": SENDS_PICTURES,
    "POST /v1/images/recipe": DRAW,
    "GET /v1/images/recipe/{upload_id}": DRAW,
    "POST /v1/images/{ref}/preprocess": DRAW,
    "GET /v1/images/uploads/{upload_id}": SENDS_PICTURES,
    "GET /v1/images/{key:path}": ANY,
    "DELETE /v1/images/{ref}": SENDS_PICTURES,
    "POST /v1/datasets": TRAIN,
    "GET /v1/datasets/uploads/{upload_id}": TRAIN,
    "GET /v1/datasets": TRAIN,
    "GET /v1/datasets/{ref}": TRAIN,
    "PATCH /v1/datasets/{ref}": TRAIN,
    "DELETE /v1/datasets/{ref}": TRAIN,
    "POST /v1/trainings": TRAIN,
    "GET /v1/trainings": TRAIN,
    "GET /v1/trainings/algorithms": TRAIN,
    "GET /v1/trainings/{training_id}": TRAIN,
    "GET /v1/trainings/{training_id}/events": TRAIN,
    "GET /v1/trainings/{training_id}/samples/{name}": TRAIN,
    "DELETE /v1/trainings/{training_id}": TRAIN,
    "POST /v1/trainings/{training_id}/cancel": TRAIN,
    "POST /v1/trainings/{training_id}/publish": TRAIN,
    "POST /v1/trainings/{training_id}/resume": TRAIN,
    "POST /v1/trainings/{training_id}/extend": TRAIN,
    "GET /v1/webhooks": DRAW,
    "GET /v1/webhooks/secret": DRAW,
    "POST /v1/webhooks/{generation_id}/redeliver": DRAW,
    "OPTIONS /v1/uploads": ANY,
    "GET /v1/uploads": SENDS_FILES,
    "POST /v1/uploads/adapters": UPLOAD,
    "POST /v1/uploads/datasets": TRAIN,
    "GET /v1/uploads/{upload_id}": SENDS_FILES,
    "PATCH /v1/uploads/{upload_id}": SENDS_FILES,
    "DELETE /v1/uploads/{upload_id}": SENDS_FILES,
    "GET /v1/models": ANY,
    "GET /v1/usage": ANY,  # one's own
    "GET /v1/workers": ADMIN,  # they name what others draw
    "GET /v1/session": ANY,
    "POST /comfy/prompt": DRAW,
    "GET /comfy/history": DRAW,
    "GET /comfy/history/{prompt}": DRAW,
    "GET /comfy/queue": DRAW,
    "POST /comfy/queue": DRAW,
    "POST /comfy/interrupt": DRAW,
    "GET /comfy/view": DRAW,
    "POST /comfy/upload/image": SENDS_PICTURES,
    "POST /comfy/api/upload/image": SENDS_PICTURES,
    "GET /comfy/object_info": ANY,
    "GET /comfy/object_info/{kind}": ANY,
    "GET /comfy/embeddings": ANY,
    "GET /comfy/system_stats": ANY,
    "POST /comfy/api/v2/jobs": DRAW,
    "GET /comfy/api/v2/jobs": DRAW,
    "GET /comfy/api/v2/jobs/{job_id}": DRAW,
    "POST /comfy/api/v2/jobs/{job_id}/cancel": DRAW,
    "GET /comfy/api/v2/jobs/{job_id}/workflow": DRAW,
    "GET /comfy/api/v2/jobs/{job_id}/events": DRAW,
    "GET /comfy/api/v2/assets/by-hash/{digest}": SENDS_PICTURES,
    "POST /comfy/api/v2/assets/from-hash": SENDS_PICTURES,
    "POST /comfy/api/v2/assets": SENDS_PICTURES,
    "GET /comfy/api/v2/assets/{asset_id}": SENDS_PICTURES,
    "DELETE /comfy/api/v2/assets/{asset_id}": SENDS_PICTURES,
    "GET /comfy/api/v2/assets/{asset_id}/content": DRAW,
    "GET /comfy/ws": DRAW,  # a socket begins as a GET
    "POST /openai/v1/images/generations": DRAW,
    "POST /openai/v1/images/edits": DRAW,
    "GET /openai/v1/models": ANY,
    "GET /openai/v1/models/{name:path}": ANY,
    "POST /hf": DRAW,
    "POST /hf/models/{model:path}": DRAW,
    **dict.fromkeys((f"POST /sdapi/v1/{path}" for path in A1111_DRAWS), DRAW),
    "GET /sdapi/v1/progress": DRAW,
    **dict.fromkeys((f"POST /sdapi/v1/{path}" for path in A1111_REFRESHES), ANY),
    **dict.fromkeys((f"GET /sdapi/v1/{path}" for path in A1111_LISTS), ANY),
    **dict.fromkeys((f"GET /controlnet/{path}" for path in CONTROLNET_LISTS), ANY),
    "POST /controlnet/detect": DRAW,
    "POST /mcp": ANY,  # its tools need what they do
    "GET /mcp": ANY,
    "DELETE /mcp": ANY,
    "POST /fal/run/{owner}/{app}": DRAW,
    "POST /fal/run/{owner}/{app}/stream": DRAW,
    "POST /fal/queue/{owner}/{app}": DRAW,
    "GET /fal/queue/{owner}/{app}/requests/{generation_id}/status": DRAW,
    "GET /fal/queue/{owner}/{app}/requests/{generation_id}/status/stream": DRAW,
    "GET /fal/queue/{owner}/{app}/requests/{generation_id}": DRAW,
    "PUT /fal/queue/{owner}/{app}/requests/{generation_id}/cancel": DRAW,
    "POST /replicate/v1/predictions": DRAW,
    "POST /replicate/v1/models/{owner}/{name}/predictions": DRAW,
    "POST /replicate/v1/deployments/{owner}/{name}/predictions": DRAW,
    "GET /replicate/v1/predictions": DRAW,
    "GET /replicate/v1/predictions/{generation_id}": DRAW,
    "POST /replicate/v1/predictions/{generation_id}/cancel": DRAW,
    "GET /replicate/v1/predictions/{generation_id}/stream": DRAW,
    "GET /replicate/v1/models": ANY,
    "GET /replicate/v1/models/{owner}/{name}": ANY,
    "GET /replicate/v1/models/{owner}/{name}/versions": ANY,
    "GET /replicate/v1/models/{owner}/{name}/versions/{version_id}": ANY,
    "POST /v1/session": OPEN,
    "DELETE /v1/session": OPEN,
    "GET /healthz": OPEN,
    "GET /readyz": OPEN,
    "GET /metrics": ADMIN,
    "GET /": OPEN,
    "GET /static/{version}/{name}": OPEN,
    "GET /openapi.json": ANY,
    "GET /static-offline-docs": ANY,
    "GET /docs": ANY,
    "GET /docs/oauth2-redirect": ANY,
    "GET /redoc": ANY,
}


# What a signed address (`app/links.py`) opens without a key
SIGNED = ("GET /v1/images/{key:path}", "GET /v1/trainings/{training_id}/samples/{name}")


class Permissions:
    """Finds the rule of a request. routes: those of the application, in its order."""

    def __init__(self, routes: Sequence[Any]) -> None:
        self._known: list[tuple[Pattern[str], dict[str, Rule]]] = [
            (one.path_regex, {method: RULES.get(f"{method} {one.path}", ADMIN) for method in methods_of(one)})
            for one in routes
        ]
        self._signed = [one.path_regex for one in routes if f"GET {one.path}" in SIGNED]

    def rule(self, method: str, path: str) -> Rule:
        """Which scopes it needs; any of them where there is no such route, which only who has a key is told."""
        for pattern, rules in self._known:
            if method in rules and pattern.match(path):
                return rules[method]
        return ANY

    def may_be_signed(self, method: str, path: str) -> bool:
        """Whether a signature behind it may open it."""
        return method == "GET" and any(one.match(path) for one in self._signed)


def methods_of(route: Any) -> list[str]:
    """The methods that a route answers, but for HEAD, which is GET; a mounted folder has GET alone."""
    return sorted(set(getattr(route, "methods", None) or ("GET",)) - {"HEAD"})
