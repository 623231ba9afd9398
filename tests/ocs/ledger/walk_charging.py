"""The charging part of the random walk: sessions, one-off requests, and cases that random steps would seldom reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ocs.ledger.contract.charging import ServiceCharge
from ocs.values.requests import Action, RequestType
from tests.ocs.ledger.catalogue import KINDS
from tests.ocs.ledger.model_state import Account, Bucket
from tests.ocs.ledger.walk_asking import Choices, asking
from tests.ocs.ledger.walk_sessions import WalkSessions


class WalkCharging(WalkSessions):
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
