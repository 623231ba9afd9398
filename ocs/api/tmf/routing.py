"""Routes of TM Forum's APIs: as all others, but errors have the form of TMF630."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from ocs.api.operation_route import Handler, OperationRoute
from ocs.api.problems import MEDIA_TYPE

PREFIX = "/tmf-api/"
_OWN = frozenset({"content-length", "content-type"})


def tmf_router(api: str, tag: str) -> APIRouter:
    """`api`: such as "usageManagement/v4"."""
    return APIRouter(prefix=f"{PREFIX}{api}", tags=[tag], route_class=TmfRoute)


class TmfRoute(OperationRoute):
    """A route whose problems become TMF630 errors."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            response = await handle(request)
            return tmf_error(response, str(request.base_url)) if response.media_type == MEDIA_TYPE else response

        return handled


def tmf_error(response: Response, base_url: str) -> Response:
    """The error of TMF630 §2.3: `code` is that of the problem, `referenceError` leads to what it means."""
    problem = orjson.loads(response.body)
    mistakes = [f"{each['where']}: {each['detail']}" for each in problem.get("errors", ())]
    body = {
        "@type": "Error",
        "code": problem["code"],
        "reason": problem["title"],
        "message": f"{'; '.join(mistakes) or problem['detail']}. {problem['action']}",
        "status": str(problem["status"]),
        "referenceError": f"{base_url.rstrip('/')}{problem['type']}",
    }
    headers = {name: value for name, value in response.headers.items() if name not in _OWN}
    return Response(orjson.dumps(body), response.status_code, headers, media_type="application/json")
