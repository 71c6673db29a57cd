"""The order of what stands around the routes: the last one added is the first that a request meets."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.http.standing import FIELDS
from app.middleware.body_cap import BodyCap
from app.middleware.docs_policy import DocsPolicy
from app.middleware.face_errors import FaceErrors
from app.middleware.forwarded import Forwarded
from app.middleware.guard import Guard
from app.middleware.head import Head
from app.middleware.hosts import Hosts
from app.middleware.origins import Origins
from app.middleware.rates import Rates
from app.middleware.request_ids import HEADER, RequestIds
from app.middleware.safe_headers import SafeHeaders
from app.middleware.traces import Traces
from app.shared.settings import Settings

EXPOSED = (
    *(HEADER, "Location", "ETag", "Retry-After", "Content-Range", "Content-Disposition", "WWW-Authenticate"),
    *FIELDS,
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    *("Upload-Offset", "Upload-Length", "Upload-Expires"),
)


def surround(app: FastAPI, settings: Settings) -> None:
    """Put everything around `app`."""
    app.add_middleware(DocsPolicy)
    app.add_middleware(Traces)
    app.add_middleware(
        BodyCap,
        upload_mb=settings.max_upload_mb,
        image_mb=settings.max_image_mb,
        dataset_mb=settings.max_dataset_mb,
        bodies_mb=settings.max_bodies_mb,
    )
    app.add_middleware(Rates)  # of whom the next one knows
    app.add_middleware(
        Guard, is_open=settings.open
    )  # before a body is read, and behind what a page of another site cannot pass
    app.add_middleware(Head)
    app.add_middleware(Origins, allowed=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    app.add_middleware(FaceErrors)
    app.add_middleware(Forwarded, root_path=settings.root_path, trusted=settings.trusted_proxies)
    app.add_middleware(Hosts, names=settings.allowed_hosts)  # before a proxy's word for it: a page can forge that one
    app.add_middleware(SafeHeaders)
    app.add_middleware(RequestIds)
