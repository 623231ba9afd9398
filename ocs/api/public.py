"""What needs no key: health, the list of problems, the OpenAPI document and its page, which need no network."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from ocs.api import openapi
from ocs.api.container import Container
from ocs.api.problems import KINDS, ProblemError
from ocs.ledger.contract.errors import LedgerUnavailable

router = APIRouter(include_in_schema=False)
ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of Swagger UI (Apache-2.0), as packaged by fastapi_offline."""
ASSET_FOLDER = "fastapi_offline"
START = """\
SwaggerUIBundle({url: "/openapi.json", dom_id: "#page", validatorUrl: null, deepLinking: true, tryItOutEnabled: false});
"""
PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>ocs API</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
POLICY = {"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"}
"""Nothing from elsewhere: the page works without the internet."""


@router.get("/health")
async def health(request: Request) -> Response:
    """200 while the ledger answers, else 503."""
    container: Container = request.app.state.container
    try:
        await container.backend.ledger.installed()
    except LedgerUnavailable:
        return JSONResponse({"status": "unavailable", "ledger": False}, 503, headers={"Retry-After": "1"})
    return JSONResponse({"status": "ok", "ledger": True})


@router.get("/problems")
async def problems() -> Response:
    """All kinds of problems, by code."""
    return JSONResponse(openapi.problem_list())


@router.get("/problems/{code}")
async def problem(code: str) -> Response:
    """One kind of problem."""
    if code not in KINDS:
        raise ProblemError("no_route", f"there is no problem {code!r}")
    return JSONResponse(openapi.problem_list()[code])


@router.get("/docs")
async def page() -> Response:
    """The documentation of the API."""
    return HTMLResponse(PAGE, headers=POLICY)


@router.get("/docs/start.js")
async def start() -> Response:
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    if name not in ASSETS:
        raise ProblemError("no_route", "there is no such file")
    content = files(ASSET_FOLDER).joinpath("static", name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers={"Cache-Control": "max-age=86400"})


def serve_document(app: FastAPI, version: str) -> None:
    """`/openapi.json`."""

    def made() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = openapi.document(app, version)
        return app.openapi_schema

    app.openapi = made  # type: ignore[method-assign]
