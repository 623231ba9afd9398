"""Due entries and subscriptions in the model ledger (docs/LEDGER.md, "Agenda")."""

from __future__ import annotations

import pickle

from ocs.ledger.contract.views import SubscriptionState
from ocs.values.life import UNUSED_UNTIL
from ocs.values.products import (
    LIMIT_COUNTER,
    NO_SHARES,
    PACKAGE_GROUP,
    BenefitShare,
    Conditions,
    LastShares,
    PackageTerms,
    Window,
)
from tests.ocs.ledger.model_operation import LIFE, FirstUse, Operation
from tests.ocs.ledger.model_settle import thresholds
from tests.ocs.ledger.model_state import Account, Bucket, Entry, MeasureState, Pool, Subscription

TOMBSTONE_S = 300
RUNNING = (SubscriptionState.ACTIVE, SubscriptionState.ENDING)


def run(op: Operation) -> None:
    """Does all that is due, in the order of the table in docs/LEDGER.md."""
    for counter in op.account.counters:
        counter.roll(op.now, op.month, op.day)
    _end_of_pool_periods(op)
    subscriptions(op)
    _period_notices(op)
    claim(op)
    _sessions(op)
    for entry in sorted(op.account.entries, key=lambda each: (each.at, each.kind, each.ref)):
        if entry.at <= op.now:
            op.account.entries.remove(entry)
            op.journal("due", kind=entry.kind, ref=entry.ref)
    measures(op)
    op.trim()


def earliest(account: Account) -> int | None:
    """Time at which the sweeper must next handle the account."""
    times = [session.deadline for session in account.sessions.values()]
    for session in account.live().values():
        times += [each.deadline for each in session.services.values() if each.granted or each.held_money]
    times += [entry.at for entry in account.entries]
    for measure in account.measures:
        times += [measure.terms.until] * bool(measure.terms.until) + [measure.terms.since] * (not measure.begun)
    times += [_time(each) for each in account.subscriptions if each.state in ("planned", "active", "ending")]
    times += [each.notice_at for each in account.subscriptions if each.state in RUNNING and each.notice_at]
    if account.state != "terminated":
        state, at = _next_end(account)
        times.append(at if account.announced in (state, "terminated") else at - LIFE.expiring_s)
    return min(times, default=None)


def measures(op: Operation) -> None:
    """Begins and ends measures by their times."""
    for each in sorted(op.account.measures, key=lambda each: (each.terms.kind, each.terms.name)):
        terms = each.terms
        over = bool(terms.until) and terms.until <= op.now
        if not each.begun and terms.since <= op.now and not over:
            each.begun = True
            op.ledger.met["a measure begins by its time"] += 1
            tell_measure(op, each, "begun")
        elif over:
            op.ledger.met["a measure ends by its time"] += 1
            op.account.measures.remove(each)
            tell_measure(op, each, "ended")


def tell_measure(op: Operation, measure: MeasureState, state: str) -> None:
    terms = measure.terms
    op.journal(
        "measure", measure=terms.kind.value, name=terms.name, state=state, reason=terms.reason, until=terms.until
    )


# -- subscriptions


def subscriptions(op: Operation) -> None:
    """Handles due fees and ends, by time, order and instance."""
    looked_at: set[tuple[int, str, int]] = set()  # one that cannot be paid stays as it is
    while True:
        waiting = [each for each in op.account.subscriptions if _is_due(op, each) and _state_of(each) not in looked_at]
        if not waiting:
            return
        first = min(waiting, key=lambda each: (_time(each), each.terms.order, each.instance))
        looked_at.add(_state_of(first))
        _due(op, first)


def _state_of(subscription: Subscription) -> tuple[int, str, int]:
    return subscription.instance, subscription.state, _time(subscription)


def _time(subscription: Subscription) -> int:
    return subscription.until if subscription.state in RUNNING else subscription.due


def _is_due(op: Operation, subscription: Subscription) -> bool:
    return subscription.state != SubscriptionState.ARMED and _time(subscription) <= op.now


def _due(op: Operation, subscription: Subscription) -> None:
    state, at = subscription.state, _time(subscription)
    if state in RUNNING and _is_last(subscription):
        end(op, subscription)
        return
    if state == SubscriptionState.ACTIVE:
        _end_units(op, subscription)
    if subscription.next and state == SubscriptionState.ACTIVE:
        _void_next(op, subscription)
        if _is_last(subscription):
            end(op, subscription)
            return
    product = subscription.terms
    if subscription.next and state == SubscriptionState.ACTIVE:
        if subscription.next.group == PACKAGE_GROUP and subscription.next.id != subscription.terms.id:
            _void(op)
        product, subscription.next = subscription.next, None
        op.ledger.met["the next terms follow"] += 1
    starts, terms = at, in_force(op, product, at)
    if state == SubscriptionState.UNPAID or op.now >= at + terms.period_s:
        # A period that was missed entirely is not charged.
        starts, terms = op.now, in_force(op, product, op.now)
    pays = can_pay(op, subscription, terms)
    if (pays or state != SubscriptionState.UNPAID) and (why := forbidden(op, subscription, terms, starts)):
        op.ledger.met[f"a {state} one is forbidden: {why}"] += 1
        op.account.subscriptions.remove(subscription)
        tell(op, subscription, "voided" if state == SubscriptionState.PLANNED else "ended", why)
        return
    if pays or state != SubscriptionState.UNPAID:
        subscription.terms = terms
    if can_pay(op, subscription, terms):
        start(op, subscription, starts)
    elif state != SubscriptionState.UNPAID:
        op.ledger.met[f"the fee of a {state} one is not paid"] += 1
        unpaid(op, subscription, at)


def _void_next(op: Operation, subscription: Subscription) -> None:
    """What was to follow is void if it must not begin."""
    assert subscription.next is not None
    at, others = subscription.until, _others(op, subscription, subscription.until)
    terms = in_force(op, subscription.next, at)
    if why := _in_the_way(others, terms, at) or unmet(others, terms.conditions):
        op.ledger.met[f"what follows is forbidden: {why}"] += 1
        subscription.next = None
        op.journal("subscription", id=terms.id, instance=subscription.instance, state="voided", reason=why)


def _others(op: Operation, own: Subscription, at: int) -> list[Subscription]:
    """What the account has beside it at a time."""
    return [
        each
        for each in op.account.subscriptions
        if each is not own and not (each.state in RUNNING and _is_last(each) and each.until <= at)
    ]


def unmet(others: list[Subscription], conditions: Conditions) -> str:
    """HOT-PKG-3, -9, -16: which condition of a period the account does not meet; "" = it meets all."""
    tariff = _tariff(others)
    if tariff is not None and tariff.terms.id in conditions.barred_with:
        return "barred"
    if conditions.requires and not {each.terms.id for each in others} & set(conditions.requires):
        return "requires"
    return "tariff" if conditions.running_tariff and (tariff is None or tariff.state not in RUNNING) else ""


def _in_the_way(others: list[Subscription], terms: PackageTerms, at: int) -> str:
    """HOT-PKG-9, HOT-PKG-17: what forbids a product that waited to begin."""
    for each in others:
        has = each.terms
        if each.state in (SubscriptionState.PLANNED, SubscriptionState.ARMED):
            continue
        if has.id in terms.excludes or terms.id in has.excludes:
            return "excluded"
        replaces = bool(terms.group) and terms.group == has.group and terms.id != has.id
        cheaper = terms.price_micro_eur < has.price_micro_eur
        if replaces and each.committed_until > at and (cheaper or terms.commitment_days):
            return "commitment"
    return ""


def forbidden(op: Operation, subscription: Subscription, terms: PackageTerms, at: int) -> str:
    """Why no period may begin. A product with a commitment that runs is kept."""
    if subscription.committed_until > at:
        return ""
    others = _others(op, subscription, at)
    why = "" if subscription.state in RUNNING else _in_the_way(others, terms, at)
    return why or unmet(others, terms.conditions)


def in_force(op: Operation, bought: PackageTerms, at: int) -> PackageTerms:
    """HOT-PKG-11: the terms of the version of the catalogue that is in force when the period starts."""
    versions = [terms for since, terms in op.ledger.terms.get(bought.id, ()) if since <= at]
    op.ledger.met["a period starts by other terms than were bought"] += bool(versions) and versions[-1] != bought
    return versions[-1] if versions else bought


def purse(op: Operation, separate: bool) -> int:
    """What may pay: the credit, or the separate account (HOT-GRP-5)."""
    return op.account.separate if separate else op.account.credit


def can_pay(op: Operation, subscription: Subscription, terms: PackageTerms) -> bool:
    """Held money may pay a fee: only state and credit count."""
    return (
        op.account.state_at(op.now) == "active"
        and purse(op, subscription.separate) >= terms.price_micro_eur
        and limit_allows(op, terms, subscription.separate)
    )


def limit_allows(op: Operation, terms: PackageTerms, separate: bool) -> bool:
    """HOT-CC-2: a price that counts needs room in the monthly limit, beside what is held there. The separate account
    has no limit.
    """
    limit = op.account.counter(LIMIT_COUNTER)
    room = limit.room() if limit is not None else None
    return separate or not terms.counts or room is None or room >= terms.price_micro_eur


def _is_last(subscription: Subscription) -> bool:
    if subscription.state == SubscriptionState.ENDING:
        return True
    return not subscription.terms.renews and not subscription.next


def _period_notices(op: Operation) -> None:
    for each in op.account.subscriptions:
        if each.state in RUNNING and 0 < each.notice_at <= op.now:
            renews = int(not _is_last(each))
            fields = {"id": each.terms.id, "instance": each.instance, "state": "expiring"}
            op.journal("subscription", **fields, ends=each.until, renews=renews)
            each.notice_at = 0


def _void(op: Operation) -> None:
    """HOT-PKG-11: the tariff changes."""
    for each in reversed(list(op.account.subscriptions)):
        if each.state == SubscriptionState.PLANNED and each.terms.voided_by_change:
            op.account.subscriptions.remove(each)
            tell(op, each, "voided")


def _end_of_period(op: Operation, terms: PackageTerms, starts: int) -> int:
    now = max(starts, op.now)
    running = [each for each in op.account.subscriptions if each.state in RUNNING and each.until > now]
    tariffs = [each.until for each in running if each.terms.group == PACKAGE_GROUP]
    return tariffs[0] if terms.with_tariff and tariffs else starts + terms.period_s


def _commit(op: Operation, subscription: Subscription, starts: int) -> None:
    terms = subscription.terms
    if terms.commitment_days and subscription.committed_to != terms.id:
        op.ledger.met["a commitment begins"] += 1
        subscription.committed_to, subscription.committed_days = terms.id, terms.commitment_days
        subscription.committed_until = starts + terms.commitment_days * 86_400
        subscription.benefits = terms.benefits


def _take_over(op: Operation, subscription: Subscription, other: Subscription) -> None:
    if other.committed_until > max(op.now, subscription.committed_until):
        op.ledger.met["a commitment is taken over"] += 1
        subscription.committed_to, subscription.committed_days = other.committed_to, other.committed_days
        subscription.committed_until, subscription.benefits = other.committed_until, other.benefits


def start(op: Operation, subscription: Subscription, starts: int) -> None:
    """Pays the fee and begins a period."""
    account, terms, changed = op.account, subscription.terms, False
    ends = _end_of_period(op, terms, starts)
    _commit(op, subscription, starts)
    for other in list(account.subscriptions):
        waits = other.state in (SubscriptionState.PLANNED, SubscriptionState.ARMED)
        if other is not subscription and terms.group and other.terms.group == terms.group and not waits:
            op.ledger.met[f"a {other.state} one of the group is replaced"] += 1
            end(op, other)
            _take_over(op, subscription, other)
            changed = changed or other.terms.id != terms.id
    if changed and terms.group == PACKAGE_GROUP:
        _void(op)
    _end_units(op, subscription)
    renewal = _runs(subscription)
    promotional = op.spend(terms.price_micro_eur, use=not terms.period_s, separate=subscription.separate)
    subscription.state, subscription.starts, subscription.until = (
        SubscriptionState.ACTIVE.value,
        starts,
        ends,
    )
    subscription.due = 0
    subscription.notice_at = max(ends - terms.notice_s, 0) if terms.notice_s else 0
    if subscription.notice_at <= op.now:
        subscription.notice_at = 0
    _lay_out(op, subscription)
    for counter_terms in terms.counters:
        counter = account.counter_of(counter_terms, op.month, op.day)
        if counter_terms.window is Window.PERIOD:
            op.ledger.met["a counter of a period begins anew"] += 1
            counter.anew(starts)
            counter.terms, counter.limit = counter_terms, counter_terms.limit
    _fee(op, subscription, paid=True, renewal=renewal, promotional=promotional)
    limit = account.counter(LIMIT_COUNTER)
    if terms.counts and limit is not None and not subscription.separate:
        op.ledger.met["a fee counts to the monthly limit"] += 1
        limit.add(terms.price_micro_eur, op.now)
        thresholds(op)
    if not terms.period_s:
        op.ledger.met["a fee of which nothing stays"] += 1
        account.subscriptions.remove(subscription)


def unpaid(op: Operation, subscription: Subscription, at: int) -> None:
    """Refuses the fee: the units end, and the subscription starts once there is enough credit."""
    _end_units(op, subscription)
    renewal = _runs(subscription)
    subscription.state, subscription.due = SubscriptionState.UNPAID.value, at
    subscription.starts = subscription.until = 0
    _fee(op, subscription, paid=False, renewal=renewal)


def _runs(subscription: Subscription) -> bool:
    return subscription.state in (SubscriptionState.ACTIVE, SubscriptionState.ENDING)


def _fee(op: Operation, subscription: Subscription, *, paid: bool, renewal: bool, promotional: int = 0) -> None:
    price = subscription.terms.price_micro_eur
    op.journal(
        "package",
        promo=promotional,
        id=subscription.terms.id,
        instance=subscription.instance,
        price=price,
        period_end=subscription.until if paid else 0,
        ok=paid,
        debit=price if paid and not subscription.separate else 0,
        credit=op.account.credit,
        **({"renewal": True} if renewal else {}),
        **({"separate_out": price} if paid and subscription.separate else {}),
    )


def end(op: Operation, subscription: Subscription) -> None:
    _end_units(op, subscription)
    op.account.subscriptions.remove(subscription)
    tell(op, subscription, "ended")


def tell(op: Operation, subscription: Subscription, state: str, why: str = "") -> None:
    more = {"reason": why} if why else {}
    op.journal("subscription", id=subscription.terms.id, instance=subscription.instance, state=state, **more)


def _end_units(op: Operation, subscription: Subscription) -> None:
    for pool, bucket in op.buckets():
        if bucket.subscription == subscription.instance and (not pool or bucket.owner == op.account_id):
            op.end(bucket)
    op.trim()
    for terms in subscription.terms.counters:
        counter = op.account.counter(terms.id)
        if counter is not None and counter.terms.window is Window.PERIOD and subscription.state in RUNNING:
            counter.anew(0)
            counter.limit = None


def _lay_out(op: Operation, subscription: Subscription) -> None:
    shared = op.pool if subscription.terms.shared else None
    place: Account | Pool = shared or op.account
    for terms in subscription.terms.buckets:
        place.last_instance += 1
        place.buckets.append(
            Bucket(
                *(place.last_instance, terms.id, terms.unit, terms.quantity, subscription.starts, subscription.until),
                *(terms.priority, subscription.instance),
                owner=op.account_id if shared else "",
                quantity=terms.quantity,
                thresholds=terms.thresholds,
            )
        )


def new(op: Operation, terms: PackageTerms, reference: str) -> Subscription:
    op.account.last_instance += 1
    subscription = Subscription(op.account.last_instance, terms, SubscriptionState.UNPAID.value, reference)
    op.account.subscriptions.append(subscription)
    return subscription


def package_of(account: Account) -> Subscription | None:
    """The running tariff, else the one that waits for its fee."""
    return _tariff(account.subscriptions)


def _tariff(subscriptions: list[Subscription]) -> Subscription | None:
    of_group = [each for each in subscriptions if each.terms.group == PACKAGE_GROUP]
    running = [each for each in of_group if each.state in RUNNING]
    waiting = [each for each in of_group if each.state == SubscriptionState.UNPAID]
    return next(iter([*running, *waiting]), None)


def period_end(op: Operation) -> int:
    """The earliest end of a running period of the account, or of units in its pool."""
    ends = [each.until for each in op.account.subscriptions if each.state in RUNNING]
    ends += [bucket.expires for pool, bucket in op.buckets() if pool and op.is_current(bucket)]
    return min(ends, default=0)


OWNER_LATE_S = 600


def late_owners(op: Operation) -> list[str]:
    """Other accounts that own expired units of the pool, and may still begin their next period."""
    return sorted({bucket.owner for pool, bucket in op.buckets() if pool and _waits(op, bucket)})


def _waits(op: Operation, bucket: Bucket) -> bool:
    expired = not bucket.ended and bucket.expires <= op.now < bucket.expires + OWNER_LATE_S
    return expired and bucket.owner != op.account_id


def _end_of_pool_periods(op: Operation) -> None:
    """Ends the pool's buckets that have expired; those of another account's subscription wait for its agenda."""
    for pool, bucket in op.buckets():
        if pool and bucket.expires <= op.now and not _waits(op, bucket):
            op.end(bucket)


# -- holds and sessions


def claim(op: Operation) -> None:
    """Takes held money if more is held than there is credit: a fee ranks before reservations."""
    account, asked = op.account, []
    for sid, session in sorted(account.sessions.items(), key=lambda each: (each[0] != op.keep, each[0])):
        for _, service in sorted(session.services.items()):
            for leg in service.legs:
                taken = min(max(account.held - account.credit, 0), leg.held_money)
                if taken:
                    op.take_money(leg, taken)
                    asked.append(sid)
    op.notice("reauthorize", "reclaim", [sid for sid in dict.fromkeys(asked) if sid != op.keep])
    op.ledger.met["a fee claims a hold"] += len(asked)
    op.ledger.met["a fee claims a hold of the request's own session"] += op.keep in asked
    op.ledger.met["a fee claims holds of several sessions"] += len(set(asked)) > 1


def _sessions(op: Operation) -> None:
    account, now = op.account, op.now
    for sid in sorted(account.sessions):
        session = account.sessions.get(sid)
        if session is None:
            continue
        if session.deadline <= now and sid != op.keep:
            if session.released:
                op.forget(sid)
            else:
                op.give_up(sid, "deadline")
        elif not session.released:
            for service in session.services.values():
                if service.deadline <= now and (service.granted or service.held_money):
                    op.ledger.met["a service gives its hold back at its own deadline"] += 1
                    op.release(service, remember=True)


# -- the sweeper's part


def life(op: Operation) -> None:
    """Inactivity and end of an account (HOT-ACC-3, -4, -6)."""
    account = op.account
    if account.state == "terminated":
        return
    if account.state_at(op.now) == "inactive" and not account.told_inactive:
        note_inactive(account)
        tell_state(op, "active")
        op.abort("state")
    state, at = _next_end(account)
    if account.announced not in (state, "terminated") and at - LIFE.expiring_s <= op.now < at:
        account.announced = state
        op.journal("expiring", state=state[0], ends=at)
    if op.now >= account.active_until + LIFE.inactive_s:
        terminate(op, "life")


def note_inactive(account: Account) -> None:
    account.told_inactive = True
    account.announced = account.announced or "inactive"


def _next_end(account: Account) -> tuple[str, int]:
    """The state that comes by time, and when."""
    if account.state == "active" and not account.told_inactive:
        return "inactive", account.active_until
    return "terminated", account.active_until + LIFE.inactive_s


def tell_state(op: Operation, was: str, reason: str = "") -> None:
    account = op.account
    state = account.state_at(op.now)
    ends = (
        0
        if account.active_until == UNUSED_UNTIL
        else account.active_until + (0 if state == "active" else LIFE.inactive_s)
    )
    op.journal("state", state=state[0], was=was[0], ends=ends, reason=reason)


OF_FIRST_USE = ("state", "credit", "promotional", "spent", "active_until", "last_instance", "separate")
"""What a first use changes, besides subscriptions, buckets and counters."""


def begin_life(op: Operation) -> None:
    """HOT-ACC-2: the first use."""
    account, pool = op.account, op.pool
    if account.state != "new":
        return
    kept = [getattr(account, name) for name in OF_FIRST_USE]
    lists = (account.subscriptions, account.buckets, account.counters)
    of_pool = (pool.buckets, pool.last_instance) if pool is not None else ()
    op.first_use = FirstUse(pickle.dumps((kept, lists, of_pool)), len(op.ledger.events))
    account.state, account.active_until = "active", op.now + LIFE.active_s
    tell_state(op, "new")
    for each in account.subscriptions:
        if each.state == SubscriptionState.UNPAID:
            each.state, each.due = SubscriptionState.PLANNED.value, op.now
    subscriptions(op)
    op.first_use.until = len(op.ledger.events)
    op.first_use.told = {each.terms.id: each.told for each in account.counters}
    op.ledger.met["a first use"] += 1


def take_back_life(op: Operation) -> dict[str, int]:
    """A request that comes to nothing activates nothing. Returns thresholds that it has told all the same, by
    counter.
    """
    account, first_use = op.account, op.first_use
    if first_use is None:
        return {}
    told = {each.terms.id: each.told for each in account.counters}
    kept, lists, of_pool = pickle.loads(first_use.before)
    for name, value in zip(OF_FIRST_USE, kept, strict=True):
        setattr(account, name, value)
    account.subscriptions, account.buckets, account.counters = lists
    if op.pool is not None:
        op.pool.buckets, op.pool.last_instance = of_pool
    del op.ledger.events[first_use.since : first_use.until]
    op.ledger.met["a first use comes to nothing"] += 1
    return {id_: percent for id_, percent in told.items() if percent != first_use.told.get(id_, 0)}


def block(op: Operation, reason: str) -> None:
    was = op.account.state_at(op.now)
    _set_blocks(op, (*op.account.blocks, reason))
    tell_state(op, was, reason)


def lift(op: Operation, reason: str) -> None:
    """Lift one reason, or with "" all."""
    was = op.account.state_at(op.now)
    _set_blocks(op, tuple(each for each in op.account.blocks if reason and each != reason))
    tell_state(op, was, reason)


def _set_blocks(op: Operation, reasons: tuple[str, ...]) -> None:
    account = op.account
    account.blocks = tuple(sorted(set(reasons)))
    account.state = "blocked" if reasons else "new" if account.active_until == UNUSED_UNTIL else "active"
    if account.state_at(op.now) == "inactive":
        note_inactive(account)


def pay_out(op: Operation, reference: str, reason: str) -> int:
    account = op.account
    amount = max(min(account.credit - account.promotional, account.credit - account.held), 0)
    own, account.separate = account.separate, 0
    if amount or own:
        account.credit -= amount
        account.refunded += amount + own
        more = {"separate_out": own} if own else {}
        op.journal("pay_out", ref=reference, reason=reason, debit=amount, credit=account.credit, **more)
    return amount + own


def pay_share(op: Operation, subscription: Subscription, share: BenefitShare) -> int:
    own = subscription.separate
    paid = min(share.micro_eur, purse(op, own))
    promotional = op.spend(paid, use=True, separate=own)
    unpaid = share.micro_eur - paid
    op.journal(
        "share",
        promo=promotional,
        id=subscription.terms.id,
        instance=subscription.instance,
        benefit=share.benefit,
        days_left=share.days_left,
        days=share.days_agreed,
        debit=0 if own else paid,
        credit=op.account.credit,
        **({"unpaid": unpaid} if unpaid else {}),
        **({"separate_out": paid} if own else {}),
    )
    return unpaid


def pay_last_shares(op: Operation, shares: LastShares) -> int:
    unpaid = 0
    for subscription in op.account.subscriptions:
        of_end = shares.get(subscription.instance, ())
        if subscription.committed_until and of_end:
            op.ledger.met["shares at an end for good"] += 1
            unpaid += sum([pay_share(op, subscription, each) for each in of_end])
            subscription.committed_until, subscription.benefits = 0, ()
    return unpaid


def terminate(op: Operation, reason: str, reference: str = "", shares: LastShares = NO_SHARES) -> int:
    account, was = op.account, op.account.state_at(op.now)
    op.abort("state")
    for sid in sorted(account.live()):
        op.give_up(sid, "terminated")
    for sid in sorted(account.sessions):
        op.forget(sid)
    unpaid = pay_last_shares(op, shares)
    for subscription in account.subscriptions:
        _end_units(op, subscription)
    if reference:
        pay_out(op, reference, reason)
    lost, promotional, own = account.credit, account.promotional, account.separate
    account.state, account.credit, account.separate = "terminated", 0, 0
    account.expired += lost + own
    account.buckets, account.subscriptions, account.sessions = [], [], {}
    account.entries, account.measures, account.pool = [], [], ""
    op.trim()
    account.promotional = 0
    op.ledger.asked.pop(op.account_id, None)
    more = {"unpaid": unpaid} if unpaid else {}
    more |= {"separate_out": own} if own else {}
    op.journal("terminated", promo=promotional, debit=lost, credit=0, was=was[0], reason=reason, **more)
    return unpaid


def remind(account: Account, at: int, kind: str, ref: str) -> None:
    account.entries = [each for each in account.entries if (each.kind, each.ref) != (kind, ref)]
    if at:
        account.entries.append(Entry(at, kind, ref))
