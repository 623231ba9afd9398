"""A random walk over the ledger's operations, dense in what is rare in the field: what `test_model.py` does to both ledgers.

What comes next is chosen by what the model holds, so that most requests are applied and each special case is met often (`occurred.py`
says how often at least). A step is chosen by a few bytes; zeros are the plainest choice, so that a failing walk shrinks to a plain one.
"""

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
from tests.ocs.ledger.catalogue import KINDS, MONTH, NUMBERS, PACKAGES, START
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import Account, Service, Session

T = TypeVar("T")
STEP_BYTES = 80
"""Enough for most steps; what is chosen after them is the plainest."""
PLACES = (0, 0, 0, 1, 1, 2)
"""How often each account's turn comes."""


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
    """What a walk does: to the model and to Redis, which must agree (test_model.py)."""

    model: ModelLedger

    def open(self, msisdn: str, imsi: str, credit: int, package: PackageTerms | None) -> str | None: ...
    def top_up(self, account_id: str, amount: int, reference: str) -> None: ...
    def activate(self, account_id: str, package: PackageTerms, reference: str) -> None: ...
    def change(self, account_id: str, what: str, value: Any) -> None: ...
    def terminate(self, account_id: str) -> None: ...
    def release(self, account_id: str, sid: str, reason: str) -> None: ...
    def sweep_due(self) -> None: ...
    def charge(self, request: ChargeRequest) -> bool:
        """Whether it was applied, now."""

    def repeat(self, request: ChargeRequest) -> None: ...


@dataclass
class Walk:
    """Where the walk has got to."""

    ledgers: Ledgers
    now: int = START
    month: int = MONTH
    ids: list[str] = field(default_factory=list)
    """The accounts whose turn may come, in the order of NUMBERS."""
    ended: dict[int, str] = field(default_factory=dict)
    """Terminated accounts, whose MSISDNs are others' by now."""
    charged: list[ChargeRequest] = field(default_factory=list)
    debits: list[ChargeRequest] = field(default_factory=list)
    """One-off requests that were paid."""
    _sids: dict[tuple[int, int], str] = field(default_factory=dict)
    """The Session-Id in use at each of an account's places for one."""
    _opened: set[str] = field(default_factory=set)
    _topped_up: tuple[str, int, str] = ("", 0, "")
    _serial: int = 0

    def begin(self, choose: Choices) -> None:
        for number in NUMBERS:
            credit = choose.pick((20_000_000, 3_500_000, 500_000, 150_000_000, 500_000))
            self.ids.append(self._open(number, credit, choose.pick([None, *PACKAGES])))
        self._topped_up = (self.ids[0], 1, "first")

    def step(self, choose: Choices) -> None:
        """One step: time passes, mostly little, and something is done."""
        self.now += choose.pick((0, 0, 1, 5, 20, 20, 40))
        if choose.chance(10):
            self.now += choose.pick((60, 60, 300, 650, 650, 1000, 4000, 4000))
        if choose.chance(1):
            self.month += 1
        place = choose.pick(PLACES)
        if self._account(place).state == "blocked" and choose.chance(10):
            self.ledgers.change(self.ids[place], "state", "active")
        what = choose.upto(99)
        if what < 63:
            self._charge(choose, place)
        elif what < 73:
            self._refund(choose, place)
        elif what < 81:
            self._repeat(choose)
        else:
            self._else(choose, place)

    # -- everything but charging

    def _else(self, choose: Choices, place: int) -> None:
        account_id, account = self.ids[place], self._account(place)
        live = sorted(account.live())
        what = choose.upto(99)
        if what < 30:
            amount = choose.pick((100_000, 3_000_000, 3_000_000, 1, 20_000_000, 190_000_000))
            if not choose.chance(15):
                self._topped_up = (account_id, amount, self._fresh("r"))
            elif choose.chance(30):  # the reference is another amount's
                self._topped_up = (account_id, amount, self._topped_up[2])
            self.ledgers.top_up(*self._topped_up)
        elif what < 46:
            package = choose.pick(PACKAGES)
            for _ in range(choose.pick((1, 1, 2))):
                if choose.chance(50):
                    self._open_one(choose, place, "data")
                reference = choose.pick("abc") if choose.chance(25) else self._fresh("p")
                self.ledgers.activate(account_id, package, reference)
            if choose.chance(50):
                self._event(choose, place)
        elif what < 55:
            near = account.spent_month + choose.pick((100_000, 0, 1_000_000, 3_000_000))
            self.ledgers.change(account_id, "limit", choose.pick((near, None, near, 100_000_000)))
        elif what < 63:
            self.ledgers.change(account_id, "bars", choose.pick((["data"], [], ["roaming", "data"])))
        elif what < 69:
            self.ledgers.change(account_id, "state", choose.pick(("blocked", "active")))
        elif what < 80:
            sid = choose.pick(live) if live else self._sid(place, 0)
            self.ledgers.release(account_id, sid, choose.pick(("lost", "restarted")))
        elif what < 88:
            self.ledgers.sweep_due()
        elif what < 91:
            self._many_given_up(choose, place)
        elif what < 95:
            clash = choose.pick(NUMBERS)
            self.ledgers.open(clash if choose.chance(50) else "38670", f"29340{clash}", 201_000_000, None)
        elif what < 98:
            self.now += 8_000_000  # nobody is active any more
            self._go_on(choose, place, choose.pick(live) if live else self._sid(place, 0))
            if choose.chance(75):
                self.ledgers.top_up(account_id, 3_000_000, self._fresh("r"))
        else:
            self.ledgers.terminate(account_id)
            self.ended[place] = account_id
            self.ids[place] = self._open(account.msisdn, 20_000_000, choose.pick([None, *PACKAGES]))

    def _many_given_up(self, choose: Choices, place: int) -> None:
        """More sessions than are kept once they are given up, one by one or all at once."""
        at_once = choose.chance(50)
        sids = []
        for n in range(10):
            sids.append(self._open_one(choose, place, "sms", choose.pick((0, n, 10 - n))))
            if not at_once:
                self.ledgers.release(self.ids[place], sids[-1], "lost")
        if at_once:
            self.now += 700
        self._sids.update({(place, n): sid for n, sid in enumerate(sids[-5:-1])})

    def _open_one(self, choose: Choices, place: int, name: str, later: int = 0) -> str:
        sid, of = self._fresh(f"pgw.example.org;{place};"), KINDS[name]
        asked = ServiceCharge(name, name, of.windows[0], of.buckets, 0, of.usual // 9 + 1, 1)
        deadline = self.now + 600 + later
        self._ask(choose, place, sid, None, RequestType.INITIAL, 0, (asked,), deadline=deadline)
        return sid

    def _open(self, msisdn: str, credit: int, package: PackageTerms | None) -> str:
        account_id = self.ledgers.open(msisdn, self._fresh("29340000000"), credit, package)
        assert account_id
        return account_id

    def _account(self, place: int) -> Account:
        return self.ledgers.model.accounts[self.ids[place]]

    def _sid(self, place: int, n: int) -> str:
        return self._sids.setdefault((place, n), f"pgw.example.org;{place};{n}")

    def _fresh(self, prefix: str) -> str:
        self._serial += 1
        return f"{prefix}{self._serial:04d}"

    # -- charging

    def _charge(self, choose: Choices, place: int) -> None:
        if choose.chance(20):
            self._event(choose, place)
            return
        self._go_on(choose, place, self._sid(place, choose.pick((0, 0, 0, 1, 1, 2, 3))))

    def _go_on(self, choose: Choices, place: int, sid: str) -> None:
        session = self._account(place).sessions.get(sid)
        when_known = "UUTI" if session is not None and session.released else "UUUUUUUUUUUUUUUUUUUUTTI"
        when_unknown = "IIIIIIIIUTT" if sid in self._opened else "IIIIIIIIIIU"
        kind = choose.pick(when_known if session is not None else when_unknown)
        number = self._number(choose, sid, session, kind)
        if kind == "I" and session is None and number is None:
            # A real client never takes a Session-Id again; one in five does here.
            number = 0 if choose.chance(80) else choose.pick((1, 2, 9))
            if number == 0:
                at = next((at for at, known in self._sids.items() if known == sid), (place, 0))
                sid = self._sids[at] = self._fresh(f"pgw.example.org;{place};{at[1]};")
        if kind == "I":
            self._opened.add(sid)
        deadline = self.now + choose.pick((4000, 600, 7200))
        restricted = any(each.phase == "restricted" for each in session.services.values()) if session else False
        if restricted and choose.chance(15):
            self.ledgers.top_up(self.ids[place], 1_000_000, self._fresh("r"))
        numbers, given_up = [number or 0], False
        if kind == "U" and session is not None and choose.chance(5):  # one that overtakes two
            numbers, given_up = [numbers[0] + 3, numbers[0], numbers[0] + 1], choose.chance(50)
        for n, each in enumerate(numbers):
            if n == 2 and given_up:
                self.ledgers.release(self.ids[place], sid, "lost")
            services = self._services(choose, session, kind)
            self._ask(choose, place, sid, session, RequestType(kind), each, services, deadline=deadline)
        if kind == "I" and session is not None and choose.chance(50):  # what was asked before it was replaced
            before = [each for each in self.charged if each.session_id == sid][-8:]
            self._again([each for each in before if each.type is RequestType.EVENT] or before, choose)

    def _number(self, choose: Choices, sid: str, session: Session | None, kind: str) -> int | None:
        """None: a session of this id has been and gone."""
        if kind == "I":
            if choose.chance(15):
                return choose.pick((1, 2, 3, 5))
            if session is not None and not session.released:
                return 1 + choose.pick((session.highest, 0, 0, 1))
            return None if sid in self._opened else 0
        highest = session.highest if session is not None else 0
        if highest >= ANSWERS_KEPT_PER_SESSION and choose.chance(20):
            return highest - ANSWERS_KEPT_PER_SESSION + choose.pick((0, 0, 1, -1))
        # One straggler seldom comes alone.
        straggler = any(each.session_id == sid and each.number < highest for each in self.charged[-3:])
        if choose.chance(55 if straggler or (session is not None and session.released) else 75):
            return highest + 1
        return max(highest + choose.pick((2, 4, 4, 0, -1, -1, -1, -2, -2, -3, 64, -63, -64, -65, 70)), 0)

    def _services(self, choose: Choices, session: Session | None, kind: str) -> tuple[ServiceCharge, ...]:
        known = dict(sorted(session.services.items())) if session is not None and kind != "I" else {}
        asked: dict[str, ServiceCharge] = {}
        for _ in range(choose.pick((1, 1, 1, 2, 2, 3)) if kind == "I" else choose.pick((1, 1, 1, 1, 2, 2, 3, 0))):
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
            name = name if name in KINDS else choose.pick(list(KINDS))
            # What others of the session will cost after a switch, this one costs now.
            ahead = [each.price_after for each in (*known.values(), *asked.values()) if each.price_after]
            asked[key] = self._service(choose, key, name, known.get(key), kind)
            same = [price for price in ahead if price in KINDS[name].windows]
            if same and choose.chance(60):
                asked[key].price = choose.pick(same)
        return tuple(asked.values())

    def _service(self, choose: Choices, key: str, name: str, held: Service | None, kind: str) -> ServiceCharge:
        of = KINDS[name]
        price = choose.pick((*of.windows[:1], *of.windows))
        most = of.usual
        want: int | None = choose.pick((most // 3, None, most, None, choose.upto(most), 30 * most, 0, 1, most))
        asked = _asking(key, name, price, want)
        granted = held.granted if held is not None else 0
        if kind in "UT":
            asked.used = choose.pick(
                (granted // 2, granted, granted, 0, choose.upto(most), granted + most // 10, most * 2)
            )
            if choose.chance(75 if held is not None and held.price_after else 8):
                asked.used_after, asked.used_either = choose.pick(
                    ((most // 5, 0), (granted // 3, granted // 7), (0, granted // 2), (most // 3, most // 2))
                )
            rates = (0, 1, most // 100 + 1, most * 3)
            asked.max_rate = choose.pick(rates if asked.used_after + asked.used_either else (0, 0, 0, *rates))
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
        return asked

    def _event(self, choose: Choices, place: int) -> None:
        """A one-off debit or a balance check; ids and numbers are few, so debits, refunds and sessions share them."""
        sid = choose.pick((f"smsc;{place};0", self._sid(place, 0), f"smsc;{place};1", self._sid(place, 0)))
        number = choose.pick((0, 1, 2, 3))
        if choose.chance(50):
            sid = self._fresh("smsc;")  # of the others, most are taken soon
        services: dict[str, ServiceCharge] = {}
        for _ in range(choose.pick((1, 1, 1, 2, 2))):
            key = name = choose.pick(("sms", "data", "sms", "voice", "dear", "call"))
            if self._account(place).buckets and choose.chance(50):
                key = name = choose.pick(("data", "sms", "voice"))
            twin = next(iter(services.values())) if services and choose.chance(75) else None
            name, key = (twin.label, "'") if twin else (name, key)
            of = KINDS[name]
            want: int | None = choose.pick((1, 2, of.usual // 4 + 1, of.usual, of.usual * 9))
            if choose.chance(4):
                want = choose.pick((0, None))
            free = [bucket.free() for bucket in self._account(place).buckets if bucket.id in of.buckets]
            if free and choose.chance(30):  # more than one bucket has
                want = min(each or 0 for each in free) + of.usual // 4
            price = choose.pick(of.windows)
            if twin and choose.chance(70):
                price = twin.price
            services[key] = _asking(key, name, price, want)
        action = Action.CHECK if choose.chance(20) else Action.DEBIT
        session = self._account(place).sessions.get(sid)
        self._ask(choose, place, sid, session, RequestType.EVENT, number, tuple(services.values()), action=action)

    def _refund(self, choose: Choices, place: int) -> None:
        if not self.debits:
            self._event(choose, place)
            return
        debit = choose.pick(self.debits[-4:])
        if not choose.chance(10):
            place = self.ids.index(debit.account_id) if debit.account_id in self.ids else place
        services = []
        for each in debit.services if choose.chance(60) else debit.services[:1]:
            want = choose.pick((1, None, None, (each.want or 1) // 3, (each.want or 1) * 2, 0))
            key = "unknown" if choose.chance(10) else each.key
            services.append(replace(each, key=key, want=want))
        sid, number = debit.session_id, choose.pick((0, 1, 2, 3))
        if choose.chance(60):
            sid, number = choose.pick((sid, f"refund;{place}", sid)), 10 + int(self._fresh(""))
        if debit.account_id != self.ids[place]:
            sid = f"refund;{place}"  # a Session-Id is one account's
        of: tuple[str, int] | None = (debit.session_id, debit.number)
        if choose.chance(12):
            of = choose.pick((None, (debit.session_id, 99), ("nobody's", 0)))
        session = self._account(place).sessions.get(sid)
        more = {"action": Action.REFUND, "refund_of": of}
        self._ask(choose, place, sid, session, RequestType.EVENT, number, tuple(services), **more)

    def _ask(
        self,
        choose: Choices,
        place: int,
        sid: str,
        session: Session | None,
        kind: RequestType,
        number: int,
        services: tuple[ServiceCharge, ...],
        **more: Any,
    ) -> None:
        account_id, msisdn = self.ids[place], NUMBERS[place]
        identity = choose.pick(("", "", "", "", "m", "i")) if not choose.chance(2) else "m38699"
        if len(identity) == 1:
            identity += msisdn if identity == "m" else self._account(place).imsi
        if place in self.ended and choose.chance(20):
            account_id, identity = self.ended[place], choose.pick(("m" + msisdn, ""))
        # Sessions of the even places belong to a failover group, the others to one host.
        host, binding = ("pgw.example.org", "") if sid[-1] in "13579" else (choose.pick(("pgw", "pgw2")), "pgws")
        if choose.chance(4):
            host, binding = choose.pick((("other", ""), (host, "others"), ("pgws", ""), (host, host)))
        known = session.origin_state_id if session is not None else 7
        state = choose.pick((known, known, 0, known + 1)) if choose.chance(12) else known
        if kind is RequestType.INITIAL and session is not None:
            state = known + choose.pick((1, 1, 1, 1, 0, -1))
        where = session.place if session is not None else "home"
        if choose.chance(10):
            where = choose.pick(("home", "abroad", "home 2"))
        assumed = ""
        if kind in (RequestType.UPDATE, RequestType.TERMINATION) and choose.chance(25):
            was = session.place if session is not None else "home"
            assumed = choose.pick((was, was, was, was, "abroad", UNKNOWN_PLACE))
        # Another worker's clock is a little slower: it is the month before there.
        now, month = (self.now - 3, self.month - 1) if choose.chance(4) else (self.now, self.month)
        request = ChargeRequest(
            *(account_id, identity, sid, host, "data", kind, number, now, month),
            **{"deadline": self.now, "services": services, "origin_realm": "example.net", "binding": binding, **more},
            via=choose.pick(("", "", "dra.example.net")),
            origin_state_id=max(state, 0),
            place=where,
            assumed=assumed,
        )
        self.charged.append(request)
        if self.ledgers.charge(request) and request.action is Action.DEBIT and kind is RequestType.EVENT:
            self.debits.append(request)

    def _repeat(self, choose: Choices) -> None:
        self._again(self.charged if choose.chance(25) else self.charged[-12:], choose)

    def _again(self, charged: list[ChargeRequest], choose: Choices) -> None:
        if not charged:
            return
        request = choose.pick(charged)
        if choose.chance(10):
            request = replace(request, origin_host="other", binding=choose.pick(("", "others")))
        request = replace(request, services=tuple(replace(each) for each in request.services))
        self.ledgers.repeat(request)


def _asking(key: str, name: str, price: PriceTerms, want: int | None) -> ServiceCharge:
    of, bars = KINDS[name], ("data",) if name == "data" else ()
    return ServiceCharge(
        key, name, price, of.buckets, 0, want, max(1, of.usual // 10), name == "incoming", bars, "29340"
    )
