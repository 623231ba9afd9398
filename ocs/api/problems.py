"""Errors of the API (RFC 9457): what went wrong, a stable code for programs, and what to do.

A code is that of an AccountError or of the ledger's refusal, or one of the API's own. `/problems` lists them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ocs.accounts.errors import AccountError, InputError, UnknownError
from ocs.history.service import HistoryUnavailableError
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
MAX_ERRORS = 20
"""Mistakes of a request that are told."""

REPEAT = "Repeat the request with the same Idempotency-Key: it is done once."
CORRECT = "Correct the request and send it again."
_STATE = "Read the account (GET /v1/accounts/{msisdn}): `state` and `blocks` say why."


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem."""

    status: int
    title: str
    action: str


KINDS: dict[str, Kind] = {
    # the request
    "unauthenticated": Kind(401, "No valid key", "Send `Authorization: Bearer ocs_…` with a key that is in force."),
    "forbidden": Kind(
        403, "The key's role may not do this", "Use a key of a role that may; docs/API.md has the table."
    ),
    "rights": Kind(403, "The number may not order this itself", "Its group's administrator orders it (HOT-GRP-1)."),
    "invalid": Kind(422, "The request has mistakes", "`errors` names each mistake. " + CORRECT),
    "not_json": Kind(400, "The body is no JSON", "Send a JSON object with `Content-Type: application/json`."),
    "media_type": Kind(415, "The body has no type that is known", "Send JSON with `Content-Type: application/json`."),
    "no_route": Kind(404, "There is no such resource", "See /docs for the paths that there are."),
    "method": Kind(405, "The resource does not have this method", "See the header Allow, and /docs."),
    "slow": Kind(408, "The body did not come in time", "Send the request again."),
    "too_large": Kind(413, "The body is too large", "Send less at once."),
    "head_too_large": Kind(431, "Request line and headers are too large", "Send fewer or shorter headers."),
    "not_http": Kind(400, "The request is not HTTP", "Speak HTTP/1.1; HTTPS if the API has a certificate."),
    "connections": Kind(503, "The server has too many connections", "Close some, and repeat after Retry-After."),
    "rate": Kind(429, "Too many requests of this key", "Wait for the seconds of Retry-After, then repeat."),
    "cursor": Kind(422, "The cursor is none of ours", "Take `next` of the page before, or leave the cursor out."),
    "idempotency_key": Kind(
        422,
        "An Idempotency-Key is needed",
        "Send a header Idempotency-Key of 1 to 64 printable ASCII characters, new for each thing that is to be done.",
    ),
    "idempotency_reused": Kind(
        422,
        "The Idempotency-Key was used for another request",
        "Use a new one for this request; repeat the first request unchanged to get its answer.",
    ),
    # the server
    "unavailable": Kind(503, "The ledger is not available", "It is not known whether it was done. " + REPEAT),
    "overloaded": Kind(503, "The server has too much to do", "Nothing was done: repeat after Retry-After."),
    "stale": Kind(503, "The prices in force are not known", "Nothing was done: repeat later."),
    "history": Kind(503, "The history is not available", "Nothing was done: repeat later; charging goes on."),
    "internal": Kind(500, "An error of the server", "Report it with the request_id. " + REPEAT),
    "clock": Kind(503, "A clock of the server is off", "Nothing was done: repeat later; the operator must act."),
    # what was named does not exist
    "account": Kind(404, "There is no such account", "Check the MSISDN, and that the key may see it."),
    "unknown": Kind(404, "There is no such account", "Check the MSISDN, and that the key may see it."),
    "notice": Kind(404, "There is no such notice", "List the notices: old ones are deleted."),
    "session": Kind(404, "There is no such session", "List the sessions of the account: they may have ended."),
    "instance": Kind(404, "There is no such subscription", "List the subscriptions of the account."),
    # the account does not allow it
    "exists": Kind(409, "The number or the IMSI is taken", "Use another, or end the account that has it."),
    "opening": Kind(409, "The number is being opened now", "Repeat in a minute."),
    "ceiling": Kind(409, "The credit would exceed the ceiling", "Top up less (HOT-ACC-7)."),
    "nothing": Kind(409, "There is nothing to pay out", "Only credit that is refundable and not held is paid out."),
    "leaving": Kind(409, "An earlier change is not finished", "Repeat that change first."),
    "state": Kind(409, "The account's state does not allow it", _STATE),
    "credit": Kind(409, "The credit does not cover it", "Top up first."),
    "limit": Kind(409, "The spending limit leaves no room", "Raise the limit or wait for the next month (HOT-CC-1)."),
    "subscriptions": Kind(409, "The account has too many products", "Cancel one first."),
    "excluded": Kind(409, "The product excludes one of the account", "Cancel the other first (HOT-PKG-9)."),
    "barred": Kind(409, "It is not sold with this tariff", "Choose another product (HOT-PKG-9)."),
    "requires": Kind(409, "It needs another product", "Buy that one first; the catalogue names it."),
    "tariff": Kind(409, "It needs a running tariff", "Activate a tariff first (HOT-PKG-3)."),
    "measures": Kind(409, "The account has too many measures", "Lift one first."),
    "sessions": Kind(409, "Open sessions hold units of the pool", "End the account's sessions first."),
    "pool_unknown": Kind(409, "There is no such pool", "Open the pool first."),
    "no_pool": Kind(409, "The account is in no pool", "Open a pool, or let the account join one."),
    "pooled": Kind(409, "The account is in a pool", "Let it leave the pool first."),
    "payments": Kind(409, "Payments are not set up", "The operator must set [payments] (docs/PAYMENTS.md)."),
    "provider": Kind(409, "The payment provider did not take it", "Repeat it later, with the same Idempotency-Key."),
    "ended": Kind(409, "The payment has its outcome", "Read it: GET /v1/payments/{order}."),
    "signature": Kind(401, "The notification is not signed as it must be", "Check the sender's secret and clock."),
    "order": Kind(404, "There is no such payment order", "List those of the account."),
    "orders": Kind(409, "The account has too many payment orders", "Wait until one of them has its outcome."),
    "grouped": Kind(409, "The number is in another business group", "Let it leave that group first."),
    "no_puk": Kind(409, "The PUK1 of the SIM is not known", "Care sets it first."),
    "puk": Kind(409, "The PUK1 is wrong", "Enter the PUK1 of the SIM's card; after some wrong ones it is blocked."),
    "puk_blocked": Kind(409, "The PUK1 was wrong too often", "Care, or a new SIM, sets it anew."),
    "separate": Kind(409, "The separate account has credit", "Let the number leave the group first (HOT-GRP-5)."),
    "no_separate": Kind(409, "The number has no separate account", "Open one first (HOT-GRP-5)."),
    "group": Kind(409, "They are no administrator and member of one group", "Transfer within one group (HOT-GRP-2)."),
    "no_group": Kind(409, "There is no such group, or the number is in none", "Check the id of the group."),
    "administrator": Kind(409, "The number is the administrator", "Name another administrator first."),
    "full": Kind(409, "The group has too many numbers", "Remove some first."),
    "month": Kind(409, "The month is not over", "Ask from the first day of the next month on (HOT-GRP-3)."),
    "funds": Kind(409, "The credit does not cover the transfer", "Transfer less, or top up first."),
    "transfers": Kind(409, "Too many transfers are under way", "Repeat in a minute."),
    "voucher": Kind(
        409, "No voucher can be redeemed by this number", "Check the 16 digits; wrong entries are counted."
    ),
    "spent": Kind(409, "The voucher was redeemed before", "Ask the subscriber for another voucher."),
    "expired": Kind(409, "The voucher has expired", "Ask the subscriber for another voucher (HOT-TOP-2)."),
    "busy": Kind(409, "Something else is under way", "Repeat the request in a few seconds."),
    "bucket": Kind(404, "There is no such bucket", "List the buckets of the subscriber."),
    "top_up": Kind(404, "There is no such top-up", "List the top-ups; a new one is listed after some seconds."),
    "usage": Kind(404, "There is no such usage", "List the usage of the subscriber."),
    "batch": Kind(404, "There is no such batch", "List the batches: GET /v1/voucher-batches."),
    "voucher_blocked": Kind(409, "Too many wrong vouchers", "Customer care lifts the block (HOT-TOP-3)."),
    "given_back": Kind(409, "The voucher's claim was refused before", "Redeem the voucher anew, with a new reference."),
    "records_missing": Kind(
        409, "Records of the range are missing", "Bring the files back to the server's folder of records."
    ),
    "moved": Kind(409, "The account was moved meanwhile", "Repeat the request."),
    "reference": Kind(422, "The reference was used for something else", "Use a new reference for another operation."),
    "api_keys": Kind(409, "There are too many keys", "Revoke some."),
    "unreadable": Kind(500, "The account cannot be read", "Report it to the operator (`ocs audit` names the account)."),
    "version": Kind(500, "The account was written by a newer version", "Report it to the operator: upgrade."),
}
"""Code → kind. A code that is not here is refused with 409, or 422 for an argument."""

_OTHER_REFUSAL = Kind(409, "It was refused", "`detail` says why.")
_OTHER_INPUT = Kind(422, "A value is not allowed", "`detail` says what is allowed. " + CORRECT)
_OTHER_UNKNOWN = Kind(404, "What was named does not exist", "`detail` says what.")


class ProblemError(Exception):
    """A refusal of the API itself. `code`: one of KINDS."""

    def __init__(
        self,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.headers, self.errors = code, detail, headers or {}, errors


def kind_of(code: str, error: Exception | None = None) -> Kind:
    """A code may be that of an argument, of a name and of a refusal: the error says which it is."""
    if isinstance(error, InputError):
        return _OTHER_INPUT
    known = KINDS.get(code)
    if isinstance(error, UnknownError):
        return known if known is not None and known.status == 404 else _OTHER_UNKNOWN
    return known or _OTHER_REFUSAL


def answer(error: Exception, request_id: str) -> JSONResponse:
    """The answer to a request that failed with `error`. An error that is nobody's fault but ours says nothing of it."""
    problem = _problem(error)
    kind = kind_of(problem.code, error)
    body: dict[str, object] = {
        "type": f"/problems/{problem.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "code": problem.code,
        "action": kind.action,
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
    return JSONResponse(body, kind.status, headers=dict(problem.headers), media_type=MEDIA_TYPE)


def _problem(error: Exception) -> ProblemError:
    match error:
        case ProblemError():
            return error
        case LedgerUnavailable():
            return ProblemError("unavailable", "the ledger does not answer", {"Retry-After": str(RETRY_AFTER_S)})
        case HistoryUnavailableError():
            return ProblemError("history", "the SQL database does not answer", {"Retry-After": str(RETRY_AFTER_S)})
        case AccountError() if error.code == "clock":
            return ProblemError("clock", str(error), {"Retry-After": str(RETRY_AFTER_S)})
        case AccountError() | LedgerError():
            return ProblemError(error.code, str(error))
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return _of_status(error)
        case _:
            return ProblemError("internal", "the request could not be handled")


def _invalid(error: RequestValidationError) -> ProblemError:
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return ProblemError("not_json", "the body is not JSON")
    errors = [{"where": _where(each["loc"]), "detail": str(each["msg"])} for each in found[:MAX_ERRORS]]
    first = errors[0] if errors else {"where": "request", "detail": "is wrong"}
    return ProblemError("invalid", f"{first['where']}: {first['detail']}", errors=errors)


def _where(location: Sequence[str | int]) -> str:
    """ "body.amount", "query.limit"."""
    return ".".join(str(each) for each in location)


def _of_status(error: HTTPException) -> ProblemError:
    codes = {404: "no_route", 405: "method", 413: "too_large", 400: "not_json"}
    code = codes.get(error.status_code, "invalid")
    return ProblemError(code, str(error.detail).lower(), dict(error.headers or {}))
