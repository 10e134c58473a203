"""The live page's HTTP surface: read-only, no login, no foreign host. Every answer comes from memory.

Nothing here writes to equipment or to disk; only GET and HEAD exist.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.clock import Clock
from controller.errors import RunError
from controller.web import metrics, snapshot
from controller.web.events import EventFeed
from controller.web.view import LiveView

# Inline styles: plotly positions its elements by style attributes. Everything else comes from this server only.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class SecurityHeaders:
    """Adds the security headers to every answer, errors included; plain ASGI so that streams stay streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


@dataclass(slots=True)
class StaticFiles:
    """The page's files from memory. Plotly's 4.8 MB are read at their first request, not at start-up."""

    _loaded: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Bytes and ETag, or None when there is no such file."""
        if name not in self._loaded:
            if name == "plotly.min.js":
                body = plotly_js().read_bytes()
            elif name in PAGE_FILES:
                body = files("controller.web").joinpath("static", name).read_bytes()
            else:
                return None
            self._loaded[name] = (body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        return self._loaded[name]


def plotly_js() -> Path:
    """Where the installed plotly package keeps plotly.min.js; found without importing the package."""
    spec = importlib.util.find_spec("plotly")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(root, "package_data", "plotly.min.js")
        if path.is_file():
            return path
    raise RunError("plotly.min.js was not found in the installed plotly package", "reinstall celltwin's dependencies")


def create_app(view: LiveView, clock: Clock, feed_options: dict[str, Any] | None = None) -> Starlette:
    """The ASGI application over `view`. `app.state.feed.close()` ends the event streams (serve does it)."""

    def render_state() -> bytes:
        return json.dumps(snapshot.state(view, clock.now_ns(), clock.speed), separators=(",", ":")).encode()

    feed = EventFeed(view, render_state, **(feed_options or {}))
    routes = [
        *_api_routes(view, render_state, feed),
        *_health_routes(view, clock),
        *_page_routes(StaticFiles()),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)])
    app.state.feed = feed
    return app


def _api_routes(view: LiveView, render_state: Callable[[], bytes], feed: EventFeed) -> list[Route]:
    async def state(_: Request) -> Response:
        return Response(render_state(), media_type="application/json", headers={"cache-control": "no-store"})

    async def channel(request: Request) -> Response:
        device = request.query_params.get("device") or snapshot.first_device(view, "channel")
        found = snapshot.channel(view, device, request.path_params["n"]) if device else None
        return _json_or_404(found, f"no data of channel {request.path_params['n']} of {device or 'any rack'}")

    async def coater(request: Request) -> Response:
        device = request.query_params.get("device") or snapshot.first_device(view, "coater")
        found = snapshot.coater(view, device) if device else None
        return _json_or_404(found, f"no data of {device or 'any coater'}")

    async def stream(_: Request) -> Response:
        if feed.full:
            return JSONResponse({"error": "too many open pages"}, 503, headers={"retry-after": "5"})
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(feed.client(), media_type="text/event-stream", headers=headers)

    return [
        Route("/api/state", state),
        Route("/api/channel/{n:int}", channel),
        Route("/api/coater", coater),
        Route("/api/stream", stream),
    ]


def _health_routes(view: LiveView, clock: Clock) -> list[Route]:
    registry = metrics.registry_of(view, clock)

    async def livez(_: Request) -> Response:
        return JSONResponse({"live": True}, headers={"cache-control": "no-store"})

    async def readyz(_: Request) -> Response:
        missing = view.not_ready()
        body = {"ready": not missing, "not_ready": missing}
        return JSONResponse(body, 503 if missing else 200, headers={"cache-control": "no-store"})

    async def scrape(_: Request) -> Response:
        headers = {"content-type": metrics.CONTENT_TYPE, "cache-control": "no-store"}
        return Response(metrics.exposition(registry), headers=headers)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", scrape)]


def _page_routes(static: StaticFiles) -> list[Route]:
    def answer(request: Request, name: str) -> Response:
        found = static.get(name)
        if found is None:
            return JSONResponse({"error": f"no file {name}"}, 404)
        body, etag = found
        # Our own files change with an upgrade: the browser asks each time and gets a 304. Plotly is kept for a day.
        keep = "max-age=86400" if name == "plotly.min.js" else "no-cache"
        headers = {"etag": etag, "cache-control": keep}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        headers["content-type"] = PAGE_FILES.get(name, "text/javascript; charset=utf-8")
        return Response(body, headers=headers)

    async def index(request: Request) -> Response:
        return answer(request, "index.html")

    async def icon(request: Request) -> Response:
        return answer(request, "icon.svg")

    async def static_file(request: Request) -> Response:
        return answer(request, request.path_params["name"])

    return [Route("/", index), Route("/favicon.ico", icon), Route("/static/{name:str}", static_file)]


def _json_or_404(found: dict[str, Any] | None, missing: str) -> Response:
    headers = {"cache-control": "no-store"}
    if found is None:
        return JSONResponse({"error": missing}, 404, headers=headers)
    return JSONResponse(found, headers=headers)
