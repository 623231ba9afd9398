"""The charging part of the random walk: which request comes next (walk.py has the rest)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from ocs.ledger.contract import (
    ANSWERS_KEPT_PER_SESSION,
    UNKNOWN_PLACE,
    Action,
    ChargeRequest,
    PackageTerms,
    RequestType,
    Restrict,
    ServiceCharge,
)
from ocs.rating.types import PriceTerms
from tests.ocs.ledger.catalogue import DAY, KINDS, MONTH, NUMBERS, START
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import Account, Service, Session

T = TypeVar("T")
STEP_BYTES = 80
"""Enough for most steps; what is chosen after them is the plainest."""


class Choices:
    """Decisions by the bytes of one step; the first option is the plainest."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)

    def pick(self, options: Sequence[T]) -> T:
        return options[next(self._data, 0) * len(options) >> 8]

    def chance(self, percent: int) -> bool:
        return next(self._data, 0) * 100 >> 8 >= 100 - percent

    def upto(self, most: int) -> int:
        return (next(self._data, 0) << 8 | next(self._data, 0)) * (most + 1) >> 16


class Ledgers(Protocol):
    """What a walk does: to the model and to Redis, which must agree (sides.py)."""

    model: ModelLedger

    def open(self, msisdn: str, imsi: str, credit: int, package: PackageTerms | None) -> str | None: ...
    def do(self, operation: str, account_id: str, *args: Any, **more: Any) -> Any:
        """An operation of AccountLedger at the walk's time; a LedgerError's code if it was refused."""

    def sweep_due(self) -> None: ...
    def gone_for_good(self, account_id: str) -> None: ...
    def charge(self, request: ChargeRequest) -> bool:
        """Whether it was applied, now."""

    def repeat(self, request: ChargeRequest) -> None: ...


@dataclass
class WalkCharging:
    ledgers: Ledgers
    now: int = START
    month: int = MONTH
    day: int = DAY
    ids: list[str] = field(default_factory=list)
    """The accounts whose turn may come, in the order of NUMBERS."""
    ended: dict[int, str] = field(default_factory=dict)
    """Terminated accounts, whose MSISDNs are others' by now."""
    gone: dict[str, str] = field(default_factory=dict)
    """Ids that accounts had before they were moved, and the next."""
    charged: list[ChargeRequest] = field(default_factory=list)
    debits: list[ChargeRequest] = field(default_factory=list)
    """One-off requests that were paid."""
    _sids: dict[tuple[int, int], str] = field(default_factory=dict)
    """The Session-Id in use at each of an account's places for one."""
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
        return account.sessions.get(sid) or account.closed.get(sid)

    # -- sessions

    def _charge(self, choose: Choices, place: int) -> None:
        if choose.chance(20):
            self._event(choose, place)
        elif choose.chance(6):  # a Session-Id that another account uses too
            self._go_on(choose, place, "pgw.example.org;shared;1")
        else:
            self._go_on(choose, place, self._sid(place, choose.pick((0, 0, 0, 1, 1, 2, 3))))

    def _go_on(self, choose: Choices, place: int, sid: str) -> None:
        session = self._known(place, sid)
        kind = choose.pick(_next_kinds(session, sid in self._opened))
        number = self._number(choose, sid, session, kind)
        if kind == "I" and session is None and number is None:
            # A real client never takes a Session-Id again; one in five does here.
            number = 0 if choose.chance(80) else choose.pick((1, 2, 9))
            at = next((at for at, known in self._sids.items() if known == sid), None)
            if number == 0 and at is not None:
                sid = self._sids[at] = self._fresh(f"pgw.example.org;{place};{at[1]};")
        if kind == "I":
            self._opened.add(sid)
        deadline = self.now + choose.pick((4000, 600, 7200, 600, 120))
        phases = {each.phase for each in session.services.values()} if session else set()
        if "restricted" in phases and choose.chance(15):
            self.ledgers.do("top_up", self.ids[place], amount_micro_eur=1_000_000, reference=self._fresh("r"))
        numbers, given_up = [number or 0], False
        if kind == "U" and session is not None and not session.closed_at and choose.chance(6):
            # One that overtakes two.
            numbers, given_up = [numbers[0] + 3, numbers[0], numbers[0] + 1], choose.chance(50)
        for n, each in enumerate(numbers):
            if n == 2 and given_up:
                self.ledgers.do("release_session", self.ids[place], sid, reason="lost")
            services = self._services(choose, session, kind)
            self._ask(choose, place, sid, session, RequestType(kind), each, services, deadline=deadline)
        if kind == "I" and session is not None and choose.chance(50):  # what was asked before it was replaced
            before = [each for each in self.charged if each.session_id == sid][-8:]
            self._again([each for each in before if each.type is RequestType.EVENT] or before, choose)
        if kind == "T" and session is not None and choose.chance(50):
            self._go_on(choose, place, sid)

    def _number(self, choose: Choices, sid: str, session: Session | None, kind: str) -> int | None:
        """None: a session of this id has been and gone."""
        if kind == "I":
            if choose.chance(15):
                return choose.pick((1, 2, 3, 5))
            if session is not None and not session.released and not session.closed_at:
                return 1 + choose.pick((session.highest, 0, 0, 1))
            if session is not None and session.closed_at:
                return choose.pick((session.opening, session.opening + 1, 7))
            return None if sid in self._opened else 0
        highest = session.highest if session is not None else 0
        if session is not None and session.closed_by is not None and choose.chance(70):
            return max(session.closed_by + choose.pick((-1, -2, -1, 1, 0)), 0)
        if choose.chance(4):
            return min(highest + choose.pick((2**32 - 1, 70_000, 65_536, 65_537)), 2**32 - 1)
        if session is not None and session.numbers.apart and choose.chance(25):
            return min(session.numbers.apart[-1] + choose.pick((1, 0, 1, 2)), 2**32 - 1)
        if highest >= ANSWERS_KEPT_PER_SESSION and choose.chance(20):
            return highest - ANSWERS_KEPT_PER_SESSION + choose.pick((0, 0, 1, -1))
        # One straggler seldom comes alone.
        straggler = any(each.session_id == sid and each.number < highest for each in self.charged[-3:])
        if choose.chance(55 if straggler or (session is not None and session.released) else 75):
            return min(highest + 1, 2**32 - 1)
        return max(highest + choose.pick((2, 4, 4, 0, -1, -1, -1, -2, -2, -3, 64, -63, -64, -65, 70)), 0)

    def _services(self, choose: Choices, session: Session | None, kind: str) -> tuple[ServiceCharge, ...]:
        known = dict(sorted(session.services.items())) if session is not None and kind != "I" else {}
        asked: dict[str, ServiceCharge] = {}
        for _ in range(choose.pick((1, 1, 1, 2, 2, 3)) if kind == "I" else choose.pick((1, 1, 1, 1, 2, 2, 3, 0))):
            key, name = self._key(choose, known, asked)
            # What others of the session will cost after a switch, this one costs now.
            ahead = [each.price_after for each in (*known.values(), *asked.values()) if each.price_after]
            asked[key] = self._service(choose, key, name, known.get(key), kind)
            same = [price for price in ahead if price in KINDS[name].windows]
            if same and choose.chance(60):
                asked[key].price = choose.pick(same)
        return tuple(asked.values())

    @staticmethod
    def _key(choose: Choices, known: dict[str, Service], asked: dict[str, ServiceCharge]) -> tuple[str, str]:
        if asked and choose.chance(30):
            key = next(iter(asked)).rstrip("'") + "'"
        elif known and not choose.chance(12):
            # Mostly those with a price switch, or for which there is little left.
            special = [key for key, service in known.items() if service.phase != "normal" or service.price_after]
            special = [key for key in special if known[key].phase == "restricted"] or special
            key = choose.pick(special if special and choose.chance(80) else list(known))
        else:
            # The second service of a kind has the same price and buckets; some keys are used for any kind.
            key = choose.pick(list(KINDS)) + choose.pick(("", "", "'"))
            key = choose.pick(("any", key, key, key, key, key, key, key)) if key[-1] != "'" else key
        name = key.rstrip("'")
        return key, name if name in KINDS else choose.pick(list(KINDS))

    def _service(self, choose: Choices, key: str, name: str, held: Service | None, kind: str) -> ServiceCharge:
        of = KINDS[name]
        price = choose.pick((*of.windows[:1], *of.windows))
        most = of.usual
        want: int | None = choose.pick((most // 3, None, most, None, choose.upto(most), 30 * most, 0, 1, most))
        asked = asking(key, name, price, want)
        asked.maximum_micro_eur = choose.pick((0, 0, 0, 200_000, 1_000_000, 1))
        granted = held.granted if held is not None else 0
        if kind in "UT":
            self._use(choose, asked, held, granted, most)
        if kind == "T":
            asked.want = None if choose.chance(90) else want
            return asked
        asked.restrict = choose.pick((Restrict.REFUSE, Restrict.AGAIN, Restrict.AGAIN, Restrict.ONCE))
        asked.retry_want = choose.pick((most // 2, most // 2, 1, 0))
        if held is not None and held.phase != "normal" and choose.chance(75):
            asked.want = None
            asked.restrict = choose.pick((Restrict.AGAIN, Restrict.ONCE))
            if held.phase == "restricted" and choose.chance(80):
                asked.used = asked.used_after = asked.used_either = 0
        if choose.chance(60 if held is not None and held.price_after else 30):
            other = choose.pick([each for each in KINDS.values() if each.unit is of.unit])
            windows = [each for each in of.windows if each is not price] or of.windows
            asked.price_after = choose.pick((*windows, *windows, price, *other.windows))
            asked.switch_at = self.now + choose.pick((100, 100, 5_000, 0))
            asked.spans = not choose.chance(20)
        return asked

    @staticmethod
    def _use(choose: Choices, asked: ServiceCharge, held: Service | None, granted: int, most: int) -> None:
        asked.used = choose.pick(
            (granted // 2, granted, granted, 0, choose.upto(most), granted + most // 10, most * 2)
        )  # fmt: skip
        if choose.chance(75 if held is not None and held.price_after else 8):
            asked.used_after, asked.used_either = choose.pick(
                ((most // 5, 0), (granted // 3, granted // 7), (0, granted // 2), (most // 3, most // 2))
            )
        rates = (0, 1, most // 100 + 1, most * 3)
        asked.max_rate = choose.pick(rates if asked.used_after + asked.used_either else (0, 0, 0, *rates, -1))

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

    # -- one-off requests

    def _event(self, choose: Choices, place: int) -> None:
        """A one-off debit or a balance check; ids and numbers are few, so debits, refunds and sessions share them."""
        sid = choose.pick((f"smsc;{place};0", self._sid(place, 0), "smsc;shared", self._sid(place, 0)))
        number = choose.pick((0, 1, 2, 3))
        if choose.chance(50):
            sid = self._fresh("smsc;")  # of the others, most are taken soon
        services: dict[str, ServiceCharge] = {}
        buckets = self._account(place).buckets
        for _ in range(choose.pick((1, 1, 1, 2, 2))):
            key = name = choose.pick(("sms", "data", "sms", "voice", "zone", "call", "forward"))
            if buckets and choose.chance(50):
                key = name = choose.pick(("data", "sms", "voice"))
            twin = next(iter(services.values())) if services and choose.chance(75) else None
            name, key = (twin.label, "'") if twin else (name, key)
            of = KINDS[name]
            want: int | None = choose.pick((1, 2, of.usual // 4 + 1, of.usual, of.usual * 9))
            if choose.chance(4):
                want = choose.pick((0, None))
            free = [bucket.free() for bucket in buckets if bucket.id in of.buckets]
            if free and choose.chance(30):  # more than one bucket has
                want = min(each or 0 for each in free) + of.usual // 4
            price = twin.price if twin and choose.chance(70) else choose.pick(of.windows)
            services[key] = asking(key, name, price, want)
        action = Action.CHECK if choose.chance(20) else Action.DEBIT
        session = self._account(place).sessions.get(sid)
        self._ask(choose, place, sid, session, RequestType.EVENT, number, tuple(services.values()), action=action)

    def _refund(self, choose: Choices, place: int) -> None:
        if not self.debits:
            self._event(choose, place)
            return
        debit = choose.pick(self.debits[-4:])
        if not choose.chance(10) and debit.account_id in self.ids:
            place = self.ids.index(debit.account_id)
        services = []
        for each in debit.services if choose.chance(60) else debit.services[:1]:
            want = choose.pick((1, None, None, (each.want or 1) // 3, (each.want or 1) * 2, 0))
            key = "unknown" if choose.chance(10) else each.key
            services.append(replace(each, key=key, want=want))
        if choose.chance(25):  # names no service
            services = [replace(services[0], key="-", want=choose.pick((None, None, 1, 3)))]
        sid, number = debit.session_id, choose.pick((0, 1, 2, 3))
        if choose.chance(60):
            sid, number = choose.pick((sid, f"refund;{place}", sid)), 10 + int(self._fresh(""))
        of: tuple[str, int] | None = (debit.session_id, debit.number)
        if choose.chance(12):
            of = choose.pick((None, (debit.session_id, 99), ("nobody's", 0)))
        session = self._account(place).sessions.get(sid)
        more = {"action": Action.REFUND, "refund_of": of}
        self._ask(choose, place, sid, session, RequestType.EVENT, number, tuple(services), **more)

    # -- who asks, and what for

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
        rest = {"deadline": self.now, "day": self.day, "pool": self._account(place).pool, "place": "home", **more}
        # Sessions of the even places belong to a failover group, the others to one host.
        host, binding = ("pgw.example.org", "") if sid[-1] in "13579" else ("pgw", "pgws")
        request = ChargeRequest(
            *(self.ids[place], "", sid, host, "data", kind, number, self.now, self.month),
            services=services,
            origin_realm="example.net",
            binding=binding,
            origin_state_id=session.origin_state_id if session is not None else 7,
            **rest,
        )
        if not plainly:
            self._vary(choose, place, session, request)
        self.charged.append(request)
        if self.ledgers.charge(request) and request.action is Action.DEBIT and kind is RequestType.EVENT:
            self.debits.append(request)

    def _vary(self, choose: Choices, place: int, session: Session | None, request: ChargeRequest) -> None:
        msisdn, kind = NUMBERS[place], request.type
        identity = choose.pick(("", "", "", "", "m", "i")) if not choose.chance(2) else "m38699"
        request.identity = {"m": "m" + msisdn, "i": "i" + self._account(place).imsi}.get(identity, identity)
        if place in self.ended and choose.chance(10):
            request.account_id, request.identity = self.ended[place], choose.pick(("m" + msisdn, ""))
        if self.gone and choose.chance(5):
            request.account_id = choose.pick(list(self.gone)[-3:])
        if request.binding:
            request.origin_host = choose.pick(("pgw", "pgw2"))
        if choose.chance(3):
            request.origin_host, request.binding = choose.pick(
                (("other", ""), (request.origin_host, "others"), ("pgws", ""), (request.origin_host,) * 2)
            )
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
            request.assumed = choose.pick((was, was, was, was, "abroad", UNKNOWN_PLACE))
        # Another worker's clock is a little slower: it is the day and the month before there.
        if choose.chance(4):
            request.now, request.month, request.day = self.now - 3, self.month - 1, self.day - 1
        request.via = choose.pick(("", "", "dra.example.net"))

    def _repeat(self, choose: Choices, place: int) -> None:
        self._again(self.charged if choose.chance(25) else self.charged[-12:], choose)

    def _again(self, charged: list[ChargeRequest], choose: Choices) -> None:
        if not charged:
            return
        request = choose.pick(charged[-256:])
        if choose.chance(10):
            request = replace(request, origin_host="other", binding=choose.pick(("", "others")))
        if request.account_id in self.gone and choose.chance(70):
            request = replace(request, account_id=self.gone[request.account_id])
        request = replace(request, services=tuple(replace(each) for each in request.services))
        self.ledgers.repeat(request)


def _next_kinds(session: Session | None, opened: bool) -> str:
    if session is None:
        return "IIIIIIIIUTT" if opened else "IIIIIIIIIIU"
    if session.closed_at:
        return "UUUTTI"
    return "UUTI" if session.released else "UUUUUUUUUUUUUUUUUUUUTTI"


def asking(key: str, name: str, price: PriceTerms, want: int | None) -> ServiceCharge:
    of, bars = KINDS[name], ("data",) if name == "data" else ()
    minimum = max(1, of.usual // 10)
    asked = ServiceCharge(key, name, price, of.buckets, 0, want, minimum, name == "incoming", bars, "29340")
    asked.counters, asked.more_legs = of.counters, of.legs
    return asked
