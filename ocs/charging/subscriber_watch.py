"""Tells the requests of traced subscribers (`ocs trace`), as rungs of a ladder.

While nobody is traced, nothing of this is in a request's way: `follow` puts itself before the handler and before the
ledger when the first trace begins, and takes both away when the last one ends. A rung is made and sent after the
answer; no request waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ocs.charging.rungs import rung_of
from ocs.charging.service import ChargingService
from ocs.charging.session_order import Reply
from ocs.charging.source import Source
from ocs.charging.subscriber import identities
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.operations import ChargeDone, ChargingLedger
from ocs.ledger.contract.traces import Traced
from ocs.telemetry.logs import describe
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.bounded_cache import BoundedCache
from ocs.values.identities import by_imsi, by_msisdn, uid_of
from ocs.values.rung import Rung
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError

log = logging.getLogger(__name__)

MAX_RUNGS_PER_S = 200
"""Rungs that a worker tells in a second; the next one says how many were left out."""
MAX_OPEN = 4_096
"""Requests of traced subscribers without an answer; the oldest is told from what the ledger said."""
Handler = Callable[[CreditControlRequest, Source, Reply], None]
OnRefused = Callable[[CreditControlRequest, Source, DiameterError], None]
Outcome = ChargeOutcome | LedgerUnavailable
_Key = tuple[str, str, int, int]


class _Watched:
    """One request of a traced subscriber. It is the reply that charging calls."""

    __slots__ = ("_reply", "_watch", "account_id", "arrived", "charge", "outcome", "request", "source", "span")

    def __init__(
        self, watch: SubscriberWatch, request: CreditControlRequest, source: Source, reply: Reply, account_id: str
    ) -> None:
        self._watch, self._reply = watch, reply
        self.request, self.source, self.account_id = request, source, account_id
        self.arrived = watch.monotonic()
        self.charge: ChargeRequest | None = None
        self.outcome: Outcome | None = None
        self.span = getattr(reply, "span", None)
        """Of OpenTelemetry (`traced_charging`)."""

    def __call__(self, answer: CreditControlAnswer | DiameterError) -> None:
        self._reply(answer)
        self._watch.answered(self, answer)


class _WatchedLedger:
    """The ledger, whose outcomes for traced accounts are noted."""

    def __init__(self, ledger: ChargingLedger, watch: SubscriberWatch) -> None:
        self._ledger, self._watch = ledger, watch
        self.find_subscriber = ledger.find_subscriber
        self.find_session = ledger.find_session

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        if uid_of(request.account_id) not in self._watch.uids:
            self._ledger.charge(request, done)
            return

        def noted(outcome: Outcome) -> None:
            self._watch.charged(request, outcome)
            done(outcome)

        self._ledger.charge(request, noted)


class SubscriberWatch:
    """One per worker. `publish` takes an account id and a rung. `clock`: Unix seconds. `watch_by` sets the handler of
    the dispatcher, whose present one is `handler`, and who is told of requests that are refused before it.
    """

    def __init__(
        self,
        service: ChargingService,
        publish: Callable[[str, Rung], None],
        *,
        handler: Handler,
        watch_by: Callable[[Handler, OnRefused | None], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self.uids: frozenset[str] = frozenset()
        """Of the traced accounts: the part of an account id that stays when the account moves."""
        self.monotonic = monotonic
        self._service = service
        self._publish = publish
        self._handler, self._watch_by = handler, watch_by
        self._clock = clock
        self._ledger: ChargingLedger | None = None
        """That of the service, while it is replaced."""
        self._identities: dict[str, str] = {}
        """Subscriber id → account id, of traced subscribers."""
        self._open: BoundedCache[_Key, _Watched] = BoundedCache(MAX_OPEN)
        self._second, self._told, self._left_out = 0, 0, 0
        self._throttled_log = ThrottledLog(clock)

    def follow(self, traced: Sequence[Traced]) -> None:
        """Watch these subscribers, and no others."""
        self.uids = frozenset(uid_of(each.account_id) for each in traced)
        self._identities = {by_msisdn(each.msisdn): each.account_id for each in traced}
        self._identities |= {by_imsi(each.imsi): each.account_id for each in traced}
        if traced and self._ledger is None:
            self._ledger = self._service.charge_by(_WatchedLedger(self._service.ledger, self))
            self._watch_by(self._handle, self._refused)
        elif not traced and self._ledger is not None:
            self._service.charge_by(self._ledger)
            self._watch_by(self._handler, None)
            self._ledger = None
            self._open.clear()

    # -- a request

    def _handle(self, request: CreditControlRequest, source: Source, reply: Reply) -> None:
        account_id = self._account_of(request, source)
        if account_id:
            watched = _Watched(self, request, source, reply, account_id)
            self._open.put(_key_of(request), watched)
            reply = watched
        self._handler(request, source, reply)

    def _account_of(self, request: CreditControlRequest, source: Source) -> str:
        """Of a traced subscriber's request; "" = of another's, or of a session that this worker does not know: then the
        ledger finds the account.
        """
        given = identities(request)
        if not given:
            account_id = self._service.account_of_session(request, source)
            return account_id if uid_of(account_id) in self.uids else ""
        return next((self._identities[each] for each in given if each in self._identities), "")

    def charged(self, charge: ChargeRequest, outcome: Outcome) -> None:
        """The ledger has answered for a traced account."""
        watched = self._open.get((charge.session_id, charge.origin_host, _TYPES[charge.type.value], charge.number))
        if watched is None:
            if isinstance(outcome, LedgerUnavailable) or outcome.retry is None:
                self._tell(charge.account_id, lambda: rung_of(self._clock(), None, None, charge, outcome))
        elif watched.outcome is None or isinstance(watched.outcome, LedgerUnavailable) or watched.outcome.retry:
            watched.charge, watched.outcome = charge, outcome
        elif not isinstance(outcome, LedgerUnavailable):  # the second step of a request: it releases
            watched.outcome.credit_micro_eur, watched.outcome.held_micro_eur = (
                outcome.credit_micro_eur,
                outcome.held_micro_eur,
            )

    def answered(self, watched: _Watched, answer: CreditControlAnswer | DiameterError) -> None:
        key = _key_of(watched.request)
        if self._open.get(key) is watched:
            del self._open[key]
        took_ms = (self.monotonic() - watched.arrived) * 1_000
        account_id = watched.charge.account_id if watched.charge is not None else watched.account_id
        self._tell(
            account_id,
            lambda: rung_of(
                self._clock(), watched.request, answer, watched.charge, watched.outcome, watched.source, took_ms
            ),
        )

    def _refused(self, request: CreditControlRequest, source: Source, error: DiameterError) -> None:
        """The request was refused before charging: the peer's rights, overload."""
        if account_id := self._account_of(request, source):
            self._tell(account_id, lambda: rung_of(self._clock(), request, error, None, None, source))

    def _tell(self, account_id: str, make: Callable[[], Rung]) -> None:
        """Never raises: the request was answered, or is about to be."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._told = second, 0
        self._told += 1
        if self._told > MAX_RUNGS_PER_S:
            self._left_out += 1
            return
        try:
            rung = make()
            rung.left_out, self._left_out = self._left_out, 0
            self._publish(account_id, rung)
        except Exception as error:  # noqa: BLE001 - whoever watches must not disturb charging
            if (more := self._throttled_log.allow("tell")) is not None:
                log.error("internal error in a subscriber's trace, please report it: %s%s", describe(error), more)


_TYPES = {"I": 1, "U": 2, "T": 3, "E": 4}


def _key_of(request: CreditControlRequest) -> _Key:
    return request.session_id, request.origin_host, request.cc_request_type, request.cc_request_number
