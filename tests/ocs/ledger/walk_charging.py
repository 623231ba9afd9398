"""The charging part of the random walk: sessions, one-off requests, and cases that random steps would seldom reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ocs.ledger.contract.charging import ServiceCharge
from ocs.ledger.contract.views import SubscriptionState
from ocs.values.requests import Action, RequestType
from tests.ocs.ledger import catalogue
from tests.ocs.ledger.catalogue import KINDS
from tests.ocs.ledger.model_state import Account, Bucket
from tests.ocs.ledger.walk_asking import Choices, asking
from tests.ocs.ledger.walk_sessions import WalkSessions


class WalkCharging(WalkSessions):
    _credit: Callable[[int, int], None]
    """Defined by `Walk`."""

    def _event(self, choose: Choices, place: int) -> None:
        """A one-off debit or a balance check. There are few ids and numbers, so debits, refunds and sessions share
        them.
        """
        sid = choose.pick((f"smsc;{place};0", self._sid(place, 0), "smsc;shared", self._sid(place, 0)))
        number = choose.pick((0, 1, 2, 3))
        if choose.chance(50):
            sid = self._fresh("smsc;")  # most of the other ids are soon in use
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
            if free and choose.chance(30):  # more than one bucket can pay
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

    def _identities(self, choose: Choices, place: int) -> None:
        """Another SIM or number, often after a loss and while sessions run."""
        if choose.chance(40):
            self.ledgers.do(
                "set_state", self.ids[place], state="blocked", reason=choose.pick(("lost", "stolen", "frozen"))
            )
        if choose.chance(30):
            self._open_one(choose, place, "data")
        account, other = self._account(place), self._account(choose.pick((0, 1, 2)))
        if choose.chance(50):
            value = choose.pick((self._fresh("29340000001"), account.imsi, other.imsi, self._fresh("29340000001")))
            self.ledgers.do("change_imsi", self.ids[place], imsi=value)
        else:
            value = choose.pick((self._fresh("386682"), account.msisdn, other.msisdn, catalogue.NUMBERS[place]))
            self.ledgers.do("change_msisdn", self.ids[place], msisdn=value)
        if choose.chance(50):
            self._go_on(choose, place, self._some_sid(choose, place))

    # -- cases that random steps would seldom reach

    def _neighbours(self, choose: Choices, place: int) -> None:
        """Two services have the same price; one reports the units of both, and more."""
        name = choose.pick(("data", "voice", "zone", "data"))
        of, sid = KINDS[name], self._fresh(f"pgw.example.org;{place};")
        asked = [asking(key, name, of.windows[0], of.usual // 4) for key in (name, name + "'")]
        more: dict[str, Any] = {"plainly": True, "deadline": self.now + 600}
        self._ask(choose, place, sid, None, RequestType.INITIAL, 0, tuple(asked), **more)
        if choose.chance(30):  # then all that is left is held
            self._open_one(choose, place, name, want=40)
        if (session := self._account(place).sessions.get(sid)) is None:
            return
        granted = sum(service.granted for service in session.services.values())
        report = asking(choose.pick((name, name + "'")), name, of.windows[0], choose.pick((None, of.usual)))
        report.used = choose.pick((granted, granted + 5_000, granted * 2, granted * 3 // 4))
        self._ask(choose, place, sid, session, RequestType.UPDATE, 1, (report,), **more)
        if choose.chance(30):
            self._ask(choose, place, sid, session, RequestType.TERMINATION, 2, (report,), **more)

    def _volumes(self, choose: Choices, place: int) -> None:
        """Use of a fair-use volume up to its limit and beyond, in steps."""
        name = choose.pick(("abroad", "abroad", "fast", "fast", "both"))
        running = [each.terms for each in self._account(place).subscriptions if each.state == SubscriptionState.ACTIVE]
        wanted = [catalogue.BIG] if name == "fast" else [catalogue.SMALL, catalogue.BIG]
        if not any(each in running for each in wanted):
            tariff = choose.pick(wanted)
            self._credit(place, tariff.price_micro_eur + 500_000)
            self.ledgers.do("activate_package", self.ids[place], package=tariff, reference=self._fresh("p"))
        if choose.chance(20):
            self._open_one(choose, place, name, want=1)
        sid, of = self._fresh(f"pgw.example.org;{place};"), KINDS[name]
        more: dict[str, Any] = {"plainly": True, "deadline": self.now + 600}
        asked = asking(name, name, of.windows[0], choose.pick((of.usual * 2, of.usual, of.usual * 6)))
        self._ask(choose, place, sid, None, RequestType.INITIAL, 0, (asked,), **more)
        for number in range(1, choose.pick((2, 3, 5))):
            if (session := self._account(place).sessions.get(sid)) is None or name not in session.services:
                return
            granted = session.services[name].granted
            asked = asking(name, name, of.windows[0], choose.pick((of.usual * 2, None, of.usual)))
            asked.used = choose.pick((granted, granted + 70_001, granted // 2, granted + 900_000, 0))
            self._ask(choose, place, sid, session, RequestType.UPDATE, number, (asked,), **more)

    def _beyond(self, choose: Choices, place: int) -> None:
        """Services of one session use a fair-use volume up: in any order, over a price switch, after its end."""
        name = choose.pick(("abroad", "abroad", "both"))
        of, sid = KINDS[name], self._fresh(f"pgw.example.org;{place};")
        self._near_the_volume(choose, place)
        self._ask_beyond(choose, place, sid, RequestType.INITIAL, 0, (name, name + "'"))
        numbers = choose.pick(([1, 2, 3], [3, 1, 2], [1, 3], [2]))
        for number in numbers:
            if choose.chance(25):
                self._near_the_volume(choose, place)
            ends = choose.pick(("", "", "", "", "release", "end", "deadline"))
            if ends == "release":
                self.ledgers.do("release_session", self.ids[place], sid, reason="lost")
            elif ends == "end":
                self._ask_beyond(choose, place, sid, RequestType.TERMINATION, 2 + number, (name,))
            elif ends == "deadline":
                self.now += 650
            keys = choose.pick(((name, name + "'"), (name + "'", name), (name,), (name + "'",)))
            self._ask_beyond(choose, place, sid, RequestType.UPDATE, number, keys)
        if choose.chance(40):
            asked = asking("e", name, of.windows[-1], choose.pick((of.usual, of.usual // 7, 4 * of.usual)))
            self._ask(choose, place, self._fresh("smsc;"), None, RequestType.EVENT, 0, (asked,), plainly=True)
            self._refund(choose, place)

    def _near_the_volume(self, choose: Choices, place: int) -> None:
        volume = self._account(place).counter("abroad")
        if volume is not None:
            limit = volume.value + volume.held + choose.pick((40_000, 0, 150_001, 700_000))
            self.ledgers.do("set_limit", self.ids[place], limit_micro_eur=limit, counter="abroad")

    def _ask_beyond(
        self, choose: Choices, place: int, sid: str, kind: RequestType, number: int, keys: tuple[str, ...]
    ) -> None:
        name = keys[0].rstrip("'")
        of, session, services = KINDS[name], self._known(place, sid), []
        for key in keys:
            known = session.services.get(key) if session is not None else None
            granted = known.granted if known is not None else 0
            want = choose.pick((of.usual // 4, of.usual * 2, None, 10_000))
            asked = asking(key, name, choose.pick(of.windows), None if kind is RequestType.TERMINATION else want)
            if kind is not RequestType.INITIAL:
                asked.used = choose.pick((granted, granted + 1_025, 20_001, granted // 2 + 1, 300_000, 1))
                asked.used_after = choose.pick((0, 0, 1_000, 90_001))
            if choose.chance(40):
                asked.price_after = choose.pick((of.windows[-1], of.windows[-1], KINDS["zone"].windows[0]))
                asked.switch_at, asked.spans = self.now + choose.pick((100, 0, 20)), not choose.chance(30)
            services.append(asked)
        self._ask(choose, place, sid, session, kind, number, tuple(services), plainly=True, deadline=self.now + 600)

    def _late(self, choose: Choices, place: int) -> None:
        """Units of an ended period are reported late: by a session that is open, was given up, or was swept."""
        name = choose.pick(("data", "sms", "data", "voice"))
        of, sid = KINDS[name], self._fresh(f"pgw.example.org;{place};")
        ends = [
            bucket.expires
            for bucket in self._buckets(self._account(place))
            if bucket.id in of.buckets and not bucket.ended and bucket.expires > self.now
        ]
        if not ends:
            self._event(choose, place)
            return
        asked = asking(name, name, of.windows[0], choose.pick((of.usual // 2, of.usual, of.usual * 3)))
        deadline = choose.pick((min(ends) + 1000, min(ends) - 1, min(ends) + 1000))
        self._ask(choose, place, sid, None, RequestType.INITIAL, 0, (asked,), plainly=True, deadline=deadline)
        session = self._account(place).sessions.get(sid)
        granted = session.services[name].granted if session is not None else 0
        self.now = max(self.now, min(ends) + choose.pick((5, 0, 300)))
        if choose.chance(70):
            self.ledgers.sweep_due()
        if choose.chance(25):
            self.ledgers.do("release_session", self.ids[place], sid, reason="lost")
        asked = replace(asked, used=choose.pick((granted, granted // 2, granted * 2)), want=None)
        kind = choose.pick((RequestType.UPDATE, RequestType.TERMINATION))
        more: dict[str, Any] = {"plainly": True, "deadline": self.now + 600}
        self._ask(choose, place, sid, session, kind, 1, (asked,), **more)

    def _buckets(self, account: Account) -> list[Bucket]:
        pools = self.ledgers.model.pools
        of_pool = [bucket for (_, name), pool in pools.items() if name == account.pool for bucket in pool.buckets]
        return [*account.buckets, *of_pool]
