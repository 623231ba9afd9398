"""Shared parts of the random walk: choices, state, and building a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from ocs.ledger.contract.charging import UNKNOWN_PLACE, ChargeRequest, ServiceCharge
from ocs.values.products import PackageTerms
from ocs.values.requests import Action, RequestType
from ocs.values.use import PriceTerms
from tests.ocs.ledger.catalogue import KINDS, MONTH, START
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import Account, Session, utc_day

T = TypeVar("T")
STEP_BYTES = 120
"""Enough for most steps; after them every choice is the simplest option."""


class Choices:
    """Decisions by the bytes of one step; the first option is the simplest."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def pick(self, options: Sequence[T]) -> T:
        return options[next(self._data, 0) * len(options) >> 8]

    def chance(self, percent: int) -> bool:
        return next(self._data, 0) * 100 >> 8 >= 100 - percent

    def upto(self, most: int) -> int:
        return (next(self._data, 0) << 8 | next(self._data, 0)) * (most + 1) >> 16


class Ledgers(Protocol):
    """What a walk calls: the model and Redis together, which must agree (sides.py)."""

    model: ModelLedger

    def open(
        self, msisdn: str, imsi: str, credit: int, package: PackageTerms | None, unused: bool = False, **more: Any
    ) -> str | None:
        """`more`: limit_micro_eur."""

    def do(self, operation: str, account_id: str, *args: Any, **more: Any) -> Any:
        """An operation of AccountLedger at the walk's time. Returns the LedgerError's code if it is refused."""

    def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None: ...
    def sweep_due(self) -> None: ...
    def gone_for_good(self, account_id: str) -> None: ...
    def charge(self, request: ChargeRequest) -> bool:
        """Returns whether the request was applied now."""

    def repeat(self, request: ChargeRequest) -> None: ...


@dataclass
class Asking:
    ledgers: Ledgers
    now: int = START
    month: int = MONTH
    ids: list[str] = field(default_factory=list)
    """Current accounts, in the order of `catalogue.NUMBERS`."""
    ended: dict[int, str] = field(default_factory=dict)
    """Terminated accounts; their MSISDNs belong to others now."""
    gone: dict[str, str] = field(default_factory=dict)
    """Ids of accounts before a move → after it."""
    charged: list[ChargeRequest] = field(default_factory=list)
    debits: list[ChargeRequest] = field(default_factory=list)
    """One-off requests that were paid."""
    _sids: dict[tuple[int, int], str] = field(default_factory=dict)
    """Session-Ids by account (place in `ids`) and number of the session."""
    _opened: set[str] = field(default_factory=set)
    _topped_up: tuple[str, int, str] = ("", 0, "")
    _serial: int = 0

    def _account(self, place: int) -> Account:
        return self.ledgers.model.accounts[self.ids[place]]

    def _sid(self, place: int, n: int) -> str:
        return self._sids.setdefault((place, n), f"pgw.example.org;{place};{n}")

    def _some_sid(self, choose: Choices, place: int) -> str:
        live = sorted(self._account(place).live())
        return choose.pick(live) if live else self._sid(place, 0)

    def _fresh(self, prefix: str) -> str:
        self._serial += 1
        return f"{prefix}{self._serial:04d}"

    def _known(self, place: int, sid: str) -> Session | None:
        account = self._account(place)
        return account.sessions.get(sid) or next((s for name, s in account.closed.items() if name[0] == sid), None)

    def _open_one(self, choose: Choices, place: int, name: str, later: int = 0, want: int = 0, number: int = 0) -> str:
        sid, of = self._fresh(f"pgw.example.org;{place};"), KINDS[name]
        asked = asking(name, name, of.windows[0], of.usual * want if want else of.usual // 9 + 1)
        asked.minimum = 1
        deadline = self.now + 600 + later
        self._ask(choose, place, sid, None, RequestType.INITIAL, number, (asked,), plainly=True, deadline=deadline)
        return sid

    def _end(self, choose: Choices, place: int, sid: str) -> None:
        session = self._known(place, sid)
        self._ask(choose, place, sid, session, RequestType.TERMINATION, 1, (), plainly=True, deadline=self.now)

    # -- requests

    def _ask(
        self,
        choose: Choices,
        place: int,
        sid: str,
        session: Session | None,
        kind: RequestType,
        number: int,
        services: tuple[ServiceCharge, ...],
        plainly: bool = False,
        **more: Any,
    ) -> None:
        account = self._account(place)
        rest = {
            "facts": account.facts,
            "country": account.country,
            "deadline": self.now,
            "day": utc_day(self.now),
            "pool": self._account(place).pool,
            "place": "home",
            **more,
        }
        # Sessions of even places belong to a failover group, the others to one host.
        host, owner = ("pgw.example.org", "") if sid[-1] in "13579" else ("pgw", "pgws")
        request = ChargeRequest(
            *(self.ids[place], "", sid, host, "data", kind, number, self.now, self.month),
            services=services,
            origin_realm="example.net",
            owner=owner,
            origin_state_id=session.origin_state_id if session is not None else 7,
            **rest,
        )
        request.end_to_end = len(self.charged) + 1
        if kind is RequestType.INITIAL and sid[-1] in "2468":
            request.charging_id = f"47{sid[-1]}"
        if kind is RequestType.EVENT:
            request.content = str(len(self.charged) % 2)
        if not plainly and len(self.charged) % 41 == 40:
            request.equipment = ("35693803564380", "01326100123456", "86012304567890")[len(self.charged) % 3]
        if not plainly:
            self._vary(choose, place, session, request)
        self.charged.append(request)
        if self.ledgers.charge(request) and request.action is Action.DEBIT and kind is RequestType.EVENT:
            self.debits.append(request)

    def _vary(self, choose: Choices, place: int, session: Session | None, request: ChargeRequest) -> None:
        msisdn, kind = self._account(place).msisdn, request.type
        identity = choose.pick(("", "", "", "", "m", "i")) if not choose.chance(2) else "m38699"
        request.identity = {"m": "m" + msisdn, "i": "i" + self._account(place).imsi}.get(identity, identity)
        if place in self.ended and choose.chance(10):
            request.account_id, request.identity = self.ended[place], choose.pick(("m" + msisdn, ""))
        if self.gone and choose.chance(5):
            request.account_id = choose.pick(list(self.gone)[-3:])
        if request.owner:
            request.origin_host = choose.pick(("pgw", "pgw2"))
        if choose.chance(3):
            request.origin_host, request.owner = choose.pick(
                (("other", ""), (request.origin_host, "others"), ("pgws", ""), (request.origin_host,) * 2)
            )
        if choose.chance(4):
            request.facts = choose.pick(("", "fair-use", "pack,seen"))
        if choose.chance(8):
            request.country = choose.pick(("home", "HR", "AT", "", "HR"))
            request.plmn = "21901"
            request.equipment_id = choose.pick(("", "0a1b2c3d4e5f6071", ""))
        if choose.chance(4):
            request.pool = choose.pick(("family", "", "firm"))
        known = session.origin_state_id if session is not None else 7
        state = choose.pick((known, known, 0, known + 1)) if choose.chance(12) else known
        if kind is RequestType.INITIAL and session is not None:
            state = known + choose.pick((1, 1, 1, 1, 0, -1))
        request.origin_state_id = max(state, 0)
        request.place = session.place if session is not None and session.place else "home"
        if choose.chance(10):
            request.place = choose.pick(("home", "abroad", "home 2"))
        if kind in (RequestType.UPDATE, RequestType.TERMINATION) and choose.chance(25):
            was = session.place if session is not None else "home"
            request.expected_location = choose.pick((was, was, was, was, "abroad", UNKNOWN_PLACE))
        # Another worker's clock is slower: it may still have yesterday's date and last month.
        if choose.chance(4):
            request.now, request.month, request.day = self.now - 3, self.month - 1, utc_day(self.now - 3)
        request.relay = choose.pick(("", "", "dra.example.net"))

    def _repeat(self, choose: Choices, place: int) -> None:
        self._again(self.charged if choose.chance(25) else self.charged[-12:], choose)

    def _again(self, charged: list[ChargeRequest], choose: Choices) -> None:
        if not charged:
            return
        request = choose.pick(charged[-256:])
        if choose.chance(10):
            request = replace(request, origin_host="other", owner=choose.pick(("", "others")))
        if request.account_id in self.gone and choose.chance(70):
            request = replace(request, account_id=self.gone[request.account_id])
        later = max(request.deadline - request.now, 0)
        when = {"now": self.now, "month": self.month, "day": utc_day(self.now), "deadline": self.now + later}
        request = replace(request, services=tuple(replace(each) for each in request.services), **when)
        request.retransmitted = choose.chance(90)
        if choose.chance(15):
            request.end_to_end = choose.pick((0, 1, 2))
        if choose.chance(10):
            request.content = choose.pick(("a", "b"))
        self.ledgers.repeat(request)


def asking(key: str, name: str, price: PriceTerms, want: int | None) -> ServiceCharge:
    of, bars = KINDS[name], ("data",) if name == "data" else ()
    minimum = max(1, of.usual // 10)
    asked = ServiceCharge(key, name, price, of.buckets, 0, want, minimum, name == "incoming", bars, "29340")
    asked.counters, asked.more_legs, asked.beyond, asked.slows = of.counters, of.legs, of.beyond, of.slows
    if of.slows:
        asked.retry_want = of.usual // 3
    return asked
