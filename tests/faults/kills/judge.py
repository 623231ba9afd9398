"""Compares the driver's books with what the server has at the end: ledger, record files, SQL, provider and gateway."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import sqlalchemy

from ocs.ledger.contract.payments import OrderState
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.identities import by_msisdn
from tests.faults.harness import Books as LedgerBooks
from tests.faults.kills.books import EUR, MINI, Account, Books
from tests.faults.kills.installation import PARTITIONS, Installation, Surroundings
from tests.ocs.ledger.books import outbox_read

USE = ("use", "charge", "expired", "refund")
OPEN_NOTICES = "SELECT count(*) FROM notices WHERE state IN ('waiting', 'sending')"


def rows(installation: Installation, query: str) -> list[tuple[Any, ...]]:
    engine = sqlalchemy.create_engine(installation.history_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]
    finally:
        engine.dispose()


class Ledger:
    """What the ledger says, read once while the server still runs."""

    def __init__(self, url: str, books: Books) -> None:
        self.views: dict[str, AccountView] = {}
        self.ids: dict[str, str] = {}
        self.orders: dict[str, list[tuple[str, int, OrderState]]] = {}
        self.unfinished: list[str] = []
        self.last: dict[int, int] = {}
        """Number of each partition's last event."""
        self.left: dict[int, list[int]] = {}
        """Numbers of its events that are still in Redis."""
        with LedgerBooks(url, PARTITIONS) as ledger:
            ledger.ask(lambda open_: self._read(open_, books))
            self.audit = ledger.audit()

    async def _read(self, ledger: RedisLedger, books: Books) -> None:
        now = int(time.time())
        for msisdn in books.accounts:
            self.ids[msisdn] = account_id = await ledger.find_subscriber(by_msisdn(msisdn)) or ""
            view = await ledger.read(account_id, now=now, month=int(time.strftime("%Y%m")))
            assert view is not None, f"{msisdn} has no account"
            self.views[msisdn] = view
            orders = await ledger.orders_of(account_id)
            self.orders[msisdn] = [(each.id, each.amount_micro_eur, each.state) for each in orders]
        for partition in range(PARTITIONS):
            self.last[partition] = await ledger.outbox_last(partition)
            self.left[partition] = [each.sequence for each in await outbox_read(ledger, partition, after=0, count=9999)]
            self.unfinished += map(str, await ledger.unfinished_transfers(partition, before=now + 999, count=9))
            self.unfinished += map(str, await ledger.unfinished_groups(partition, before=now + 999, count=9))


class Judge:
    """Compares `books` with `records`, `ledger`, the SQL database and what `around` was sent."""

    def __init__(self, installation: Installation, around: Surroundings, books: Books, ledger: Ledger) -> None:
        self.installation, self.around, self.books, self.ledger = installation, around, books, ledger
        self.records = installation.records()
        self.counts: dict[str, int] = {}

    def checks(self) -> dict[str, list[str]]:
        """Name of each check → what is wrong, [] = nothing."""
        self.counts.clear()
        return {
            "clients got no answer that they must not get": self.books.faults,
            "credit of each account is that of the driver's books": [*self._credit()],
            "each key, voucher and transfer moved its amount once": [*self._moves()],
            "each session was charged once, and is one row in SQL": [*self._sessions()],
            "nothing is in transit, claimed or unfinished": [*self._unfinished()],
            "provider: one debit for each order, credited once": [*self._debits()],
            "record files: each event once, none missing": [*self._events()],
            "SQL: each event and transaction once, none missing": [*self._sql()],
            "gateway: each notice once, none missing": [*self._notices()],
            "ocs audit": [*self._audit()],
        }

    def _accounts(self) -> Iterator[tuple[Account, AccountView, str]]:
        for msisdn, account in self.books.accounts.items():
            yield account, self.ledger.views[msisdn], self.ledger.ids[msisdn]

    def _topped_up(self, channel: str) -> list[dict[str, Any]]:
        return [each for each in self.records if each["kind"] == "topup" and each.get("channel") == channel]

    # -- money

    def _credit(self) -> Iterator[str]:
        moved = Counter[str]()
        for each in self.records:
            moved[each["account"]] += each.get("credit_in_micro_eur", 0) - each.get("debit_micro_eur", 0)
        for account, view, account_id in self._accounts():
            found = (view.credit_micro_eur, moved[account_id])
            if found != (account.credit, account.credit):
                yield f"{account.msisdn}: {account.credit} expected; ledger and Σ of the records {found}"
            if view.held_micro_eur or view.sessions:
                yield f"{account.msisdn}: {view.held_micro_eur} held by {view.sessions}"

    def _moves(self) -> Iterator[str]:
        """By account and reference: what the records say against what the driver's books say. Those of automatic
        top-ups are compared with the provider's.
        """
        found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for each in self.records:
            amount = each.get("credit_in_micro_eur", 0) - each.get("debit_micro_eur", 0)
            if each["kind"] in (*USE, "opened") or not amount or each.get("channel") == "auto":
                continue
            reference = str(each.get("reference", ""))
            reference = f"from {reference}" if each["kind"] == "transfer_in" else reference
            found[each["account"]][reference].append(amount)
        for account, _, account_id in self._accounts():
            purchases = [-MINI] if account.orders else [-price for price in account.purchases]
            expected = {name: [value] for name, value in account.moves.items()} | ({"": purchases} if purchases else {})
            self.counts["movements"] = self.counts.get("movements", 0) + sum(map(len, expected.values()))
            if found[account_id] != expected:
                yield f"{account.msisdn}: {_difference(found[account_id], expected)}"

    def _sessions(self) -> Iterator[str]:
        expected = {
            (account_id, session): charged
            for account, _, account_id in self._accounts()
            for session, charged in account.sessions.items()
        }
        recorded = Counter[tuple[str, str]]()
        for each in self.records:
            if each["kind"] in USE and "services_debit_micro_eur" in each:
                recorded[each["account"], each["session_id"]] += each["services_debit_micro_eur"]
        query = "SELECT account, session_id, count(*), sum(debit_micro_eur) FROM usage GROUP BY account, session_id"
        stored = rows(self.installation, query)
        self.counts["sessions"] = len(expected)
        if dict(recorded) != expected:
            yield f"records: {_difference(dict(recorded), expected)}"
        if (sql := {(row[0], row[1]): int(row[3]) for row in stored}) != expected:
            yield f"SQL: {_difference(sql, expected)}"
        if twice := [row for row in stored if row[2] != 1]:
            yield f"SQL has more than one row of {twice[:5]}"

    def _unfinished(self) -> Iterator[str]:
        yield from self.ledger.unfinished
        if self.ledger.audit.in_transit_micro_eur or self.ledger.audit.transfers:
            yield f"{self.ledger.audit.transfers} transfers are in transit"
        redeemed = sum(self.books.vouchers.values())
        events = len(self._topped_up("voucher"))
        self.counts["vouchers"] = redeemed
        if redeemed != events or set(self.books.vouchers.values()) - {1}:
            yield f"vouchers: {redeemed} redeemed by the driver, {events} recorded"

    def _debits(self) -> Iterator[str]:
        provider = self.around.provider
        self.counts["orders"] = len(provider.taken)
        self.counts["debits that came again"] = len(provider.posts) - len(set(provider.posts))
        by_token = Counter(each.token for each in provider.taken.values())
        auto = Counter(each["account"] for each in self._topped_up("auto"))
        for account, _, account_id in self._accounts():
            orders = self.ledger.orders[account.msisdn]
            taken = by_token[f"tok-{account.msisdn}"]
            numbers = (len(orders), taken, auto[account_id])
            if numbers != (account.orders,) * 3:
                yield f"{account.msisdn}: {account.orders} expected; orders, debits, credits {numbers}"
            for order_id, amount, state in orders:
                debit = provider.taken.get(order_id)
                if state is not OrderState.CREDITED or debit is None or debit.status != "succeeded":
                    yield f"{account.msisdn}: order {order_id} is {state}, its debit {debit}"
                elif Decimal(debit.amount) * EUR != amount:
                    yield f"{account.msisdn}: order {order_id} of {amount}, debited {debit.amount}"

    # -- events, rows, notices

    def _events(self) -> Iterator[str]:
        numbers: dict[int, list[int]] = {partition: [] for partition in range(PARTITIONS)}
        for each in self.records:
            partition, _, number = each["event_id"].removeprefix("p").partition("-")
            numbers[int(partition)].append(int(number))
        self.counts["events"] = len(self.records)
        for partition, found in numbers.items():
            if found != list(range(1, self.ledger.last[partition] + 1)):
                last, different = self.ledger.last[partition], len(set(found))
                yield f"partition {partition}: {len(found)} records, {different} different, the last event is {last}"
            if len(self.ledger.left[partition]) > 1:
                yield f"partition {partition}: {len(self.ledger.left[partition])} events are still in Redis"

    def _sql(self) -> Iterator[str]:
        expected = sorted(each["event_id"] for each in self.records if each["kind"] not in USE)
        found = sorted(row[0] for row in rows(self.installation, "SELECT event_id FROM events"))
        self.counts["rows of events"] = len(found)
        if found != expected:
            yield f"events: {_difference(Counter(found), Counter(expected))}"
        query = "SELECT event_id, account, reference, credit_in_micro_eur - debit_micro_eur FROM transactions"
        stored = rows(self.installation, query)
        self.counts["rows of transactions"] = len(stored)
        if len({row[0] for row in stored}) != len(stored):
            yield "transactions: an event is there twice"
        by_id = {each["event_id"]: each for each in self.records}
        for event_id, account, reference, amount in stored:
            record = by_id.get(event_id, {})
            moved = record.get("credit_in_micro_eur", 0) - record.get("debit_micro_eur", 0)
            if (record.get("account"), moved) != (account, amount):
                yield f"transaction {event_id} {reference}: {amount} of {account}; its record {record}"
        money = {each["event_id"] for each in self.records if each["kind"] not in USE and _moves_credit(each)}
        if missing := money - {row[0] for row in stored}:
            yield f"transactions: {len(missing)} are missing, such as {sorted(missing)[:5]}"
        # Of each account the last month counts: its closing is the credit.
        months = "SELECT account, opening_micro_eur + credit_in_micro_eur - debit_micro_eur FROM account_months "
        sums = {
            row[0]: int(row[1]) for row in rows(self.installation, months + "ORDER BY month")
        }  # the last one counts
        credits = {account_id: account.credit for account, _, account_id in self._accounts()}
        if {name: sums.get(name) for name in credits} != credits:
            yield f"account_months: {_difference(sums, credits)}"

    def _notices(self) -> Iterator[str]:
        shown = self.around.gateway.shown
        self.counts["notices"] = len(shown)
        self.counts["notices that came again"] = len(self.around.gateway.requests) - len(shown)
        expected = {
            (account.msisdn, name): number
            for account, _, _ in self._accounts()
            for name, number in account.notices.items()
        }
        found = Counter((each["to"], each["notice"]) for each in shown.values())
        if dict(found) != expected:
            yield f"shown: {_difference(dict(found), expected)}"
        events = {each["event_id"] for each in self.records}
        if strange := [key for key in shown if key.rpartition(".")[0] not in events]:
            yield f"notices of no event: {strange[:5]}"
        texts: dict[str, set[bytes]] = defaultdict(set)
        for headers, body in self.around.gateway.requests:
            texts[headers["Idempotency-Key"]].add(body)
        if changed := [key for key, bodies in texts.items() if len(bodies) > 1]:
            yield f"another text under the same id: {[(key, texts[key]) for key in changed[:3]]}"
        stored = dict(rows(self.installation, "SELECT id, state FROM notices"))
        if set(stored) != set(shown) or set(stored.values()) - {"sent"}:
            yield f"rows of notices: {Counter(stored.values())}, {len(shown)} shown"

    def _audit(self) -> Iterator[str]:
        yield from map(str, self.ledger.audit.violations)
        found = self.installation.audit
        if found is None or found.returncode != 0:
            yield f"ocs audit: {found}"


def _moves_credit(record: Mapping[str, Any]) -> bool:
    return bool(record.get("credit_in_micro_eur", 0) or record.get("debit_micro_eur", 0))


def _difference(found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> str:
    keys = [key for key in {**found, **expected} if found.get(key) != expected.get(key)]
    some = ", ".join(f"{key}: {found.get(key)} instead of {expected.get(key)}" for key in keys[:5])
    return f"{len(keys)} differ: {some}"
