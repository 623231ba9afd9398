"""Views of the model's accounts and pools, as `RedisLedger.read` and `read_pool` return them."""

from __future__ import annotations

from ocs.ledger.contract.views import (
    AccountView,
    BucketView,
    CounterView,
    MeasureView,
    PoolHoldView,
    PoolLimitView,
    PoolView,
    ReminderView,
    ReservationView,
    SessionView,
    SubscriptionState,
    SubscriptionView,
)
from ocs.values.life import UNUSED_UNTIL
from ocs.values.products import LIMIT_COUNTER, Window
from tests.ocs.ledger.model_agenda import package_of
from tests.ocs.ledger.model_state import Account, Bucket, Counter, Pool, Service, Session, Subscription

LAYOUT = 4


def account_view(account_id: str, a: Account, *, now: int, month: int, day: int = 0) -> AccountView:
    package = package_of(a)
    counters = tuple(
        _counter(each, {Window.MONTH: month, Window.DAY: day or now // 86_400})
        for each in sorted(a.counters, key=lambda each: each.id)
    )
    limit = next((each for each in counters if each.id == LIMIT_COUNTER), None)
    return AccountView(
        account_id=account_id,
        earlier_ids=tuple(a.former),
        msisdn=a.msisdn,
        imsi=a.imsi,
        state=a.state_at(now),
        active_until=0 if a.active_until == UNUSED_UNTIL else a.active_until,
        credit_micro_eur=a.credit,
        held_micro_eur=a.held,
        paid_in_micro_eur=a.paid_in,
        spent_micro_eur=a.spent,
        refunded_micro_eur=a.refunded,
        expired_micro_eur=a.expired,
        spent_month_micro_eur=next((each.value for each in counters if each.id == LIMIT_COUNTER), 0),
        limit_micro_eur=limit.limit if limit is not None else None,
        bars=a.bars,
        package=package.terms.id if package is not None else "",
        package_pending=package is not None and package.state == SubscriptionState.UNPAID,
        period_end=package.until if package is not None else 0,
        buckets=tuple(_bucket(each) for each in sorted(a.buckets, key=lambda each: each.instance)),
        sessions=tuple(_session(a, sid, session) for sid, session in sorted(a.sessions.items())),
        subscriptions=tuple(_subscription(each) for each in a.subscriptions),
        counters=counters,
        pool=a.pool,
        facts=a.facts,
        measures=tuple(
            MeasureView(each.terms, each.begun)
            for each in sorted(a.measures, key=lambda each: (each.terms.kind, each.terms.name))
        ),
        reminders=tuple(sorted(ReminderView(each.at, each.kind, each.ref) for each in a.entries)),
        country=a.country,
        promotional_micro_eur=a.promotional,
        blocks=a.blocks,
        language=a.language,
        group=a.group,
        auto_below_micro_eur=a.auto_below,
        auto_asked=a.auto_asked,
        auto_failures=a.auto_failures,
        auto_debits=tuple((order_id, at) for order_id, at, _ in a.auto_debits),
        role=a.role,
        has_separate=a.has_separate,
        separate_micro_eur=a.separate,
        sent_micro_eur=a.sent,
        received_micro_eur=a.received,
        transfers=tuple(sorted(a.transfers)),
        version=LAYOUT,
    )


def pool_view(pool: Pool) -> PoolView:
    buckets = sorted(pool.buckets, key=lambda each: each.instance)
    holds = sorted((account_id, b.instance, units) for b in buckets for account_id, units in b.by.items())
    return PoolView(
        pool.id,
        tuple(_bucket(each) for each in buckets),
        tuple(PoolHoldView(*each) for each in holds),
        tuple(sorted(PoolLimitView(*key, units) for key, units in pool.limits.items())),
        tuple(PoolHoldView(*key, units) for key, units in sorted(pool.used.items())),
    )


def _bucket(b: Bucket) -> BucketView:
    return BucketView(b.id, b.unit, b.left, b.held, b.expires, b.instance, b.subscription, b.priority, b.starts)


def _subscription(s: Subscription) -> SubscriptionView:
    return SubscriptionView(
        *(s.instance, s.terms.id, SubscriptionState(s.state)),
        s.due if s.state == SubscriptionState.PLANNED else s.starts,
        s.until,
        s.next.id if s.next is not None else "",
        s.terms.price_micro_eur,
        s.terms.group,
        s.committed_until,
        s.committed_days,
        s.reference,
        s.benefits,
        s.separate,
    )


def _counter(c: Counter, begun: dict[Window, int]) -> CounterView:
    over = begun.get(c.terms.window, 0) > c.since
    limit = c.lasting[0] if over and c.lasting is not None else c.limit
    return CounterView(
        c.id, c.terms.window.value, 0 if over else c.value, c.held, limit, 0 if over else c.told
    )  # fmt: skip


def _session(account: Account, session_id: str, session: Session) -> SessionView:
    return SessionView(
        session_id,
        session.origin_host,
        session.context,
        session.started,
        session.deadline,
        tuple(_reservation(account, key, service) for key, service in sorted(session.services.items())),
        session.origin_realm,
        session.relay,
        session.origin_state_id,
        session.released,
    )


def _reservation(account: Account, key: str, service: Service) -> ReservationView:
    """Amounts on the same bucket or counter are added up, and sorted by name."""
    units: dict[str, int] = {}
    counters: dict[str, int] = {}
    pool_units: dict[int, int] = {}
    ids = {bucket.instance: bucket.id for bucket in account.buckets}
    for leg in service.legs:
        for hold in leg.held_units:
            if hold.pool:
                pool_units[hold.instance] = pool_units.get(hold.instance, 0) + hold.units
            else:
                units[ids[hold.instance]] = units.get(ids[hold.instance], 0) + hold.units
        for counter_id, amount in leg.held_counters.items():
            counters[counter_id] = counters.get(counter_id, 0) + amount
    return ReservationView(
        key,
        service.label,
        service.held_money,
        tuple(sorted(units.items())),
        tuple(sorted((counter_id, amount) for counter_id, amount in counters.items() if amount)),
        tuple(sorted(pool_units.items())),
        service.always,
    )
