"""The audit from outside: compares the use that the network reported with the server's records.

1. Every record occurs once.
2. Per session and service, reported use = recorded use.
3. Accounts are computed again (`recomputation`): what each session cost and which units paid, fees, limits, notices,
the credit that is left. Transfers arrive, once, with what was sent.
4. Where an account's use is not wholly known, its sessions are priced again one by one: billable units = included units
+ overrun + paid units, the cost of the paid units is the debit, and included units were used before credit, and not
more than the package has.
5. Per account, Σ credited − Σ debited = the last recorded credit, never negative.
6. Per session, Σ movements of credit in its records = Σ debits of its services.
7. In `ocs audit`, paid in = left + held + spent.

A session's use is recorded when it ends or is given up. For a session that is still open, only 5 is checked, and 3 for
what is recorded.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulator.catalogue_sheet import CatalogueSheet
from simulator.differences import Difference
from simulator.prices import Package, PriceList, PriceListError, Rate
from simulator.recomputation import recompute
from simulator.records import ChargedUse, RecordBook, RecordedAccount, RecordedSession
from simulator.tally import SessionReport

MAX_FINDINGS = 50
"""Most findings with text; further ones are only counted."""
CATCH_UP_TIMEOUT_S = 30.0
CATCH_UP_POLL_S = 0.25
MOST_SESSIONS_AT_ONCE = 32
"""Most parallel sessions of an account whose grants may explain credit paid before the last included unit."""


@dataclass(slots=True)
class OutsideAudit:
    """What was compared, and the findings."""

    sessions: int = 0
    sessions_with_use: int = 0
    uncertain: int = 0
    """Sessions whose use was not compared, because a request that reported use got no clear answer."""
    still_open: int = 0
    """Sessions whose use was not compared, because they have not ended: it is recorded later."""
    services_compared: int = 0
    prices_compared: int = 0
    accounts: int = 0
    records: int = 0
    used_by_service: Counter[str] = field(default_factory=Counter)
    charged_by_service: Counter[str] = field(default_factory=Counter)
    """Micro-EUR."""
    overrun_units: int = 0
    recomputed: int = 0
    """Accounts that were computed again."""
    not_recomputed: Counter[str] = field(default_factory=Counter)
    """Why others were not → accounts."""
    differences: list[Difference] = field(default_factory=list)
    """Of accounts that were computed again, and of transfers; each is among the findings too."""
    findings: list[str] = field(default_factory=list)
    finding_count: int = 0
    caught_up_s: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.finding_count

    @property
    def other_findings(self) -> list[str]:
        """Those that are no `differences`."""
        told = {each.text() for each in self.differences}
        return [finding for finding in self.findings if finding not in told]

    def wrong(self, text: str) -> None:
        self.finding_count += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(text)

    def differs(self, difference: Difference) -> None:
        if len(self.differences) < MAX_FINDINGS:
            self.differences.append(difference)
        self.wrong(difference.text())


def audit(
    reports: Sequence[SessionReport],
    records_folder: Path,
    prices: PriceList,
    *,
    sheet: CatalogueSheet | None = None,
    timeout_s: float = CATCH_UP_TIMEOUT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> OutsideAudit:
    """Waits for the records to catch up, then compares. Without a `sheet` no account is computed again."""
    result, book = OutsideAudit(), RecordBook(records_folder)
    started = time.monotonic()
    book.read_on()
    while not _caught_up(reports, book) and time.monotonic() - started < timeout_s:
        sleep(CATCH_UP_POLL_S)
        book.read_on()
    result.caught_up_s = time.monotonic() - started
    result.records = len(book.event_ids)
    if book.duplicates:
        result.wrong(f"{book.duplicates} event ids were recorded more than once")
    whole = _recompute(result, reports, book, sheet)
    for report in reports:
        _compare_session(result, report, book, prices, whole)
    for session_id, session in book.sessions.items():
        if session.closed:
            _compare_movement(result, session_id, session)
    packages = {
        book.sessions[report.session_id].account: report.package
        for report in reports
        if report.package and book.sessions[report.session_id].account not in whole
    }
    _compare_accounts(result, book, prices, packages, _accounts_with_open_sessions(reports, book))
    return result


def _recompute(
    result: OutsideAudit, reports: Sequence[SessionReport], book: RecordBook, sheet: CatalogueSheet | None
) -> Container[str]:
    """Returns the accounts."""
    if sheet is None:
        return ()
    found = recompute(reports, book, sheet)
    result.recomputed, result.not_recomputed = len(found.accounts), found.left_out
    for difference in found.differences:
        result.differs(difference)
    return found.accounts


def _caught_up(reports: Sequence[SessionReport], book: RecordBook) -> bool:
    """Whether all sessions with a reported end are fully recorded."""
    for report in reports:
        expected = sum(service.used for service in report.services)
        if report.closed and expected and not report.use_is_uncertain:
            session = book.sessions.get(report.session_id)
            if session is None or not session.closed or session.used.total() < expected:
                return False
    return True


def _is_open(report: SessionReport, book: RecordBook) -> bool:
    session = book.sessions.get(report.session_id)
    return not report.closed and (session is None or not session.closed)


def _accounts_with_open_sessions(reports: Sequence[SessionReport], book: RecordBook) -> set[str]:
    """Accounts whose use of included units is not yet fully recorded."""
    numbers = {report.msisdn for report in reports if report.msisdn and _is_open(report, book)}
    return {
        book.sessions[report.session_id].account
        for report in reports
        if report.msisdn in numbers and report.session_id in book.sessions
    }


def _compare_session(
    result: OutsideAudit, report: SessionReport, book: RecordBook, prices: PriceList, whole: Container[str]
) -> None:
    """`whole`: accounts that were computed again."""
    result.sessions += 1
    session = book.sessions.get(report.session_id, RecordedSession())
    reported: Counter[str] = Counter()
    for service in report.services:
        reported[service.key] += service.used
        result.used_by_service[service.service or report.traffic] += service.used
    result.sessions_with_use += bool(reported.total())
    if report.use_is_uncertain:
        result.uncertain += 1
    elif _is_open(report, book):
        result.still_open += 1
    else:
        for key in reported.keys() | session.used.keys():
            result.services_compared += 1
            if session.used[key] not in _recorded_uses(report, reported[key]) and session.account not in whole:
                result.wrong(
                    f"{report.session_id} service {key or '-'}: {reported[key]} units reported as used,"
                    f" {session.used[key]} recorded"
                )
    _compare_prices(result, report, session, prices, known=session.account in whole)


def _compare_movement(result: OutsideAudit, session_id: str, session: RecordedSession) -> None:
    """Compares the movements of credit, recorded during the session, with the debits recorded at its end."""
    explained = sum(charged.debit_micro_eur for charged in session.charged.values())
    if session.moved_micro_eur != explained:
        result.wrong(
            f"{session_id}: its records took {session.moved_micro_eur} micro-EUR one by one, its services cost "
            f"{explained}"
        )


def _compare_prices(
    result: OutsideAudit, report: SessionReport, session: RecordedSession, prices: PriceList, *, known: bool
) -> None:
    """`known`: it was compared with the account on paper."""
    rates = {} if known else _expected_rates(result, report, prices)
    for price_id, charged in session.charged.items():
        if not (charged.used or charged.debit_micro_eur or charged.bucket_units):
            continue
        result.prices_compared += 1
        result.overrun_units += charged.overrun_units
        result.charged_by_service[report.traffic] += charged.debit_micro_eur
        if known:
            continue
        name = price_id.partition("@")[0]
        for label in {name, *charged.labels}:
            if rates and label not in rates:
                result.wrong(f"{report.session_id}: rated as {label}, expected {' or '.join(sorted(rates))}")
        _reprice(result, report, name, charged, prices)


def _expected_rates(result: OutsideAudit, report: SessionReport, prices: PriceList) -> dict[str, Rate]:
    """Rate id → rate of the session's services; empty if the plan does not know it (a replayed capture)."""
    rates: dict[str, Rate] = {}
    for service in report.services:
        if not service.service or not report.place:
            continue
        try:
            rates |= {rate.id: rate for rate in _rates_of(report, service.service, prices)}
        except PriceListError as error:
            if service.used:
                result.wrong(f"{report.session_id}: {service.used} units used, but {error}")
    return rates


def _recorded_uses(report: SessionReport, used: int) -> range:
    """What the records may say of this use. A call that is forwarded late has the incoming leg too while the phone is
    abroad (HOT-RAT-7); of one that went abroad or back it is not known how long.
    """
    if report.forwarding != "late":
        return range(used, used + 1)
    abroad = [place != "home" for place in (report.place, *report.other_places)]
    return range(used * (1 + all(abroad)), used * (1 + any(abroad)) + 1)


def _rates_of(report: SessionReport, service: str, prices: PriceList) -> Iterator[Rate]:
    """At each place of the session. Of a forwarded call: the call from home or from there, and the incoming leg."""
    direction = "fw" if report.forwarding else "mt" if report.incoming else "mo"
    places = {report.place, *report.other_places} | ({"home"} if report.forwarding else set())
    for place in sorted(places):
        yield prices.rate(service, place, direction=direction, destination=report.destination_class)
        if report.forwarding == "late" and place != "home":
            yield prices.rate(service, place, direction="mt")


def _reprice(result: OutsideAudit, report: SessionReport, name: str, charged: ChargedUse, prices: PriceList) -> None:
    """Prices the session's use at one rate again."""
    try:
        rate = prices.rate_named(name)
    except PriceListError as error:
        result.wrong(f"{report.session_id}: {error}")
        return
    price, included = rate.price, charged.bucket_units.total()
    paid = price.billable(charged.used) - included - charged.overrun_units
    if paid < 0:
        result.wrong(
            f"{report.session_id} {name}: {included} included units and {charged.overrun_units} overrun"
            f" for {price.billable(charged.used)} billable units"
        )
    elif price.cost_micro_eur(paid) != charged.debit_micro_eur:
        result.wrong(
            f"{report.session_id} {name}: {charged.debit_micro_eur} micro-EUR debited for {paid} paid units"
            f" ({charged.used} used), priced again it is {price.cost_micro_eur(paid)}"
        )
    package = prices.packages.get(report.package)
    if charged.debit_micro_eur and package is not None:
        for bucket in rate.buckets:
            if bucket in package.buckets and package.buckets[bucket] is None:
                result.wrong(f"{report.session_id} {name}: debited, though {package.id} has unlimited {bucket}")


def _compare_accounts(
    result: OutsideAudit, book: RecordBook, prices: PriceList, packages: Mapping[str, str], with_open: Container[str]
) -> None:
    debits: defaultdict[tuple[str, str], int] = defaultdict(int)
    for session in book.sessions.values():
        for price_id, charged in session.charged.items():
            debits[session.account, price_id.partition("@")[0]] += charged.debit_micro_eur
    for account_id, account in book.accounts.items():
        result.accounts += 1
        balance = account.credit_in_micro_eur - account.debit_micro_eur
        if account.credit_micro_eur is not None and balance != account.credit_micro_eur:
            result.wrong(
                f"{account_id}: records add up to {balance} micro-EUR, the last one says {account.credit_micro_eur}"
            )
        if account.lowest_micro_eur < 0 or balance < 0:
            result.wrong(
                f"{account_id}: its credit went below zero ({min(account.lowest_micro_eur, balance)} micro-EUR)"
            )
        package = prices.packages.get(packages.get(account_id, ""))
        if package is not None:
            _compare_most(result, account_id, account, package)
            if account_id not in with_open:
                _compare_order(result, account_id, account.bucket_units, package, prices, debits)


def _compare_most(result: OutsideAudit, account_id: str, account: RecordedAccount, package: Package) -> None:
    """Not more included units than the package has, in this period and in all."""
    for name, quantity in package.buckets.items():
        if quantity is None:
            continue
        units = _of_bucket(account.bucket_units, name) - _of_bucket(account.earlier_units, name)
        if units > quantity:
            result.wrong(f"{account_id}: {units} units of {package.id}.{name}, which has {quantity}")
        ever, most = _of_bucket(account.units_ever, name), quantity * max(account.periods, 1)
        if units <= quantity and ever > most:
            result.wrong(f"{account_id}: {ever} units of {package.id}.{name}, which had {most} in all")


def _compare_order(
    result: OutsideAudit,
    account_id: str,
    used: Counter[str],
    package: Package,
    prices: PriceList,
    debits: Mapping[tuple[str, str], int],
) -> None:
    """Credit paid for use that included units cover only when these were (nearly) used up."""
    for name, quantity in package.buckets.items():
        if quantity is None:
            continue
        units = _of_bucket(used, name)
        held_at_most = prices.most_granted.get(name, 0) * MOST_SESSIONS_AT_ONCE
        covered = prices.paid_by_bucket(name)
        if units + held_at_most < quantity and any(debits.get((account_id, rate), 0) for rate in covered):
            result.wrong(
                f"{account_id}: debited from credit while {quantity - units} units of {package.id}.{name} were left"
            )


def _of_bucket(units: Counter[str], name: str) -> int:
    return sum(count for bucket, count in units.items() if bucket.rpartition(".")[2] == name)


def check_totals(report: Mapping[str, object]) -> list[str]:
    """Findings in `ocs audit --json`: it must report no violation, and paid in = left + held + spent + refunded +
    expired.
    """
    wrong = []
    if report.get("ok") is not True:
        wrong.append(f"ocs audit is not content: {report.get('violations')}")
    money = money_totals(report)
    if money["paid_in"] != sum(amount for name, amount in money.items() if name != "paid_in"):
        wrong.append(f"paid in is not left + held + spent: {money}")
    return wrong


def money_totals(report: Mapping[str, object]) -> dict[str, int]:
    """Micro-EUR by name: paid_in, left (available), held, spent, refunded, expired, separate, in_transit (transfers not
    finished; less if a receiver was read later than its sender). The credit of `ocs audit` includes
    what is held.
    """
    nested = report.get("totals")
    table: Mapping[str, object] = nested if isinstance(nested, Mapping) else report

    def amount(*names: str) -> int:
        for name in names:
            value = table.get(f"{name}_micro_eur", table.get(name))
            if isinstance(value, int):
                return value
        return 0

    held = amount("held")
    left = amount("available", "left")
    if not left and (credit := amount("credit")):
        left = credit - held
    return {
        "paid_in": amount("paid_in"),
        "left": left,
        "held": held,
        "spent": amount("spent"),
        "refunded": amount("refunded"),
        "expired": amount("expired"),
        "separate": amount("separate"),
        "in_transit": amount("in_transit"),
    }
