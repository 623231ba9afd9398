"""How each route is called: key, rate, rights, account of the path, repetition; then the route; then the audit trail.

Everything that fails becomes a problem (`ocs.api.problems`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from ocs.accounts import inputs
from ocs.accounts.errors import AccountError, UnknownError
from ocs.api import problems, trail
from ocs.api.call import Call
from ocs.api.container import Container
from ocs.api.keys import ApiKeys
from ocs.api.looker import Looker, Seen
from ocs.api.problems import ProblemError
from ocs.api.repetitions import HEADER, REPLAYED, Repetition, again
from ocs.api.rights import OPERATIONS, Operation, Role, Scope
from ocs.api.turns import WAITS_ELSEWHERE, Turns
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView
from ocs.telemetry.logs import describe
from ocs.values.actor import ACTOR
from ocs.values.moment import when_of

log = logging.getLogger(__name__)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
CHALLENGE = {"WWW-Authenticate": "Bearer"}
RETRY_AFTER = str(problems.RETRY_AFTER_S)


def router(prefix: str, tag: str) -> APIRouter:
    """A router of operations. `prefix` begins with /v1; each route names its operation by `operation_id`."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=OperationRoute)


class OperationRoute(APIRoute):
    """A route whose `operation_id` is in `rights.OPERATIONS`."""

    def get_route_handler(self) -> Handler:
        name = self.operation_id or ""
        if name not in OPERATIONS:
            raise AssertionError(f"{self.path}: operation {name!r} has no entry in ocs/api/rights.py")
        operation, handle = OPERATIONS[name], super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                turns: Turns = request.app.state.turns
                repetition = await _prepared(request, operation)
                is_whole = repetition is not None or not request.scope["state"]["has_body"]
                async with turns:
                    call = await _admitted(request, name, operation, repetition)
                    if is_whole and name not in WAITS_ELSEWHERE:
                        return await _carried_out(call, request, handle)
                if not is_whole:
                    await _read_body(request)
                if name in WAITS_ELSEWHERE:
                    return await _carried_out(call, request, handle)
                async with turns:
                    return await _carried_out(call, request, handle)
            except Exception as error:  # noqa: BLE001 - each becomes an answer
                return failed(error, request.scope["state"]["request_id"])

        return handled


def failed(error: Exception, request_id: str) -> Response:
    """The answer to a request that failed. What nobody expects is logged."""
    response = problems.answer(error, request_id)
    if response.status_code == 500:
        log.error("internal error in request %s of the API, please report it: %s", request_id, describe(error))
    return response


# -- before the route


async def _prepared(request: Request, operation: Operation) -> Repetition | None:
    """The request by its Idempotency-Key, to be begun with the first look: of a key that was in force a moment ago, if
    all that is known without a look permits it. None: what is wrong is found in its turn.
    """
    if not operation.once:
        return None
    container: Container = request.app.state.container
    keys: ApiKeys = request.app.state.keys
    key = keys.known(_key_text(request))
    if key is None or Role(key.role) not in operation.grants or not container.is_current():
        return None
    if not container.limits.has_token(key.id):
        return None
    try:
        await _read_body(request)
        return await Repetition.of(container.backend.ledger, key, request)
    except ProblemError:
        return None


async def _admitted(request: Request, name: str, operation: Operation, repetition: Repetition | None) -> Call:
    """The call, if its key may do the operation. ProblemError, AccountError."""
    container: Container = request.app.state.container
    seen = await _looked(request, repetition)
    began = repetition if seen.begun and seen.kept is None else None
    try:
        call = _call(container, request, name, operation, seen)
        if seen.begun:
            call.repetition, call.kept = repetition, seen.kept
        await _check(call, request)
    except (ProblemError, AccountError, LedgerError):
        if began is not None:
            await began.undo()
        raise
    ACTOR.set(f"key:{call.key.id}")
    request.scope["state"]["call"] = call
    return call


def _call(container: Container, request: Request, name: str, operation: Operation, seen: Seen) -> Call:
    """ProblemError "unauthenticated", "rate"."""
    key = seen.key
    if key is None:
        raise ProblemError("unauthenticated", "the request has no key that is in force", CHALLENGE)
    if wait_s := container.limits.wait_s(key.id):
        raise ProblemError("rate", "the key has sent too many requests", {"Retry-After": str(int(wait_s) + 1)})
    role = Role(key.role)
    scope = operation.grants.get(role) or Scope.OWN
    return Call(container, request.scope["state"]["request_id"], name, operation, key, role, scope, first=seen.first)


async def _check(call: Call, request: Request) -> None:
    """The key may do the operation here and now. ProblemError, UnknownError."""
    operation = call.operation
    try:
        if call.role not in operation.grants:
            raise ProblemError("forbidden", f"the role {call.role} may not do {call.name}")
        await _check_path(call, request)
    except (ProblemError, UnknownError) as error:
        if operation.changes:
            await trail.note(call, problems.answer(error, call.request_id).status_code, None, None)
        raise
    if operation.changes and not call.container.is_current():
        raise ProblemError("stale", "the catalogue's versions could not be looked at", {"Retry-After": RETRY_AFTER})


async def _read_body(request: Request) -> None:
    """What comes of it is kept. ProblemError: "media_type", "slow", "too_large"."""
    if await request.body() and not _is_json(request):
        raise ProblemError("media_type", "the body is not said to be JSON")


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


async def _looked(request: Request, repetition: Repetition | None) -> Seen:
    """The key, and what is found of the number in the path."""
    looker: Looker = request.app.state.looker
    return await looker.look(_key_text(request), request.path_params.get("msisdn", ""), repetition)


def _key_text(request: Request) -> str:
    """The key that was sent; "" = none."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


async def _check_path(call: Call, request: Request) -> None:
    """The account or the group of the path is one that the key may see."""
    if text := request.path_params.get("msisdn"):
        msisdn = inputs.msisdn(text)
        await call.may_see(msisdn)
        call.account_id = await call.find(msisdn) or ""
    if group := request.path_params.get("group"):
        call.may_see_group(group)


# -- the route


async def _carried_out(call: Call, request: Request, handle: Handler) -> Response:
    if not call.operation.once:
        response, noting = await _done(call, lambda: handle(request))
        await noting
        return response
    if call.repetition is None:
        call.repetition = await Repetition.of(call.backend.ledger, call.key, request)
        call.kept = await call.repetition.before()
    repetition, kept = call.repetition, call.repetition.checked(call.kept)
    call.idempotency_key = request.headers[HEADER]
    call.repeated = kept is not None
    if kept is not None and kept.answer is not None:
        call.replayed, first = True, again(kept.answer)
        response, noting = await _done(call, lambda: _just(first))
        await noting
        return response
    response, noting = await _done(call, lambda: handle(request))
    try:  # the note has been sent: the answer leaves with it
        return await repetition.keep(response, replayed=call.replayed)
    finally:
        await noting


async def _just(response: Response) -> Response:
    return response


async def _done(call: Call, work: Callable[[], Awaitable[Response]]) -> tuple[Response, Awaitable[None]]:
    """Carry the call out, and note it in the audit trail; await the note before the answer is sent."""
    before = await _before(call) if call.operation.changes else None
    try:
        response = await work()
    except Exception as error:  # noqa: BLE001 - the answer is noted as any other
        response = failed(error, call.request_id)
    if call.replayed and not call.operation.once:
        response.headers[REPLAYED] = "true"
    if not trail.is_noted(call):
        return response, _nothing()
    after = await _after(call) if call.operation.changes and response.status_code < 300 else before
    if before is not None and before.account_id != call.account_id:
        before = None  # the number has another account since the operation
    return response, trail.note(call, response.status_code, before, after)


async def _nothing() -> None:
    pass


async def _before(call: Call) -> AccountView | None:
    try:
        view = call.first.view(when_of(call.backend.when())) if call.first is not None else None
    except LedgerError:
        return None
    return await _view(call) if view is None else view


async def _after(call: Call) -> AccountView | None:
    return await _view(call) if call.after is None else call.after


async def _view(call: Call) -> AccountView | None:
    """The account now; None = there is none (yet), or it cannot be read."""
    if not call.account_id:
        return None
    try:
        return await call.backend.ledger.read(call.account_id, **call.backend.when())
    except (AccountError, LedgerError):
        return None
