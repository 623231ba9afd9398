"""Operations on accounts in the model ledger (contract.operations.AccountLedger)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.limits import MAX_SUBSCRIPTIONS_PER_ACCOUNT
from ocs.ledger.contract.observations import FairUseStep
from ocs.ledger.contract.operations import CustomerField
from ocs.ledger.contract.views import AccountView, PoolView, SubscriptionState
from ocs.ledger.redis.keys import uid_of
from ocs.ledger.redis.products import MAX_LOOKED_BACK
from ocs.values.exact import MAX_INTEGER
from ocs.values.life import UNUSED_UNTIL
from ocs.values.measures import MAX_MEASURES_PER_ACCOUNT, AccountMeasure, MeasureKind
from ocs.values.money import CREDIT_CEILING_MICRO_EUR
from ocs.values.products import (
    DEFAULT_LIMIT_MICRO_EUR,
    LIMIT_COUNTER,
    MONTHLY_LIMIT,
    NO_SHARES,
    BenefitShare,
    CounterTerms,
    LastShares,
    PackageTerms,
    Window,
)
from ocs.values.top_ups import Channel
from tests.ocs.ledger import model_agenda as agenda
from tests.ocs.ledger.model_operation import LIFE, Books, Operation
from tests.ocs.ledger.model_settle import thresholds
from tests.ocs.ledger.model_state import Account, MeasureState, Pool, Subscription, partition_of
from tests.ocs.ledger.model_views import account_view, pool_view


class Accounts(Books):
    """All operations except charging, synchronous."""

    def __init__(self) -> None:
        super().__init__()
        self._references: dict[str, tuple[str, int]] = {}
        self._applied: set[tuple[str, str, str]] = set()

    # -- accounts

    def open_account(
        self,
        *,
        msisdn: str,
        imsi: str,
        credit_micro_eur: int,
        package: PackageTerms | None,
        now: int,
        month: int,
        day: int = 0,
        entropy: int = 0,
        account_id: str = "",
        unused: bool = False,
        limit_micro_eur: int | None = DEFAULT_LIMIT_MICRO_EUR,
    ) -> str:
        """`account_id`: the id that Redis made from number and entropy."""
        if not 0 <= credit_micro_eur <= MAX_INTEGER:
            raise LedgerError("range", "")
        if any((a.msisdn == msisdn or a.imsi == imsi) and a.state != "terminated" for a in self.accounts.values()):
            raise LedgerError("exists", "")
        if credit_micro_eur > CREDIT_CEILING_MICRO_EUR:
            raise LedgerError("ceiling", "")
        account_id = account_id or f"00-{entropy:016x}"
        until = UNUSED_UNTIL if unused else now + LIFE.active_s
        account = Account(msisdn, imsi, credit_micro_eur, until, account_id, paid_in=credit_micro_eur)
        account.state = "new" if unused else "active"
        account.counter_of(MONTHLY_LIMIT, month, 0).limit = limit_micro_eur
        self.accounts[account_id] = account
        op = Operation(self, account_id, now, month, day)
        op.journal(
            "opened",
            credit_in=credit_micro_eur,
            credit=credit_micro_eur,
            package=package.id if package else "",
            unused=unused,
        )
        if limit_micro_eur != DEFAULT_LIMIT_MICRO_EUR:
            limit = -1 if limit_micro_eur is None else limit_micro_eur
            op.journal("limit", counter=LIMIT_COUNTER, limit=limit, once=False)
            thresholds(op)
        if package:
            terms = package if unused else agenda.in_force(op, package, now)
            subscription = agenda.new(op, terms, "")
            if unused:
                subscription.due = now
            elif agenda.can_pay(op, subscription, terms):
                agenda.start(op, subscription, now)
            else:
                agenda.unpaid(op, subscription, now)
        return account_id

    def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None:
        self.terms = dict(products)

    def top_up(
        self,
        account_id: str,
        *,
        amount_micro_eur: int,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        promotional: bool = False,
        channel: Channel = Channel.CARE,
        separate: bool = False,
    ) -> bool:
        if not 1 <= amount_micro_eur <= MAX_INTEGER:
            raise LedgerError("range", "")
        where = "promotional" if promotional else "separate" if separate else ""
        purpose = (f"{uid_of(account_id)} {where}", amount_micro_eur)
        account = self._account(account_id)
        if self._references.get(reference, purpose) != purpose:
            raise LedgerError("reference", "")
        if ("top_up", account.uid, reference) in self._applied:
            return False
        if account.state == "terminated":
            raise LedgerError("state", "")
        with self._changing(account_id, now, month, day) as op:
            account = op.account
            if now >= account.active_until + LIFE.inactive_s:
                raise LedgerError("state", "")
            if separate and not account.has_separate:
                raise LedgerError("no_separate", "")
            if agenda.purse(op, separate) + amount_micro_eur > CREDIT_CEILING_MICRO_EUR:
                raise LedgerError("ceiling", "")
            if separate:
                account.separate += amount_micro_eur
            else:
                account.credit += amount_micro_eur
            account.paid_in += amount_micro_eur
            account.promotional += amount_micro_eur if promotional else 0
            was = account.state_at(now)
            account.active_until = max(account.active_until, now + LIFE.active_s)
            account.told_inactive, account.announced = False, ""
            if was == "inactive":
                agenda.tell_state(op, was)
            op.journal(
                "topup",
                promo=amount_micro_eur if promotional else 0,
                credit_in=0 if separate else amount_micro_eur,
                ref=reference,
                channel=channel.value,
                credit=account.credit,
                **({"separate_in": amount_micro_eur} if separate else {}),
            )
        self._references[reference] = purpose
        self._applied.add(("top_up", account.uid, reference))
        return True

    def activate_package(
        self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int, day: int = 0
    ) -> bool:
        return self.subscribe(account_id, product=package, reference=reference, now=now, month=month, day=day)

    def subscribe(
        self,
        account_id: str,
        *,
        product: PackageTerms,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        starts_at: int = 0,
        armed: bool = False,
        any_state: bool = False,
        block: str = "",
        lift: str = "",
        separate: bool = False,
    ) -> bool:
        account = self._account(account_id)
        if ("package", account.uid, reference) in self._applied:
            return False
        with self._changing(account_id, now, month, day) as op:
            if separate and not op.account.has_separate:
                raise LedgerError("no_separate", "")
            is_fee = not product.period_s and not armed and starts_at <= now
            if op.account.state_at(now) != "active" and not (any_state and is_fee):
                raise LedgerError("state", "")
            if len(op.account.subscriptions) >= MAX_SUBSCRIPTIONS_PER_ACCOUNT:
                raise LedgerError("subscriptions", "")
            others = [each.terms for each in op.account.subscriptions]
            if any(each.id in product.excludes or product.id in each.excludes for each in others):
                raise LedgerError("excluded", "")
            if unmet := agenda.unmet(op.account.subscriptions, product.conditions):
                raise LedgerError(unmet, "")
            if armed or starts_at > now:
                subscription = agenda.new(op, product, reference)
                subscription.state = (SubscriptionState.ARMED if armed else SubscriptionState.PLANNED).value
                subscription.due = 0 if armed else starts_at
                subscription.separate = separate
                agenda.tell(op, subscription, subscription.state)
            elif agenda.purse(op, separate) < product.price_micro_eur:
                raise LedgerError("credit", "")
            elif not agenda.limit_allows(op, product, separate):
                raise LedgerError("limit", "")
            else:
                bought = agenda.new(op, product, reference)
                bought.separate = separate
                agenda.start(op, bought, now)
                if block:
                    agenda.block(op, block)
                    op.abort("state")
                if lift:
                    agenda.lift(op, lift)
                agenda.claim(op)
        self._applied.add(("package", account.uid, reference))
        return True

    def unsubscribe(
        self,
        account_id: str,
        instance: int,
        *,
        at_once: bool,
        now: int,
        month: int,
        day: int = 0,
        shares: Sequence[BenefitShare] = (),
    ) -> None:
        with self._changing(account_id, now, month, day) as op:
            subscription = self._subscription(op, instance)
            if subscription.committed_until:
                if agenda.purse(op, subscription.separate) < sum(each.micro_eur for each in shares):
                    raise LedgerError("credit", "")
                for each in shares:
                    agenda.pay_share(op, subscription, each)
                subscription.committed_until, subscription.benefits = 0, ()
            if at_once or subscription.state not in agenda.RUNNING:
                agenda.end(op, subscription)
            elif subscription.state != SubscriptionState.ENDING:
                subscription.state = SubscriptionState.ENDING.value
                agenda.tell(op, subscription, subscription.state)

    def set_next(
        self, account_id: str, instance: int, *, product: PackageTerms | None, now: int, month: int, day: int = 0
    ) -> None:
        with self._changing(account_id, now, month, day) as op:
            self._subscription(op, instance).next = product

    @staticmethod
    def _subscription(op: Operation, instance: int) -> Subscription:
        for each in op.account.subscriptions:
            if each.instance == instance:
                return each
        raise LedgerError("unknown", "")

    def set_limit(
        self,
        account_id: str,
        *,
        limit_micro_eur: int | None,
        now: int,
        month: int,
        day: int = 0,
        counter: str = LIMIT_COUNTER,
        terms: CounterTerms | None = None,
        once: bool = False,
    ) -> None:
        with self._changing(account_id, now, month, day) as op:
            found = op.account.counter(counter)
            if found is None and terms is not None:
                found = op.account.counter_of(terms, month, op.day)
            if found is None:
                raise LedgerError("unknown", "")
            if once and found.terms.window is not Window.ROLLING:
                found.lasting = found.lasting or (found.limit,)
            else:
                found.lasting = None
            found.limit, found.told = limit_micro_eur, 0
            limit = -1 if limit_micro_eur is None else limit_micro_eur
            op.journal("limit", counter=counter, limit=limit, once=found.lasting is not None)
            thresholds(op)

    def set_measure(self, account_id: str, *, measure: AccountMeasure, now: int, month: int, day: int = 0) -> None:
        if measure.until and measure.until <= now:
            raise LedgerError("range", "")
        with self._changing(account_id, now, month, day) as op:
            others = [each for each in op.account.measures if not _same(each.terms, measure)]
            if len(others) >= MAX_MEASURES_PER_ACCOUNT:
                raise LedgerError("measures", "")
            new = MeasureState(measure, measure.since <= now)
            op.account.measures = [*others, new]
            agenda.tell_measure(op, new, "begun" if new.begun else "planned")

    def lift_measure(
        self, account_id: str, *, kind: MeasureKind, name: str, now: int, month: int, day: int = 0
    ) -> bool:
        try:
            with self._changing(account_id, now, month, day) as op:
                wanted = (kind, name)
                found = [each for each in op.account.measures if (each.terms.kind, each.terms.name) == wanted]
                if not found:
                    raise LedgerError("again", "")
                op.account.measures.remove(found[0])
                agenda.tell_measure(op, found[0], "lifted")
        except LedgerError as error:
            if error.code != "again":
                raise
            return False
        return True

    def observe_abroad(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        """The account is seen abroad."""
        account = self._account(account_id)
        account.fair_use = account.fair_use or ""

    def step_fair_use(self, account_id: str, *, step: FairUseStep, now: int, month: int, day: int = 0) -> bool:
        try:
            with self._changing(account_id, now, month, day) as op:
                if op.account.fair_use != step.before:
                    raise LedgerError("again", "")
                measure = step.measure
                others = [each for each in op.account.measures if measure is None or not _same(each.terms, measure)]
                if measure is not None and step.state == "surcharge":
                    if len(others) >= MAX_MEASURES_PER_ACCOUNT:
                        raise LedgerError("measures", "")
                    op.account.measures = [*others, MeasureState(measure, begun=True)]
                    agenda.tell_measure(op, op.account.measures[-1], "begun")
                elif measure is not None and step.before == "surcharge":
                    for each in op.account.measures:
                        if _same(each.terms, measure) and each.terms.reason == measure.reason:
                            op.account.measures = others
                            agenda.tell_measure(op, each, "lifted")
                op.journal("fair_use", state=step.state, **step.facts)
                op.account.fair_use = step.state
        except LedgerError as error:
            if error.code != "again":
                raise
            return False
        return True

    def set_customer(
        self, account_id: str, *, name: CustomerField, value: str, now: int, month: int, day: int = 0
    ) -> None:
        with self._changing(account_id, now, month, day) as op:
            setattr(op.account, name, value)
            op.journal("customer", name=name, value=value)

    def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int, day: int = 0) -> None:
        with self._changing(account_id, now, month, day) as op:
            op.account.bars = tuple(sorted(set(bars)))
            op.journal("bars", bars=",".join(op.account.bars))

    def set_state(self, account_id: str, *, state: str, now: int, month: int, day: int = 0, reason: str = "") -> None:
        if state not in ("active", "blocked"):
            raise LedgerError("range", "")
        with self._changing(account_id, now, month, day) as op:
            if state == "blocked":
                agenda.block(op, reason or "care")
                op.abort("state")
            else:
                agenda.lift(op, reason)

    def pay_out(
        self,
        account_id: str,
        *,
        reference: str,
        reason: str,
        states: tuple[str, ...],
        now: int,
        month: int,
        day: int = 0,
        shares: LastShares = NO_SHARES,
    ) -> int:
        account = self._account(account_id)
        if ("pay_out", account.uid, reference) in self._applied:
            return 0
        with self._changing(account_id, now, month, day) as op:
            if op.account.state_at(now) not in states:
                raise LedgerError("state", "")
            agenda.pay_last_shares(op, shares)
            amount = agenda.pay_out(op, reference, reason)
            if not amount:
                raise LedgerError("nothing", "")
        self._applied.add(("pay_out", account.uid, reference))
        return amount

    def change_imsi(self, account_id: str, *, imsi: str, now: int, month: int, day: int = 0) -> bool:
        return self._change_id(account_id, "imsi", imsi, now, month, day)

    def change_msisdn(self, account_id: str, *, msisdn: str, now: int, month: int, day: int = 0) -> bool:
        return self._change_id(account_id, "msisdn", msisdn, now, month, day)

    def _change_id(self, account_id: str, what: str, value: str, now: int, month: int, day: int) -> bool:
        """A repetition changes nothing; it does not even run the agenda."""
        mine = self._account(account_id)
        others = (each for each in self.accounts.values() if each is not mine and each.state != "terminated")
        if any(getattr(each, what) == value for each in others):
            raise LedgerError("exists", "")
        if mine.state != "terminated" and getattr(mine, what) == value:
            return False
        with self._changing(account_id, now, month, day) as op:
            setattr(op.account, what, value)
            op.journal("identity", what=what)
            for reason in ("lost", "stolen") if what == "imsi" else ():
                if reason in op.account.blocks:
                    agenda.lift(op, reason)
            op.abort("identity")
        return True

    def remind(self, account_id: str, *, at: int, kind: str, ref: str, now: int, month: int, day: int = 0) -> None:
        with self._changing(account_id, now, month, day) as op:
            agenda.remind(op.account, at, kind, ref)

    def terminate_account(
        self,
        account_id: str,
        *,
        now: int,
        month: int,
        day: int = 0,
        reason: str = "care",
        pay_out: str = "",
        shares: LastShares = NO_SHARES,
    ) -> int:
        if self._account(account_id).state == "terminated":
            return 0
        return agenda.terminate(self._due(account_id, now, month, day), reason, pay_out, shares)

    def release_session(
        self, account_id: str, session_id: str, *, reason: str, now: int, month: int, day: int = 0
    ) -> bool:
        if session_id not in self._account(account_id).live():
            return False
        op = self._due(account_id, now, month, day, keep=session_id)
        op.give_up(session_id, reason)
        self._after(op)
        return True

    def sweep(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        if account_id in self.accounts:
            op = self._due(account_id, now, month, day)
            agenda.life(op)
            self._after(op)

    # -- pools and partitions

    def open_pool(self, account_id: str, pool_id: str, *, now: int) -> None:
        self._account(account_id)
        self.pools.setdefault((partition_of(account_id), pool_id), Pool(pool_id))

    def join_pool(self, account_id: str, pool_id: str, *, now: int, month: int, day: int = 0) -> None:
        account = self._account(account_id)
        if pool_id and (partition_of(account_id), pool_id) not in self.pools:
            raise LedgerError("unknown", "")
        if account.pool == pool_id:
            return
        with self._changing(account_id, now, month, day) as op:
            legs = [leg for session in op.account.sessions.values() for leg in session.legs()]
            if any(hold.pool for leg in legs for hold in leg.held_units):
                raise LedgerError("sessions", "")
            for leg in legs:
                leg.granted_by = [hold for hold in leg.granted_by if not hold.pool]
            if op.pool is not None:
                op.pool.limits = {key: units for key, units in op.pool.limits.items() if key[0] != account_id}
            op.account.pool = pool_id
            op.journal("pool", pool=pool_id)
        if pool_id:
            self._share_units(account_id)

    def _share_units(self, account_id: str) -> None:
        """Units of running shared products go to the pool that the account has joined, but for what is held or was
        granted.
        """
        account, pool = self.accounts[account_id], self.pool_of(account_id)
        assert pool is not None
        shared = {each.instance for each in account.subscriptions if each.terms.shared}
        sessions = (*account.sessions.values(), *account.closed.values())
        granted = {
            hold.instance for each in sessions for leg in each.legs() for hold in leg.granted_by if not hold.pool
        }
        for bucket in list(account.buckets):
            if bucket.subscription in shared and not (bucket.ended or bucket.held or bucket.instance in granted):
                account.buckets.remove(bucket)
                pool.last_instance += 1
                bucket.instance, bucket.owner = pool.last_instance, account_id
                pool.buckets.append(bucket)
                self.met["units go to the pool that is joined"] += 1

    def limit_pool(
        self,
        account_id: str,
        *,
        bucket: str,
        units: int | None,
        common: bool,
        now: int,
        month: int,
        day: int = 0,
    ) -> None:
        with self._changing(account_id, now, month, day) as op:
            if op.pool is None:
                raise LedgerError("no_pool", "")
            key = ("" if common else account_id, bucket)
            op.pool.limits.pop(key, None)
            if units is not None:
                op.pool.limits[key] = units
            fields = {"bucket": bucket, "units": -1 if units is None else units, "common": int(common)}
            op.journal("pool_limit", pool=op.account.pool, **fields)

    def read_pool(self, account_id: str, pool_id: str) -> PoolView | None:
        pool = self.pools.get((partition_of(account_id), pool_id))
        return pool_view(pool) if pool is not None else None

    def move_account(
        self, account_id: str, *, partition: int, now: int, month: int, day: int = 0, new_id: str = ""
    ) -> str:
        """`new_id`: the id that Redis gave it."""
        if account_id in self.moved:
            return self.moved[account_id]
        account = self._account(account_id)
        if int(partition_of(account_id)) == partition:
            return account_id
        if account.state == "terminated":
            raise LedgerError("state", "")
        if account.pool:
            raise LedgerError("pool", "")
        new_id = new_id or f"{partition:02d}-{len(self.moved):016x}"
        own = account.separate
        Operation(self, account_id, now, month).journal(
            *("moved_out", account.promotional),
            **{"to": new_id, "debit": account.credit, "credit": 0, **({"separate_out": own} if own else {})},
        )
        self.accounts[new_id] = self.accounts.pop(account_id)
        self.moved[account_id] = new_id
        self.moved.pop(new_id, None)  # it has returned to an earlier partition
        self.asked.pop(account_id, None)
        if account.auto_asked:
            self.asked[new_id] = now
        account.former = [account_id, *(each for each in account.former if each != new_id)][:MAX_LOOKED_BACK]
        Operation(self, new_id, now, month).journal(
            *("moved_in", account.promotional),
            of=account_id,
            credit_in=account.credit,
            credit=account.credit,
            **({"separate_in": own} if own else {}),
        )
        return new_id

    # -- shared by the operations

    def _account(self, account_id: str) -> Account:
        if account_id in self.moved:
            raise LedgerError("moved", "")
        if account_id not in self.accounts:
            raise LedgerError("unknown", "")
        return self.accounts[account_id]

    def _due(self, account_id: str, now: int, month: int, day: int = 0, keep: str = "") -> Operation:
        """Begins an operation that first runs the agenda."""
        op = Operation(self, account_id, now, month, day, keep)
        agenda.run(op)
        return op

    @contextmanager
    def _changing(self, account_id: str, now: int, month: int, day: int = 0) -> Iterator[Operation]:
        """Runs the agenda, then the change; a LedgerError undoes both."""
        if self._account(account_id).state == "terminated":
            raise LedgerError("state", "")
        op = Operation(self, account_id, now, month, day)
        op.begin()
        try:
            agenda.run(op)
            yield op
        except LedgerError:
            op.take_back()
            raise
        self._after(op)

    @staticmethod
    def _after(op: Operation) -> None:
        """Does what the change has made due or possible."""
        agenda.subscriptions(op)
        agenda.claim(op)
        op.tell_low_credit()
        op.ask_top_up()
        op.trim()

    # -- views

    def read(self, account_id: str, *, now: int, month: int, day: int = 0) -> AccountView | None:
        account = self.accounts.get(account_id)
        return account_view(account_id, account, now=now, month=month, day=day) if account is not None else None

    def view(self, account_id: str, now: int, month: int, day: int = 0) -> AccountView:
        view = self.read(account_id, now=now, month=month, day=day)
        assert view is not None
        return view


def _same(one: AccountMeasure, other: AccountMeasure) -> bool:
    return (one.kind, one.name) == (other.kind, other.name)
