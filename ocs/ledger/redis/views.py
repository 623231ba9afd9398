"""From stored documents (layout.py) to the views of contract/views.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgpack

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import (
    STATES,
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
    TransferView,
)
from ocs.ledger.layout import LAYOUT
from ocs.values.identities import by_imsi, by_msisdn
from ocs.values.life import UNUSED_UNTIL
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.products import LIMIT_COUNTER, PACKAGE_GROUP, Window
from ocs.values.sessions import session_owner

STATE_CODES = {name: code for code, name in STATES.items()}
NO_CUSTOMER = LAYOUT.read("customer", LAYOUT.new("customer"))
NO_LIMIT = -1
"""Of a counter; below it, in `lasting`: its limit is not of this window only."""
MOVED = "m"
"""State of the document that a moved account leaves in its old partition."""


def unpack(document: bytes) -> Any:
    """Texts come from peers and may be no UTF-8: such octets become surrogates."""
    return msgpack.unpackb(document, strict_map_key=False, unicode_errors="surrogateescape")


def _read(record: str, document: bytes) -> dict[str, Any]:
    try:
        named = LAYOUT.read(record, unpack(document))
        if not isinstance(named["version"], int) or named["readable_from"] > LAYOUT.version:
            layout = named["version"]
            raise LedgerError(
                "version",
                f"the document is of layout {layout!r}, this version knows up to {LAYOUT.version}: upgrade it",
            )
        _wake(record, named)
    except LedgerError:
        raise
    except Exception as error:  # noqa: BLE001 - any error means that the document is damaged
        raise LedgerError("unreadable", f"the document cannot be read: {type(error).__name__}") from None
    return named


def _wake(record: str, named: dict[str, Any]) -> None:
    """Puts idle buckets and counters beside the others (scripts/idle.lua)."""
    idle = named.pop("idle")
    if record == "pool":
        named["buckets"] += idle
    elif idle:
        named["buckets"] += idle["buckets"]
        named["counters"] += idle["counters"]


def account_view(account_id: str, document: bytes, *, now: int, month: int, day: int) -> AccountView | None:
    """The account as of `now`: state and counters follow the clock, all else is as stored. None = it has moved.

    LedgerError: "unreadable", "version".
    """
    account = _read("account", document)
    if account["state"] == MOVED:
        return None
    try:
        return _account_view(account_id, account, now, {Window.MONTH: month, Window.DAY: day})
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError("unreadable", f"the document cannot be read: {type(error).__name__}") from None


def moved_to(document: bytes) -> str:
    """The account's new id, "" = it is here. LedgerError: "unreadable", "version"."""
    account_id: str = _read("account", document)["moved_to"]
    return account_id


def has_left(document: bytes) -> bool:
    """The document is only the note of a move. LedgerError: "unreadable", "version"."""
    state: str = _read("account", document)["state"]
    return state == MOVED


def subscriber_ids(document: bytes) -> tuple[str, ...]:
    """Ids by which a living account is found; () = it is terminated, or has moved and left."""
    account = _read("account", document)
    return () if account["state"] in ("t", MOVED) else (by_msisdn(account["msisdn"]), by_imsi(account["imsi"]))


def is_terminated(document: bytes) -> bool:
    """LedgerError: "unreadable", "version"."""
    state: str = _read("account", document)["state"]
    return state == "t"


def _account_view(account_id: str, account: dict[str, Any], now: int, keys: dict[str, int]) -> AccountView:
    state = account["state"]
    if state == "a" and now >= account["active_until"]:
        state = "i"
    buckets = {each["instance"]: each["id"] for each in account["buckets"]}
    sessions = [_session_view(name, each, buckets) for name, each in account["sessions"].items()]
    counters = tuple(_counter_view(each, keys) for each in sorted(account["counters"], key=lambda each: each["id"]))
    limit = next((each for each in counters if each.id == LIMIT_COUNTER), None)
    package = _package(account["subscriptions"])
    customer = account["customer"] or NO_CUSTOMER
    return AccountView(
        account_id=account_id,
        msisdn=account["msisdn"],
        imsi=account["imsi"],
        state=STATES[state],
        active_until=0 if account["active_until"] == UNUSED_UNTIL else account["active_until"],
        credit_micro_eur=account["credit"],
        held_micro_eur=account["held"],
        paid_in_micro_eur=account["paid_in"],
        earlier_ids=tuple(account["moved_from"].split()),
        spent_micro_eur=account["spent"],
        refunded_micro_eur=account["refunded"],
        expired_micro_eur=account["expired"],
        spent_month_micro_eur=limit.value if limit else 0,
        limit_micro_eur=limit.limit if limit else None,
        bars=tuple(account["bars"].split(",")) if account["bars"] else (),
        package=package["terms"]["id"] if package else "",
        package_pending=package is not None and package["state"] == SubscriptionState.UNPAID,
        period_end=package["ends"] if package else 0,
        buckets=_bucket_views(account["buckets"]),
        sessions=tuple(sorted(sessions, key=lambda session: session.session_id)),
        subscriptions=tuple(_subscription_view(each) for each in sorted(account["subscriptions"], key=_instance)),
        counters=counters,
        pool=account["pool"],
        facts=account["facts"],
        measures=tuple(map(_measure_view, sorted(account["measures"], key=_kind_and_name))),
        reminders=tuple(sorted(_reminder_view(each) for each in account["agenda"])),
        country=account["country"] or "home",
        promotional_micro_eur=account["promotional"],
        blocks=tuple(account["blocks"].split(",")) if account["blocks"] else (),
        language=customer["language"],
        group=customer["group"],
        wrong_vouchers=customer["wrong_vouchers"],
        role=customer["role"],
        puk_known=customer["puk_hash"] != "",
        puk_tries=customer["puk_tries"],
        has_separate=customer["separate"] == 1,
        separate_micro_eur=account["separate"],
        sent_micro_eur=account["sent"],
        received_micro_eur=account["received"],
        transfers=tuple(sorted(_transfer_view(each) for each in account["transfers"])),
        auto_below_micro_eur=account["auto_below"],
        auto_asked=bool(account["auto_asked"]),
        auto_failures=account["auto_failures"],
        auto_debits=tuple((each["id"], each["at"]) for each in account["auto_debits"]),
        version=account["version"],
    )


def _package(subscriptions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Subscription of the tariff: the active one, else the unpaid one."""
    running = (SubscriptionState.ACTIVE, SubscriptionState.ENDING)
    tariffs = [each for each in subscriptions if each["terms"]["group"] == PACKAGE_GROUP]
    found = [each for each in tariffs if each["state"] in running]
    found += [each for each in tariffs if each["state"] == SubscriptionState.UNPAID]
    return found[0] if found else None


def _subscription_view(each: dict[str, Any]) -> SubscriptionView:
    return SubscriptionView(
        instance=each["instance"],
        product=each["terms"]["id"],
        state=SubscriptionState(each["state"]),
        starts_at=each["due"] if each["state"] == SubscriptionState.PLANNED else each["starts"],
        ends_at=each["ends"],
        next_product=each["following"]["id"] if each["following"] else "",
        price_micro_eur=each["terms"]["price"],
        group=each["terms"]["group"],
        committed_until=each["committed_until"],
        committed_days=each["committed_days"],
        reference=each["reference"],
        benefits=tuple((benefit["name"], benefit["amount"]) for benefit in each["committed_benefits"]),
        separate=each["separate"] == 1,
    )


def _transfer_view(each: dict[str, Any]) -> TransferView:
    return TransferView(
        instance=each["instance"],
        to=each["to"],
        amount_micro_eur=each["amount"],
        promotional_micro_eur=each["promotional"],
        reference=each["reference"],
        group=each["group"],
        role=each["role"],
        at=each["at"],
    )


def _reminder_view(each: dict[str, Any]) -> ReminderView:
    return ReminderView(each["at"], each["kind"], each["ref"])


def _counter_view(each: dict[str, Any], keys: dict[str, int]) -> CounterView:
    over = keys.get(each["window"], 0) > each["window_key"]  # its next movement begins a new window
    limit = each["lasting"] if over and each["lasting"] >= NO_LIMIT else each["limit"]
    return CounterView(
        id=each["id"],
        window=each["window"],
        value=0 if over else each["value"],
        held=each["held"],
        limit=limit if limit >= 0 else None,
        told=0 if over else each["told"],
    )


def _kind_and_name(each: dict[str, Any]) -> tuple[str, str]:
    return each["kind"], each["name"]


def _measure_view(each: dict[str, Any]) -> MeasureView:
    terms = AccountMeasure(
        kind=MeasureKind(each["kind"]),
        name=each["name"],
        reason=each["reason"],
        since=each["since"],
        until=each["until"],
    )
    return MeasureView(terms, each["begun"] == 1)


def _instance(each: dict[str, Any]) -> int:
    instance: int = each["instance"]
    return instance


def _bucket_views(buckets: list[dict[str, Any]]) -> tuple[BucketView, ...]:
    return tuple(_bucket_view(each) for each in sorted(buckets, key=_instance))


def _bucket_view(each: dict[str, Any]) -> BucketView:
    return BucketView(
        id=each["id"],
        unit=each["unit"],
        left=None if each["left"] < 0 else each["left"],
        held=each["held"],
        expires_at=each["ends"],
        instance=each["instance"],
        subscription=each["subscription"],
        priority=each["priority"],
        starts_at=each["starts"],
    )


def _session_view(session_id: str, session: dict[str, Any], buckets: dict[int, str]) -> SessionView:
    reservations = [_reservation_view(key, each, buckets) for key, each in session["services"].items()]
    return SessionView(
        session_id=session_id,
        origin_host=session["origin_host"],
        context=session["context"],
        started_at=session["started"],
        deadline=session["deadline"],
        reservations=tuple(sorted(reservations, key=lambda reservation: reservation.key)),
        origin_realm=session["origin_realm"],
        relay=session["relay"],
        origin_state_id=session["origin_state"],
        released=session["given_up"] == 1,
    )


def _reservation_view(key: str, service: dict[str, Any], buckets: dict[int, str]) -> ReservationView:
    legs = service["legs"]
    holds = [hold for leg in legs for hold in leg["holds"] if hold["units"]]
    counters = [pair for leg in legs for pair in zip(leg["rate"]["counters"], leg["counter_holds"], strict=False)]
    return ReservationView(
        key=key,
        label=legs[0]["rate"]["label"],
        held_micro_eur=sum(leg["held"] for leg in legs),
        held_units=_added_up((buckets[each["instance"]], each["units"]) for each in holds if not each["pooled"]),
        held_counters=_added_up(counters),
        pool_units=_added_up((each["instance"], each["units"]) for each in holds if each["pooled"]),
        always=service["always"] == 1,
    )


def _added_up(pairs: Iterable[tuple[Any, int]]) -> tuple[tuple[Any, int], ...]:
    """Sum per name, without zeros."""
    amounts: dict[Any, int] = {}
    for name, amount in pairs:
        amounts[name] = amounts.get(name, 0) + amount
    return tuple(sorted((name, amount) for name, amount in amounts.items() if amount))


def pool_view(pool_id: str, document: bytes) -> PoolView:
    """LedgerError: "unreadable", "version"."""
    pool = _read("pool", document)
    return PoolView(
        pool_id=pool_id,
        buckets=_bucket_views(pool["buckets"]),
        holds=_pool_shares(pool["shares"]),
        limits=tuple(sorted(PoolLimitView(each["account"], each["bucket"], each["units"]) for each in pool["limits"])),
        usage=_pool_shares(pool["usage"]),
    )


def _pool_shares(shares: list[dict[str, Any]]) -> tuple[PoolHoldView, ...]:
    found = sorted((each["account"], each["instance"], each["units"]) for each in shares)
    return tuple(PoolHoldView(*each) for each in found)


def session_names(account: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Session-Id and owner of each session of a document (`keys.session_name`)."""
    for session_id, session in account["sessions"].items():
        yield session_id, _owner(session)


def _owner(session: dict[str, Any]) -> str:
    owner: str = session["owner"] or session_owner(session["origin_host"])
    return owner
