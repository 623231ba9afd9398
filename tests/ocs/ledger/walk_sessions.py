"""The sessions of the random walk: the choice of their next request."""

from __future__ import annotations

from collections.abc import Callable

from ocs.ledger.contract.charging import NoFunds, ServiceCharge
from ocs.ledger.contract.limits import ANSWERS_KEPT_PER_SESSION
from ocs.values.requests import RequestType
from ocs.values.use import Unit
from tests.ocs.ledger.catalogue import KINDS
from tests.ocs.ledger.model_state import Service, Session
from tests.ocs.ledger.walk_asking import Asking, Choices, asking


class WalkSessions(Asking):
    _event: Callable[[Choices, int], None]
    """Defined by `WalkCharging`."""

    # -- sessions

    def _charge(self, choose: Choices, place: int) -> None:
        if choose.chance(20):
            self._event(choose, place)
        elif choose.chance(6):  # a Session-Id that another account also uses
            self._go_on(choose, place, "pgw.example.org;shared;1")
        else:
            self._go_on(choose, place, self._sid(place, choose.pick((0, 0, 0, 1, 1, 2, 3))))

    def _go_on(self, choose: Choices, place: int, sid: str) -> None:
        session = self._known(place, sid)
        kind = choose.pick(_next_kinds(session, sid in self._opened))
        number = self._number(choose, sid, session, kind)
        if kind == "I" and session is None and number is None:
            # A real client never reuses a Session-Id; here one in five does.
            number = 0 if choose.chance(80) else choose.pick((1, 2, 9))
            at = next((at for at, known in self._sids.items() if known == sid), None)
            if number == 0 and at is not None:
                sid = self._sids[at] = self._fresh(f"pgw.example.org;{place};{at[1]};")
        if kind == "I":
            self._opened.add(sid)
        deadline = self.now + choose.pick((4000, 600, 7200, 600, 120))
        phases = {each.phase for each in session.services.values()} if session else set()
        if "restricted" in phases and choose.chance(40):
            self.ledgers.do("top_up", self.ids[place], amount_micro_eur=1_000_000, reference=self._fresh("r"))
        numbers, given_up = [number or 0], False
        if kind == "U" and session is not None and not session.closed_at and choose.chance(6):
            # One request overtakes two.
            numbers, given_up = [numbers[0] + 3, numbers[0], numbers[0] + 1], choose.chance(50)
        elif kind == "U" and session is not None and not session.closed_at and choose.chance(5):
            # Numbers jump ahead, and go on from there or from before.
            far = session.highest + 70_000
            numbers = choose.pick(([far, session.highest + 1], [far, far + 1, far + 2], [far, session.highest + 2]))
        for n, each in enumerate(numbers):
            if n == 2 and given_up:
                self.ledgers.do("release_session", self.ids[place], sid, reason="lost")
            services = self._services(choose, session, kind)
            self._ask(choose, place, sid, session, RequestType(kind), each, services, deadline=deadline)
        if kind == "I" and session is not None and choose.chance(50):  # requests from before the session was replaced
            before = [each for each in self.charged if each.session_id == sid][-8:]
            self._again([each for each in before if each.type is RequestType.EVENT] or before, choose)
        if kind == "T" and session is not None and choose.chance(50):
            self._go_on(choose, place, sid)

    def _number(self, choose: Choices, sid: str, session: Session | None, kind: str) -> int | None:
        """The next CC-Request-Number; None = the session of this id has ended and is no longer known."""
        if kind == "I":
            if choose.chance(15):
                return choose.pick((1, 2, 3, 5))
            if session is not None and not session.released and not session.closed_at:
                if choose.chance(20):
                    return session.opening
                return 1 + choose.pick((session.highest, 0, 0, 1))
            if session is not None and session.closed_at:
                return choose.pick((session.opening, session.opening + 1, 7))
            return None if sid in self._opened else 0
        highest = session.highest if session is not None else 0
        if session is not None and session.closed_by is not None and choose.chance(70):
            return max(session.closed_by + choose.pick((-1, -2, -1, 1, 0)), 0)
        if choose.chance(4):
            return min(highest + choose.pick((2**32 - 1, 70_000, 1_024, 1_025)), 2**32 - 1)
        if session is not None and session.numbers.apart and choose.chance(60):
            return min(session.numbers.apart[-1] + choose.pick((1, 0, 1, 2)), 2**32 - 1)
        if highest >= ANSWERS_KEPT_PER_SESSION and choose.chance(20):
            return highest - ANSWERS_KEPT_PER_SESSION + choose.pick((0, 0, 1, -1))
        # Late requests often come in groups.
        straggler = any(each.session_id == sid and each.number < highest for each in self.charged[-3:])
        if choose.chance(55 if straggler or (session is not None and session.released) else 75):
            return min(highest + 1, 2**32 - 1)
        return max(highest + choose.pick((2, 4, 4, 0, -1, -1, -1, -2, -2, -3, 64, -63, -64, -65, 70)), 0)

    def _services(self, choose: Choices, session: Session | None, kind: str) -> tuple[ServiceCharge, ...]:
        known = dict(sorted(session.services.items())) if session is not None and kind != "I" else {}
        asked: dict[str, ServiceCharge] = {}
        for _ in range(choose.pick((1, 1, 1, 2, 2, 3)) if kind == "I" else choose.pick((1, 1, 1, 1, 2, 2, 3, 0))):
            key, name = self._key(choose, known, asked)
            # This service may now have the price that another has after its switch.
            others: list[Service | ServiceCharge] = [*known.values(), *asked.values()]
            ahead = [each.price_after for each in others if each.price_after]
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
            # Usually a service with a price switch, or one that has nothing left.
            special = [key for key, service in known.items() if service.phase != "normal" or service.price_after]
            special = [key for key in special if known[key].phase == "restricted"] or special
            key = choose.pick(special if special and choose.chance(80) else list(known))
        else:
            # A second service of a kind (') has the same price and buckets; the key "any" has any kind.
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
        asked.restrict = choose.pick(
            (NoFunds.REFUSE, NoFunds.RESTRICT_REPEATEDLY, NoFunds.RESTRICT_REPEATEDLY, NoFunds.RESTRICT_ONCE)
        )
        asked.retry_want = choose.pick((most // 2, most // 2, 1, 0))
        if held is not None and held.phase != "normal" and choose.chance(75):
            asked.want = None
            asked.restrict = choose.pick((NoFunds.RESTRICT_REPEATEDLY, NoFunds.RESTRICT_ONCE))
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
        octets, seconds, messages = Unit.OCTETS, Unit.SECONDS, Unit.MESSAGES
        any_rate, money = (octets, 0), (Unit.MONEY, 0)
        bounds = (any_rate, (seconds, 0), (octets, most // 100 + 1), (octets, most * 3))
        split = asked.used_after + asked.used_either
        bound = choose.pick(bounds if split else (any_rate, any_rate, money, *bounds, (messages, 0)))
        asked.unit, asked.max_rate = bound


def _next_kinds(session: Session | None, opened: bool) -> str:
    if session is None:
        return "IIIIIIIIUTT" if opened else "IIIIIIIIIIU"
    if session.closed_at:
        return "UUUTTI"
    return "UUTI" if session.released else "UUUUUUUUUUUUUUUUUUUUTTI"
