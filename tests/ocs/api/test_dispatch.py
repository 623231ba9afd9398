"""Operations are found as FastAPI would find them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match

from ocs.api import payment_webhook, public, receipts
from ocs.api.dispatch import RouteTable
from ocs.api.routes import operations

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
ROUTES: list[BaseRoute] = [
    *public.router.routes,
    *receipts.router.routes,
    *payment_webhook.router.routes,
    *operations(),
]
"""In the order in which FastAPI tries them."""


def first_match(method: str, path: str) -> tuple[BaseRoute, dict[str, str]] | None:
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    for route in ROUTES:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return route, found["path_params"]
    return None


def paths() -> Iterator[str]:
    """Each route's path, its parameters filled with a text and with each fixed segment of all paths at that place."""
    split = [route.path.split("/") for route in ROUTES if isinstance(route, APIRoute)]
    fixed = {(at, each) for segments in split for at, each in enumerate(segments) if not each.startswith("{")}
    for segments in split:
        filled = [[each] if not each.startswith("{") else ["x"] for each in segments]
        yield "/".join(choice[0] for choice in filled)
        for at, each in enumerate(segments):
            if each.startswith("{"):
                for text in (name for place, name in fixed if place == at):
                    yield "/".join([*(one[0] for one in filled[:at]), text, *(one[0] for one in filled[at + 1 :])])


def test_every_path_leads_to_the_route_of_fastapi() -> None:
    table, dispatched = RouteTable(operations()), 0
    for path in paths():
        for method in METHODS:
            expected, found = first_match(method, path), table.find(method, path)
            if found is not None:
                target, parameters = found
                assert expected == (target.route, parameters), (method, path)
                dispatched += 1
            elif expected is not None:
                assert expected[0] not in list(operations()), (method, path)
    assert dispatched >= len(list(operations()))


@pytest.mark.parametrize(
    "path",
    ["", "/", "//", "/v1", "/v1/", "/v1/accounts//balance", "/v1/accounts/1/balance/", "/v1/accounts/1/balance/2", "x"],
)
def test_other_paths_are_left_to_fastapi(path: str) -> None:
    assert RouteTable(operations()).find("GET", path) is None
