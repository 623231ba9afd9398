"""Step 1 of a charging request in the model ledger: find its account and session, its earlier answer, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.limits import MAX_SESSIONS_PER_ACCOUNT
from ocs.values.requests import Action, RequestType
from tests.ocs.ledger.model_agenda import TOMBSTONE_S
from tests.ocs.ledger.model_state import Account, Session, in_need, owner_of

if TYPE_CHECKING:
    from tests.ocs.ledger.model import ModelLedger, OneOff

KINDS = {Action.CHECK: "C", Action.REFUND: "R"}


@dataclass(slots=True)
class Known:
    """Account and session of a request. `session` is open, or a tombstone if `closed`."""

    account: Account
    session: Session | None
    closed: bool


def refusal(request: ChargeRequest, code: int, reason: str, place: str = "") -> ChargeOutcome:
    return ChargeOutcome(code, False, (), 0, 0, reason, place=place, at=request.now)


def one_off_name(request: ChargeRequest) -> str:
    return f"{KINDS.get(request.action, 'E')}{request.number}"


def identify(ledger: ModelLedger, request: ChargeRequest) -> ChargeOutcome | Known:
    if ledger.max_clock_skew_s and abs(request.now - ledger.clock()) > ledger.max_clock_skew_s:
        return refusal(request, 0, "clock")
    one_off = request.type is RequestType.EVENT
    account = ledger.accounts.get(request.account_id)
    if account is None:
        moved = ledger.moved.get(request.account_id)
        return refusal(request, 0, "moved", moved) if moved else refusal(request, 5030, "unknown")
    if one_off and (answer := _one_off_answer(ledger, request)):
        return replace(answer, duplicate=True)
    if one_off:
        return _elsewhere(account, request) or Known(account, None, False)
    session = account.sessions.get(request.session_id)
    tombstone = account.closed.get((request.session_id, owner_of(request)))
    closed = session is None and tombstone is not None and request.now < tombstone.closed_at + TOMBSTONE_S
    session = tombstone if closed else session
    if session is None:
        answer = ledger.answers(request).get((request.type.value, request.number))
        if answer and not _opens_anew(ledger, request):
            return replace(answer, duplicate=True)
    elif session.owner != owner_of(request):
        return refusal(request, 5002, "owner")
    elif repeated := _repetition(ledger, request, session, closed):
        return repeated
    if session is not None and _moved_on(request, session, closed):
        return refusal(request, 0, "place", session.place)
    return (
        _elsewhere(account, request)
        or _out_of_order(ledger, account, request, session, closed)
        or Known(account, session, closed)
    )


def one_off_before(ledger: ModelLedger, request: ChargeRequest) -> OneOff | None:
    """The remembered request under the account's id, or under an id that it had before a move."""
    account = ledger.accounts.get(request.account_id)
    ids = [request.account_id, *(account.former if account else ())]
    rest = (owner_of(request), request.session_id, one_off_name(request))
    return next((known for each in ids if (known := ledger.one_offs.get((each, *rest)))), None)


def _one_off_answer(ledger: ModelLedger, request: ChargeRequest) -> ChargeOutcome | None:
    """The remembered outcome, if the contents are equal and the request has the T bit, the same End-to-End-Id, or comes
    within TOMBSTONE_S.
    """
    known = one_off_before(ledger, request)
    if known is None:
        return None
    if request.action is Action.REFUND:
        return known.outcome
    kept_id = 0 < request.end_to_end == known.request.end_to_end
    again = request.retransmitted or kept_id or request.now < known.request.now + TOMBSTONE_S
    return known.outcome if again and request.content == known.request.content else None


def replaces(request: ChargeRequest, session: Session) -> bool:
    """The client has lost its sessions since it opened this one: its Origin-State-Id is higher."""
    return request.type is RequestType.INITIAL and request.origin_state_id > session.origin_state_id > 0


def _opens_anew(ledger: ModelLedger, request: ChargeRequest) -> bool:
    """The initial request is a new one: it lacks the T bit, or its End-to-End-Id is not that of the remembered one."""
    if request.type is not RequestType.INITIAL:
        return False
    before = ledger.openings(request).get(request.number, 0)
    return not request.retransmitted or 0 < request.end_to_end != before > 0


def _begins_again(ledger: ModelLedger, request: ChargeRequest, session: Session, closed: bool) -> bool:
    """A new initial request for a session that has ended, was given up, or had an update since its opening."""
    if not _opens_anew(ledger, request) or (closed and session.closed_by is None):
        return False
    return closed or session.released or (request.number == session.opening and session.has_gone_on)


def is_reused(ledger: ModelLedger, request: ChargeRequest, known: Known) -> bool:
    """A new session takes the Session-Id of an ended one, or of one of which only the opening's answer is left."""
    if known.session is not None:
        return _begins_again(ledger, request, known.session, known.closed) and not replaces(request, known.session)
    return _opens_anew(ledger, request) and (request.type.value, request.number) in ledger.answers(request)


def _repetition(ledger: ModelLedger, request: ChargeRequest, session: Session, closed: bool) -> ChargeOutcome | None:
    kind, number = request.type, request.number
    answer = ledger.answers(request).get((kind.value, number))
    if closed and kind is not RequestType.INITIAL and answer:
        return replace(answer, duplicate=True)
    if kind is RequestType.INITIAL:
        never_opened = closed and session.closed_by is None
        again = replaces(request, session) or _begins_again(ledger, request, session, closed)
        seen = number == session.opening and not never_opened and not again
    elif kind is RequestType.UPDATE:
        seen = session.numbers.seen(number)
        if not seen and session.numbers.too_old(number):
            return refusal(request, 5012, "late")
        seen = seen or (answer is not None and number != session.numbers.highest + 1)
    else:
        seen = number in session.terminations
    if not seen:
        return None
    return replace(answer, duplicate=True) if answer else refusal(request, 5012, "late")


def _moved_on(request: ChargeRequest, session: Session, closed: bool) -> bool:
    relieved = (
        not closed and request.type is not RequestType.INITIAL and in_need(session.place) and not in_need(request.place)
    )
    return relieved or request.expected_location not in ("", session.place)


def _elsewhere(account: Account, request: ChargeRequest) -> ChargeOutcome | None:
    if request.identity not in ("", "m" + account.msisdn, "i" + account.imsi):
        return refusal(request, 0, "identity")
    if request.identity and account.state == "terminated":
        return refusal(request, 0, "identity")
    return refusal(request, 0, "pool", account.pool) if request.pool != account.pool else None


def _out_of_order(
    ledger: ModelLedger, account: Account, request: ChargeRequest, session: Session | None, closed: bool
) -> ChargeOutcome | None:
    if request.type is not RequestType.INITIAL:
        return refusal(request, 5002, "session") if session is None else None
    again = session is not None and (replaces(request, session) or _begins_again(ledger, request, session, closed))
    if session is not None and not closed and not session.released and not again:
        return refusal(request, 5012, "open")
    others = [
        sid for sid, s in account.live().items() if s.deadline > request.now and sid != request.session_id
    ]  # fmt: skip
    return refusal(request, 5006, "sessions") if len(others) >= MAX_SESSIONS_PER_ACCOUNT else None
