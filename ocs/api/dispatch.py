"""Finds the operation of a request by the segments of its path, instead of trying all routes one after the other.

What is found here is what FastAPI's own search finds; what is not (another method, an unknown path, pages without a
key) is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(slots=True)
class Node:
    """What may follow some segments of a path."""

    segments: dict[str, Node] = field(default_factory=dict)
    parameter: Node | None = None
    """Of a segment of any text."""
    routes: dict[str, Target] = field(default_factory=dict)
    """By method, of paths that end here."""


@dataclass(frozen=True, slots=True)
class Target:
    route: APIRoute
    app: ASGIApp
    names: tuple[str, ...]
    """Of the parameters, in their order."""


class RouteTable:
    """Routes by segments. A fixed segment goes before a parameter, whatever the order of the routes."""

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        self._root = Node()
        for route in routes:
            self._add(route)

    def _add(self, route: APIRoute) -> None:
        node, names = self._root, []
        for segment in route.path.split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or Node()
                node = node.parameter
            else:
                assert "{" not in segment, f"{route.path}: a parameter must be a whole segment"
                node = node.segments.setdefault(segment, Node())
        assert all(":" not in name for name in names), f"{route.path}: parameters are texts"
        target = Target(route, AsyncExitStackMiddleware(route.app), tuple(names))
        for method in route.methods or ():
            assert method not in node.routes, f"{method} {route.path}: there are two such routes"
            node.routes[method] = target

    def find(self, method: str, path: str) -> tuple[Target, dict[str, str]] | None:
        """The operation and its parameters."""
        found = _find(self._root, path.split("/"), 0, method, ())
        if found is None:
            return None
        target, values = found
        return target, dict(zip(target.names, values, strict=True))


def _find(
    node: Node, segments: list[str], at: int, method: str, values: tuple[str, ...]
) -> tuple[Target, tuple[str, ...]] | None:
    if at == len(segments):
        target = node.routes.get(method)
        return None if target is None else (target, values)
    segment = segments[at]
    following = node.segments.get(segment)
    if following is not None and (found := _find(following, segments, at + 1, method, values)) is not None:
        return found
    if node.parameter is not None and segment:
        return _find(node.parameter, segments, at + 1, method, (*values, segment))
    return None


class Dispatch:
    """Middleware: calls the operation, or the application for all else."""

    def __init__(self, app: ASGIApp, table: RouteTable) -> None:
        self._app, self._table = app, table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._table.find(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        target, scope["path_params"] = found
        scope["route"], scope["endpoint"] = target.route, target.route.endpoint
        await target.app(scope, receive, send)
