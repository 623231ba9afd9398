"""A random walk over the ledger's operations; `test_model.py` executes it on both ledgers.

Cases that are rare in the field are frequent here. The next operation depends on the state of the model, so that most
requests are applied and each special case is met often (least.py says how often at least).

A few bytes choose a step; zeros choose the simplest option, so a failing walk can be shortened to a simple one.
Charging: walk_charging.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ocs.ledger.contract.observations import FairUseStep
from ocs.ledger.contract.payments import OrderKind, OrderState, PaymentOrder, new_order_id
from ocs.ledger.contract.views import SubscriptionState
from ocs.values.life import UNUSED_UNTIL
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.products import BenefitShare
from ocs.values.requests import RequestType
from ocs.values.top_ups import Channel
from tests.ocs.ledger import catalogue
from tests.ocs.ledger.catalogue import CONDITIONS, KINDS, NUMBERS, PARTITIONS, POOLS, PRODUCTS, TARIFFS
from tests.ocs.ledger.model_state import partition_of
from tests.ocs.ledger.walk_asking import Choices, asking
from tests.ocs.ledger.walk_charging import WalkCharging

CHANNELS = tuple(each for each in Channel if each is not Channel.VOUCHER)
PLACES = (0, 0, 0, 1, 1, 1, 2, 2)
"""How often each account's turn comes."""
WEIGHTS = {
    "charge": 60,
    "refund": 6,
    "repeat": 8,
    "top_up": 6,
    "buy": 7,
    "subscriptions": 4,
    "limits": 3,
    "change": 4,
    "measures": 4,
    "volumes": 6,
    "beyond": 6,
    "identities": 3,
    "pay_out": 2,
    "release": 3,
    "sweep": 4,
    "pools": 4,
    "move": 2,
    "remind": 2,
    "claims": 4,
    "neighbours": 4,
    "late": 4,
    "many": 1,
    "years": 1,
    "ends": 2,
    "price_list": 1,
    "payments": 5,
    "groups": 2,
    "transfers": 6,
    "separate": 3,
}
ROLES = ("administrator", "member", "member")
"""Of the accounts by their place."""
GROUPS = ("g1", "g2")
PLAN = [name for name, weight in WEIGHTS.items() for _ in range(weight)]


class Walk(WalkCharging):
    """The state of the walk, and all its operations except charging."""

    def begin(self, choose: Choices) -> None:
        for number in NUMBERS:
            credit = choose.pick((20_000_000, 3_500_000, 500_000, 150_000_000, 500_000))
            self.ids.append(self._open(number, credit, choose.pick([None, *TARIFFS]), choose.chance(20)))
        self._topped_up = (self.ids[0], 1, "first")
        if choose.chance(70):
            for place in (0, 1):
                self._join(place, POOLS[0])
        for place, role in enumerate(ROLES):
            self._do(place, "join_group", group_id=GROUPS[0], role=role)

    def step(self, choose: Choices) -> None:
        """One step: some time passes, usually little, and one operation follows."""
        self.now += choose.pick((0, 0, 1, 5, 20, 20, 40))
        if choose.chance(10):
            self.now += choose.pick((60, 60, 300, 650, 650, 1000, 4000, 4000))
        if choose.chance(1):
            self.month += 1
        self._revive(choose)
        place = choose.pick(PLACES)
        if self._account(place).state == "blocked" and choose.chance(15):
            self._do(place, "set_state", state="active")
        what = PLAN[choose.upto(len(PLAN) - 1)]
        getattr(self, f"_{what}")(choose, place)

    def _do(self, place: int, operation: str, *args: Any, **more: Any) -> Any:
        account_id = self.ids[place]
        return self.ledgers.do(operation, account_id, *args, **more)

    # -- money

    def _top_up(self, choose: Choices, place: int) -> None:
        amount = choose.pick((100_000, 3_000_000, 3_000_000, 1, 20_000_000, 190_000_000))
        if not choose.chance(15):
            self._topped_up = (self.ids[place], amount, self._fresh("r"))
        elif choose.chance(40):  # the reference of a top-up with another amount
            self._topped_up = (self.ids[place], amount, self._topped_up[2])
        account_id, amount, reference = self._topped_up
        if account_id in self.gone and not choose.chance(20):
            account_id = self.gone[account_id]
        more: dict[str, object] = {"promotional": True} if choose.chance(30) else {}
        more["channel"] = CHANNELS[amount % len(CHANNELS)]
        self.ledgers.do("top_up", account_id, amount_micro_eur=amount, reference=reference, **more)

    def _credit(self, place: int, amount: int) -> None:
        self._do(place, "top_up", amount_micro_eur=amount, reference=self._fresh("r"))

    def _payments(self, choose: Choices, place: int) -> None:
        """Automatic top-ups: their mark, orders and what becomes of these; one-off payments."""
        account = self._account(place)
        if choose.chance(5 if account.auto_below else 80):
            below = choose.pick((2_000_000, 20_000_000, 60_000_000, 0))
            self._do(place, "set_auto_top_up", below_micro_eur=below)
        if choose.chance(30):
            self.now += choose.pick((43_200, 400_000, 864_000))
        amount = choose.pick((6_990_000, 11_980_000, 195_000_000))
        account_id = self.ids[place]
        order = PaymentOrder(new_order_id(account_id, self._next_serial()), account_id, OrderKind.AUTOMATIC, amount)
        if choose.chance(30):
            name = choose.pick(("a", "b", self._fresh("o")))
            one_off = replace(order, kind=OrderKind.ONE_OFF, reference=name)
            self._do(place, "order_one_off", order=one_off)
        for _ in range(choose.pick((1, 3, 3))):
            self._do(place, "asked_at")
            order = replace(order, id=new_order_id(account_id, self._next_serial()))
            self._do(place, "order_top_up", order=order, later_s=choose.pick((3_600, 60)))
            for each in list(self.ledgers.model.orders.get(account_id, {}).values())[-3:]:
                self._settle_order(choose, place, each)

    def _settle_order(self, choose: Choices, place: int, order: PaymentOrder) -> None:
        if not order.is_open and choose.chance(85):
            return
        if choose.chance(5):  # somebody else has changed it meanwhile
            order = replace(order, version=order.version + 1)
        end = choose.pick(("credited", "failed", "returned", "submitted"))
        more: dict[str, Any] = {}
        if end == "credited":
            more = {"amount_micro_eur": order.amount_micro_eur, "reference": order.credit_reference}
            self._do(place, "top_up", **more)
        elif end == "failed":
            self._do(
                place,
                "order_failed",
                order_id=order.id,
                released=choose.chance(50),
                later_s=100,
                most=choose.pick((3, 1)),
            )
        elif end == "returned":
            self._do(place, "take_back", order=order, reason="MD06", block=choose.pick(("", "non-payment")))
        state, due = OrderState(end), self.now + choose.pick((0, 60)) if end == "submitted" else 0
        self._do(place, "store_order", replace(order, state=state, due=due), told=choose.chance(80))

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial

    # -- subscriptions

    def _buy(self, choose: Choices, place: int) -> None:
        if choose.chance(15):
            self._do(place, "activate_package", package=choose.pick(TARIFFS), reference=self._fresh("p"))
            return
        product = choose.pick(PRODUCTS)
        if choose.chance(30):
            self._credit(place, product.price_micro_eur)
        if choose.chance(40):
            self._open_one(choose, place, choose.pick(("data", "sms", "zone")))
        reference = choose.pick("aab") if choose.chance(40) else self._fresh("p")
        more: dict[str, Any] = {}
        if choose.chance(25):
            more["starts_at"] = self.now + choose.pick((700, 60, 0, 2500))
        elif product.id == "ZONE" or choose.chance(5):
            more["armed"] = not choose.chance(20)
        if product.counts and choose.chance(30):
            limit = self._account(place).counters[0]
            self._do(place, "set_limit", limit_micro_eur=limit.value + limit.held + choose.pick((100_000, 300_000)))
        if choose.chance(25):
            product = replace(product, conditions=choose.pick(CONDITIONS))
        self._do(place, "subscribe", product=product, reference=reference, **more)
        if more.get("starts_at") and product.voided_by_change and choose.chance(50):
            tariff = choose.pick(TARIFFS)
            self._credit(place, tariff.price_micro_eur)
            self._do(place, "activate_package", package=tariff, reference=self._fresh("p"))
        if more.get("armed") and choose.chance(70):
            self._open_one(choose, place, choose.pick(("zone", "zone", "voice")))

    def _subscriptions(self, choose: Choices, place: int) -> None:
        known = [each.instance for each in self._account(place).subscriptions]
        instance = choose.pick(known) if known and not choose.chance(8) else 999
        if choose.chance(45):
            product = choose.pick((None, *TARIFFS, *TARIFFS, PRODUCTS[0]))
            self._do(place, "set_next", instance, product=product)
        else:
            self._do(place, "unsubscribe", instance, at_once=choose.chance(35), shares=self._shares(choose))

    @staticmethod
    def _shares(choose: Choices) -> tuple[BenefitShare, ...]:
        amounts = choose.pick(((), (70_000,), (90_000, 310_000), (5_000_000, 1)))
        return tuple(BenefitShare(f"benefit {n}", each, n, 9) for n, each in enumerate(amounts))

    def _last_shares(self, choose: Choices, place: int) -> dict[str, Any]:
        ends = [each.instance for each in self._account(place).subscriptions if each.committed_until]
        return {"shares": {each: self._shares(choose) for each in ends}} if ends and choose.chance(80) else {}

    def _claims(self, choose: Choices, place: int) -> None:
        """A fee becomes due, or a product is bought, while sessions hold all credit."""
        account = self._account(place)
        for _ in range(choose.pick((1, 2, 2))):
            self._open_one(choose, place, choose.pick(("call", "zone", "voice", "zone")), want=40)
        ends = [each.until for each in account.subscriptions if each.state == SubscriptionState.ACTIVE]
        if ends and choose.chance(60):
            self.now = max(self.now, min(ends))
            self._go_on(choose, place, self._some_sid(choose, place)) if choose.chance(50) else self._swept()
        else:
            cheap = [each for each in PRODUCTS if each.price_micro_eur <= account.credit]
            if cheap:
                self._do(place, "subscribe", product=choose.pick(cheap), reference=self._fresh("p"))
        if choose.chance(50):
            self._credit(place, choose.pick((200_000, 1_000_000, 5_000_000)))

    def _price_list(self, choose: Choices, place: int) -> None:
        """A version of the catalogue comes: other prices, periods and quantities of some products from a time on."""
        products = {}
        for product in PRODUCTS:
            if choose.chance(30):
                continue
            later = replace(
                product,
                price_micro_eur=product.price_micro_eur * choose.pick((11, 9, 20)) // 10,
                period_s=product.period_s + choose.pick((0, 100)),
                buckets=tuple(replace(each, quantity=each.quantity and each.quantity * 2) for each in product.buckets),
            )
            products[product.id] = [(0, product), (self.now + choose.pick((0, 300, 2_000, -300)), later)]
        self.ledgers.set_terms(products)

    # -- changes

    def _limits(self, choose: Choices, place: int) -> None:
        counters = self._account(place).counters
        counter = choose.pick(counters)
        near = counter.value + max(counter.held, 1) * choose.pick((1, 0, 2, 4)) // 2
        limit = choose.pick((near, None, near, counter.terms.limit, near))
        name = counter.id if not choose.chance(4) else "nothing"
        more: dict[str, Any] = {"once": True} if choose.chance(30) else {}
        if choose.chance(10):
            name, more["terms"] = catalogue.CAP.id, catalogue.CAP
        self._do(place, "set_limit", limit_micro_eur=limit, counter=name, **more)

    def _measures(self, choose: Choices, place: int) -> None:
        kind, names = choose.pick(
            (
                (MeasureKind.FACT, ("seen", "fair-use")),
                (MeasureKind.BAR, ("data", "roaming")),
                (MeasureKind.MUTE, ("limit:80", "SMALL.data", "abroad")),
            )
        )
        name = choose.pick(names)
        if choose.chance(15):
            self._fair_use(choose, place)
        known = [(each.terms.kind, each.terms.name) for each in self._account(place).measures]
        if choose.chance(60 if known else 10):
            kind, name = choose.pick([*known, *known, (kind, name)])
            self._do(place, "lift_measure", kind=kind, name=name)
            return
        if choose.chance(3):
            for n in range(33):
                measure = AccountMeasure(kind, f"{name}{n}", "many", self.now, self.now + 30)
                self._do(place, "set_measure", measure=measure)
            return
        since = self.now + choose.pick((0, 0, 0, -50, 40, 300))
        until = choose.pick((self.now + 60, 0, self.now + 500, self.now))
        measure = AccountMeasure(kind, name, "by care", since, until)
        self._do(place, "set_measure", measure=measure)

    def _fair_use(self, choose: Choices, place: int) -> None:
        """Steps of the fair-use observation, usually of the state that the account has."""
        if not choose.chance(20):
            self._do(place, "observe_abroad")
        states = ("", "warned", "surcharge")
        for _ in range(choose.pick((3, 1, 2))):
            before = self._account(place).fair_use or ""
            state = states[(states.index(before) + 1) % 3]
            measure = AccountMeasure(MeasureKind.FACT, "fair-use", choose.pick(("observed", "by care")), self.now)
            facts = {"why": "presence", "home_days": 1, "abroad_days": 2, "share": [["data", 1, 2]], "deadline": ""}
            if choose.chance(10):
                before = choose.pick(states)
            step = FairUseStep(before, state, 20_000, facts, measure)
            self._do(place, "step_fair_use", step=step)

    def _change(self, choose: Choices, place: int) -> None:
        if choose.chance(10):
            self._do(place, "set_customer", name="language", value=choose.pick(("", "en", "sl")))
        elif choose.chance(50):
            self._do(place, "set_bars", bars=choose.pick((["data"], [], ["roaming", "data"])))
        else:
            reason = choose.pick(("", "lost", "frozen", "stolen"))
            self._do(place, "set_state", state=choose.pick(("blocked", "active", "blocked")), reason=reason)
            if choose.chance(30):
                more = {"any_state": True, **choose.pick(({}, {"block": "frozen"}, {"lift": "frozen"}))}
                self._do(place, "subscribe", product=catalogue.ONCE, reference=self._fresh("p"), **more)

    def _pay_out(self, choose: Choices, place: int) -> None:
        if choose.chance(40):
            self._do(place, "set_state", state="blocked")
        if choose.chance(30):
            self._open_one(choose, place, "zone", want=choose.pick((1, 40)))
        states = choose.pick((("active", "inactive", "blocked"), ("inactive",), ("inactive", "blocked")))
        reference = f"o{place}" if choose.chance(25) else self._fresh("o")
        more = self._last_shares(choose, place)
        self._do(place, "pay_out", reference=reference, reason="inactive", states=states, **more)

    def _release(self, choose: Choices, place: int) -> None:
        live = sorted(self._account(place).live())
        sid = choose.pick(live) if live else self._sid(place, 0)
        self._do(place, "release_session", sid, reason=choose.pick(("lost", "restarted")))
        if live and choose.chance(40):
            self._go_on(choose, place, sid)

    def _sweep(self, choose: Choices, place: int) -> None:
        self._swept()

    def _swept(self) -> None:
        self.ledgers.sweep_due()

    def _remind(self, choose: Choices, place: int) -> None:
        at = choose.pick((self.now + 100, self.now + 30, 0, self.now + 700, self.now))
        self._do(place, "remind", at=at, kind=choose.pick(("confirm", "window")), ref=choose.pick("xy"))

    # -- groups

    def _groups(self, choose: Choices, place: int) -> None:
        group = self._account(place).group
        if group and choose.chance(40):
            self._do(place, "leave_group", group_id=choose.pick((group, group, GROUPS[1])))
        if not choose.chance(20):
            self._rejoin(place)
        else:
            role = choose.pick(("member", "administrator"))
            self._do(place, "join_group", group_id=choose.pick(GROUPS), role=role)

    def _rejoin(self, place: int) -> None:
        account = self._account(place)
        if account.group not in ("", GROUPS[0]):
            self._do(place, "leave_group", group_id=account.group)
        self._do(place, "join_group", group_id=GROUPS[0], role=ROLES[place])

    def _transfers(self, choose: Choices, place: int) -> None:
        """Between two accounts, usually of one group; some stop half-way, and the accounts change meanwhile."""
        other = choose.pick((1, 2) if place == 0 else (0, 0, 0, 3 - place))
        if choose.chance(70):
            self._rejoin(place)
            self._rejoin(other)
        sender = self._account(place)
        if choose.chance(40):
            self._credit(place, 5_000_000)
        free = max(sender.credit - sender.held - sender.promotional, 1)
        amount = choose.pick((min(free, 300_000), free, min(free, 2_000_000), free + 1, 190_000_000))
        more: dict[str, Any] = {"to": self.ids[other], "amount_micro_eur": amount, "group_id": GROUPS[0]}
        more["reference"] = f"t{place}" if choose.chance(15) else self._fresh("t")
        more["with_promotional"] = choose.chance(40)
        begins = choose.chance(50)
        self._do(place, "begin_transfer" if begins else "transfer", **more)
        if choose.chance(15):
            self._do(place, "transfer", **more)
        if begins and choose.chance(60):
            self._meanwhile(choose, place, other)
        for each in (place, 0, 1, 2) if choose.chance(50) else ():
            self._do(each, "continue_transfers", before=self.now - choose.pick((0, 60)))

    def _meanwhile(self, choose: Choices, place: int, other: int) -> None:
        """What may happen to the accounts of a transfer that is under way."""
        place = choose.pick((place, other))
        what = choose.pick(("move", "charge", "credit", "leave", "end"))
        if what == "move":
            self._move(choose, place)
        elif what == "charge":
            self._open_one(choose, place, "call", want=40)
        elif what == "credit":
            room = 200_000_000 - self._account(place).credit
            self._credit(place, max(room - choose.pick((0, 100_000)), 1))
        elif what == "leave":
            self._do(place, "leave_group", group_id=GROUPS[0])
        else:
            ended = self.ids[place]
            self._do(place, "terminate_account", **self._last_shares(choose, place))
            self.ledgers.gone_for_good(ended)
            self.ledgers.do("continue_transfers", ended, before=self.now)
            self._revive(choose)

    def _separate(self, choose: Choices, place: int) -> None:
        if not self._account(place).has_separate or choose.chance(15):
            self._do(place, "set_separate", is_open=not self._account(place).has_separate)
        elif choose.chance(30):
            self._do(place, "leave_group", group_id=GROUPS[0])
            self._do(place, "set_separate", is_open=False)
        amount = choose.pick((3_000_000, 20_000_000, 190_000_000))
        self._do(place, "top_up", amount_micro_eur=amount, reference=self._fresh("r"), separate=True)
        product = choose.pick(PRODUCTS)
        more: dict[str, Any] = {"armed": True} if product.id == "ZONE" else {}
        if choose.chance(20):
            more = {"starts_at": self.now + 300}
        self._do(place, "subscribe", product=product, reference=self._fresh("p"), separate=True, **more)
        if more.get("armed"):
            self._open_one(choose, place, "zone")
        if choose.chance(25):
            self._do(place, "pay_out", reference=self._fresh("o"), reason="inactive", states=("active", "blocked"))

    # -- pools and partitions

    def _join(self, place: int, pool: str) -> None:
        if pool:
            self._do(place, "open_pool", pool)
        self._do(place, "join_pool", pool)

    def _pools(self, choose: Choices, place: int) -> None:
        pool = self._account(place).pool
        if pool and choose.chance(60):
            if "shared" not in {each.terms.group for each in self._account(place).subscriptions}:
                self._credit(place, catalogue.SHARED.price_micro_eur)
                self._do(place, "subscribe", product=catalogue.SHARED, reference=self._fresh("p"))
            for other in (0, 1, 2):
                if self._account(other).pool == pool:
                    self._open_one(choose, other, "data")
            if choose.chance(35):
                units = choose.pick((1_000_000, None, 300_000, 4_000_000))
                bucket = choose.pick(("SHARED.data", "SHARED.data", "SMALL.data"))
                self._do(choose.pick((place, 0, 1)), "limit_pool", bucket=bucket, units=units, common=choose.chance(40))
            if choose.chance(15):
                self._do(place, "join_pool", "")
            return
        if pool and choose.chance(80):  # usually without holds
            for sid in sorted(self._account(place).live()):
                self._do(place, "release_session", sid, reason="lost")
        elif pool and choose.chance(50):
            self._open_one(choose, place, "data")
        if choose.chance(50):  # units that the pool takes over
            self._do(place, "join_pool", "")
            self._credit(place, catalogue.SHARED.price_micro_eur)
            self._do(place, "subscribe", product=catalogue.SHARED, reference=self._fresh("p"))
        self._join(place, choose.pick((POOLS[0], POOLS[0], "" if pool else POOLS[0], POOLS[1])))
        if choose.chance(3):
            self._do(place, "join_pool", "nobody's")

    def _move(self, choose: Choices, place: int) -> None:
        account_id = self.ids[place]
        if self._account(place).pool and not choose.chance(10):
            for sid in sorted(self._account(place).live()):
                self._do(place, "release_session", sid, reason="lost")
            self._do(place, "join_pool", "")
        if choose.chance(60):
            self._open_one(choose, place, "data")
        before = int(partition_of(account_id))
        partition = (before + choose.pick((1, 2, 3, 1, 0))) % PARTITIONS
        new = self._do(place, "move_account", partition=partition)
        if isinstance(new, str) and new in self.ledgers.model.accounts and new != account_id:
            self.ids[place] = self.gone[account_id] = new
            self.debits = [each for each in self.debits if each.account_id != account_id]
            if choose.chance(40):  # repeated, as after a crash
                self.ledgers.do("move_account", account_id, partition=partition)
            self._go_on(choose, place, self._some_sid(choose, place))

    # -- rare cases

    def _many(self, choose: Choices, place: int) -> None:
        """More sessions are given up or ended than the account remembers, one by one or all at once."""
        if choose.chance(30):
            self._crowd(choose, place)
            return
        at_once, sids = choose.chance(30), []
        ending = not at_once and choose.chance(50)
        for n in range(10):
            sids.append(self._open_one(choose, place, "sms", later=choose.pick((0, n, 10 - n))))
            if ending:
                self._end(choose, place, sids[-1])
            elif not at_once:
                self._do(place, "release_session", sids[-1], reason="lost")
        if at_once:
            self.now += 700
        self._sids.update({(place, n): sid for n, sid in enumerate(sids[-5:-1])})

    def _crowd(self, choose: Choices, place: int) -> None:
        """More sessions than an account may have, or more services than a session may have."""
        if choose.chance(50):
            for _ in range(34):
                self._open_one(choose, place, "incoming")
            return
        for first in (0, 32, 64):
            of = KINDS["incoming"]
            asked = [asking(f"{n}", "incoming", of.windows[0], 60) for n in range(first, first + 32)]
            sid, kind = f"pgw.example.org;{place};crowd", RequestType.UPDATE if first else RequestType.INITIAL
            deadline = self.now + 600
            session = self._known(place, sid)
            self._ask(choose, place, sid, session, kind, first, tuple(asked), plainly=True, deadline=deadline)

    def _years(self, choose: Choices, place: int) -> None:
        """Accounts become inactive, or reach the end of their life."""
        live = sorted(self._account(place).live())
        if choose.chance(12):
            self.now += 32_000_000
            self.ledgers.sweep_due()
            self._revive(choose)
            return
        if choose.chance(25):  # what is announced, before it comes
            account = self._account(place)
            self.now = max(self.now, (account.active_until + choose.pick((0, 270 * 86_400))) % UNUSED_UNTIL - 500_000)
            self.ledgers.sweep_due()
            self._revive(choose)
            return
        self.now += 8_000_000
        self._go_on(choose, place, choose.pick(live) if live else self._sid(place, 0))
        if choose.chance(30):
            self.ledgers.sweep_due()
        if choose.chance(75):
            self._credit(place, 3_000_000)

    def _ends(self, choose: Choices, place: int) -> None:
        if choose.chance(50):
            clash = choose.pick(NUMBERS)
            self.ledgers.open(clash if choose.chance(50) else "38670", f"29340{clash}", 201_000_000, None)
            return
        if not choose.chance(40):
            return
        more = {"pay_out": "leaves", "reason": "port_out"} if choose.chance(40) else {}
        self._do(place, "terminate_account", **more, **self._last_shares(choose, place))
        self.ledgers.gone_for_good(self.ids[place])
        if choose.chance(20):
            self._credit(place, 1_000_000)
        self._revive(choose)

    def _revive(self, choose: Choices) -> None:
        """Replaces terminated accounts by new ones."""
        for place, account_id in enumerate(self.ids):
            if self.ledgers.model.accounts[account_id].state == "terminated":
                self.ended[place] = account_id
                self.debits = [each for each in self.debits if each.account_id != account_id]
                credit = choose.pick((20_000_000, 20_000_000, 3_000_000, 0))
                package, unused = choose.pick([None, *TARIFFS]), choose.chance(40)
                limit = {"limit_micro_eur": choose.pick((None, 0, 2_000_000))} if choose.chance(20) else {}
                self.ids[place] = self._open(NUMBERS[place], credit, package, unused, **limit)

    def _open(self, msisdn: str, credit: int, package: Any, unused: bool, **limit: int | None) -> str:
        account_id = self.ledgers.open(msisdn, self._fresh("29340000000"), credit, package, unused, **limit)
        assert account_id
        return account_id
