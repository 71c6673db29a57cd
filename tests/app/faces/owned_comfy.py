"""How an owner names what is theirs on ComfyUI's face: for each route, paths and the rest of the request."""

from typing import Any

NAMELESS = (
    *("POST /comfy/queue", "POST /comfy/interrupt"),  # what is not there is no error
    *("GET /comfy/history", "GET /comfy/history/{prompt}", "GET /comfy/queue", "GET /comfy/ws"),
    *("POST /comfy/upload/image", "POST /comfy/api/upload/image"),
    *("GET /comfy/object_info", "GET /comfy/object_info/{kind}", "GET /comfy/embeddings", "GET /comfy/system_stats"),
    *("POST /comfy/api/v2/assets", "POST /comfy/api/v2/assets/from-hash", "GET /comfy/api/v2/assets/by-hash/{digest}"),
    *("POST /comfy/api/v2/jobs", "GET /comfy/api/v2/jobs/{job_id}/workflow"),  # which answers no graph to anybody
    "POST /comfy/prompt",  # as that of the generations that it makes
)


def comfy(of: Any) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Those of `tests/app/test_owners.py`'s Belongings."""
    drawn, sent = f"?filename={of.ended}_00000_.png", f"?filename={of.picture.removeprefix('image:')}.png"
    jobs, of_pixels = [(of.generation, {}), (of.ended, {})], of.picture.removeprefix("image:")
    return {
        **{route: [] for route in NAMELESS},
        "GET /comfy/view": [(drawn, {}), (sent, {})],
        "GET /comfy/api/v2/jobs": [(f"?cursor={of.generation}", {})],
        "GET /comfy/api/v2/jobs/{job_id}": jobs,
        "GET /comfy/api/v2/jobs/{job_id}/events": jobs,
        "POST /comfy/api/v2/jobs/{job_id}/cancel": jobs,
        "GET /comfy/api/v2/assets/{asset_id}": [(f"{of.ended}-0", {}), (of_pixels, {})],
        "GET /comfy/api/v2/assets/{asset_id}/content": [(f"{of.ended}-0", {}), (of_pixels, {})],
        "DELETE /comfy/api/v2/assets/{asset_id}": [(of_pixels, {})],
    }
