"""Every route × role × whose account: mechanically, so that a new route is covered when it is added (HOT-GRP-1, 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from ocs.api.rights import OPERATIONS, Role, Scope
from ocs.api.routes import operations
from ocs.values.moment import when_of
from tests.ocs.api.desk import BOSS, FOREIGN, GROUP, OWN, Desk
from tests.rules import rule

NOBODY = "38668299999"
FILLED = {"msisdn": OWN, "group": GROUP}
"""What stands for a parameter of a path; any other is "1"."""


def transfer(number: str) -> dict[str, Any]:
    amount = {"amount": 1, "units": "EUR"}
    ends = {"logicalResource": [{"id": OWN}], "receiverLogicalResource": {"id": number}}
    return {"amount": amount, **ends, "usageType": "monetary", "reason": "test"}


FOR_OTHERS = (Scope.OWN_ALONE, Scope.OWN_ORDERING)
"""Not for a member of a group that has no separate account."""
NOT_FOUND = ("account", "group")
OF_NO_ACCOUNT = {"tmf635.listUsageSpecification", "tmf635.retrieveUsageSpecification"}
NAMED: dict[str, Callable[[str], tuple[dict[str, str], dict[str, Any], str]]] = {
    "rate.ask": lambda number: ({}, {"msisdn": number}, ""),
    "tmf635.listUsage": lambda number: ({"relatedParty.id": number}, {}, ""),
    "tmf635.retrieveUsage": lambda number: ({}, {}, f"{number}.x"),
    "tmf654.listBucket": lambda number: ({"logicalResource.id": number}, {}, ""),
    "tmf654.retrieveBucket": lambda number: ({}, {}, f"{number}.credit"),
    "tmf654.listAccumulatedBalance": lambda number: ({"logicalResource.id": number}, {}, ""),
    "tmf654.retrieveAccumulatedBalance": lambda number: ({}, {}, f"{number}.monetary"),
    "tmf654.listTopupBalance": lambda number: ({"logicalResource.id": number}, {}, ""),
    "tmf654.retrieveTopupBalance": lambda number: ({}, {}, f"{number}.Ui8x"),
    "tmf654.createTransferBalance": lambda number: ({}, transfer(number), ""),
}
"""Operation → query, body and `id` that name a number."""


def calls() -> Iterator[tuple[APIRoute, str]]:
    for route in operations():
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield route, method


def path_of(route: APIRoute, **filled: str) -> str:
    names = route.param_convertors
    if "group" in names:  # its administrator cannot be removed
        filled = {"msisdn": BOSS, **filled}
    return route.path_format.format(**{name: {**FILLED, **filled}.get(name, "1") for name in names})


async def called(desk: Desk, route: APIRoute, method: str, role: Role, **filled: str) -> httpx.Response:
    """With an empty body: whoever may do it hears what is missing in it, at most."""
    more: dict[str, Any] = {"json": {}} if method in ("POST", "PUT", "PATCH") else {}
    return await desk.request(method, path_of(route, **filled), role, **more)


def is_told_nothing(answer: httpx.Response) -> bool:
    return answer.status_code == 404 and answer.json()["code"] in NOT_FOUND


async def test_every_operation_has_a_route_and_every_route_an_operation(desk: Desk) -> None:
    names = [route.operation_id or "" for route, _ in calls()]
    assert len(names) == len(set(names)), "an operation has one route"
    assert set(names) == set(OPERATIONS)
    document = (await desk.client.get("/openapi.json")).json()
    served = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert sorted(served) == sorted(names)


@pytest.mark.parametrize("role", Role)
async def test_each_role_may_do_what_the_table_says_and_nothing_else(desk: Desk, role: Role) -> None:
    for route, method in calls():
        scope = OPERATIONS[route.operation_id or ""].grants.get(role)
        answer = await called(desk, route, method, role)
        what = f"{role} {method} {route.path}: {answer.status_code} {answer.text[:200]}"
        if scope in (None, *FOR_OTHERS):  # OWN is a member of a group
            assert answer.status_code == 403 and answer.json()["code"] == "forbidden", what
        else:
            assert answer.status_code not in (401, 403, 500) and not is_told_nothing(answer), what


@rule("HOT-GRP-1")
@pytest.mark.parametrize("role", [Role.GROUP_ADMIN, Role.MEMBER])
async def test_a_bound_role_sees_nothing_of_foreign_accounts(desk: Desk, role: Role) -> None:
    """A foreign account looks like one that does not exist, octet by octet."""
    for route, method in calls():
        if role not in OPERATIONS[route.operation_id or ""].grants:
            continue
        for name, foreign, missing in (("msisdn", FOREIGN, NOBODY), ("group", "G2", "G3")):
            if name not in route.param_convertors:
                continue
            answers = [await called(desk, route, method, role, **{name: each}) for each in (foreign, missing)]
            assert all(map(is_told_nothing, answers)), (role, method, route.path)
            texts = [
                {**answer.json(), "request_id": "", "detail": answer.json()["detail"].replace(each, "…")}
                for answer, each in zip(answers, (foreign, missing), strict=True)
            ]
            assert texts[0] == texts[1]


@rule("HOT-GRP-1")
@pytest.mark.parametrize("role", [Role.GROUP_ADMIN, Role.MEMBER])
async def test_a_number_outside_of_the_path_is_checked_too(desk: Desk, role: Role) -> None:
    """A route that a bound role may call, and whose path has no number and no group, names the number as NAMED says."""
    for route, method in calls():
        operation = OPERATIONS[route.operation_id or ""]
        if operation.grants.get(role, Scope.ALL) is Scope.ALL or {"msisdn", "group"} & set(route.param_convertors):
            continue
        name = route.operation_id or ""
        assert name in NAMED or name in OF_NO_ACCOUNT, f"{name}: where does it name the number?"
        for number in (FOREIGN, NOBODY) if name in NAMED else ():
            query, body, own_id = NAMED[name](number)
            path = route.path_format.format(id=own_id)
            more: dict[str, Any] = {"json": body} if body else {}
            answer = await desk.request(method, path, role, params=query, **more)
            assert is_told_nothing(answer), (role, name, number, answer.text)


@rule("HOT-GRP-1")
async def test_a_member_of_no_group_does_what_it_pays_for(desk: Desk) -> None:
    key = await desk.new_key(Role.MEMBER, FOREIGN)
    for route, method in calls():
        if OPERATIONS[route.operation_id or ""].grants.get(Role.MEMBER) in FOR_OTHERS:
            body: dict[str, Any] = {"json": {}} if method != "GET" else {}
            answer = await desk.request(method, path_of(route, msisdn=FOREIGN), key=key, **body)
            assert answer.status_code not in (401, 403, 500) and not is_told_nothing(answer), route.path


async def test_nothing_is_answered_without_a_key_in_force(desk: Desk) -> None:
    revoked, expired = await desk.new_key(Role.CARE), await desk.new_key(Role.CARE, days=1)
    now, keys = desk.backend.environment.now(), desk.app.state.keys
    assert await keys.revoke(revoked.split("_")[1])
    stored = await desk.ledger.api_key(expired.split("_")[1])
    noted = [(each.body["op"], each.body["key"]) for each in await desk.events("api")]
    assert ("keys.create", expired.split("_")[1]) in noted and ("keys.revoke", revoked.split("_")[1]) in noted
    assert stored is not None and stored.expires_at == pytest.approx(now + 86_400, abs=5)
    good = desk.keys[Role.CARE]
    wrong = ["", "x", "ocs_", "ocs_1_2", good[:-1], good + "x", good.upper(), revoked, f"ocs_{'0' * 12}_{good[17:]}"]
    for route, method in calls():
        for key in wrong if route.operation_id == "accounts.read" else ["", revoked]:
            answer = await desk.request(method, path_of(route), key=key)
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer", (route.path, key)


async def test_a_members_key_is_of_the_account_not_of_the_number(desk: Desk) -> None:
    """The number changes its owner: the key of the one before sees nothing of the next."""
    await desk.ledger.terminate_account(await desk.backend.accounts.find(OWN), **when_of(desk.backend.when()))
    await desk.open(OWN)
    answer = await desk.get(f"/v1/accounts/{OWN}", Role.MEMBER)
    assert is_told_nothing(answer)
