"""The application: routes, errors, CORS. `create` makes it of a container; it opens nothing by itself."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from ocs.api import payment_webhook, public, receipts
from ocs.api.container import Container
from ocs.api.dispatch import Dispatch, RouteTable
from ocs.api.frame import Frame
from ocs.api.keys import ApiKeys
from ocs.api.looker import Looker
from ocs.api.operation_route import failed
from ocs.api.problems import ProblemError
from ocs.api.repetitions import HEADER, REPLAYED
from ocs.api.routes import operations, routers
from ocs.api.turns import Turns

CORS_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CORS_MAX_AGE_S = 600


def create(container: Container, version: str = "0") -> FastAPI:
    """The API. AssertionError: a route has no entry in `rights.OPERATIONS`."""
    app = FastAPI(
        title="ocs",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # behind a proxy it would lead to plain HTTP, with the key
    )
    app.state.container = container
    ledger = container.backend.ledger
    app.state.turns = Turns()
    app.state.keys = ApiKeys(ledger, container.backend.environment.now)
    app.state.looker = Looker(ledger, app.state.keys)
    for kind in (HTTPException, RequestValidationError, ProblemError):
        app.add_exception_handler(kind, _answer)
    app.include_router(public.router)
    app.include_router(receipts.router)
    app.include_router(payment_webhook.router)
    for router in routers():
        app.include_router(router)
    public.serve_document(app, version)
    app.add_middleware(Dispatch, table=RouteTable(operations()))
    if origins := container.settings.api.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=CORS_METHODS,
            allow_headers=["Authorization", "Content-Type", HEADER, "X-Request-Id"],
            expose_headers=[REPLAYED, "X-Request-Id", "Retry-After"],
            max_age=CORS_MAX_AGE_S,
        )
    app.add_middleware(Frame, container=container)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    response = failed(error, request.scope["state"]["request_id"])
    if response.status_code == 405:
        response.headers["Allow"] = ", ".join(_allowed(request.url.path)) or response.headers.get("Allow", "GET")
    return response


def _allowed(path: str) -> list[str]:
    """Methods of the path's resource (RFC 9110 §15.5.6): that with the fewest parameters, if several match."""
    found = [route for route in operations() if route.path_regex.match(path)]
    fewest = min((len(route.param_convertors) for route in found), default=0)
    own = (route.methods or set() for route in found if len(route.param_convertors) == fewest)
    return sorted(set[str]().union(*own))
