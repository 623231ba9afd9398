"""The audit from outside computes whole accounts again: true records differ nowhere, each wrong one is explained.

The records are those of a month on the real ledger (tests/ocs/year/outside.py). Each row of the table changes some of
them as a fault of the server would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator import audit_timeline
from simulator.recomputation import Recomputed
from simulator.tally import SessionReport
from tests.conftest import RedisServer
from tests.ocs.rules.world import world_on
from tests.ocs.year.outside import NUMBERS, Month, audited
from tests.rules import rule

Records = list[dict[str, Any]]
AT_ONCE = NUMBERS["at once"]
STEP = 1024
"""Octets of a step of data in the EU."""


@pytest.fixture(scope="module")
def month(redis_7: RedisServer) -> Month:
    async def play() -> Month:
        async with world_on(redis_7.url, partitions=2, timeout_ms=20_000) as world:
            month = Month(world)
            await month.run()
            return month

    return asyncio.run(play())


class Books:
    """The month's records, to be changed."""

    def __init__(self, month: Month) -> None:
        self.records: Records = deepcopy(month.records)
        self.reports: list[SessionReport] = month.reports
        self._accounts = month.accounts

    def of(self, line: str, kind: str, **fields: Any) -> Records:
        return [
            record
            for record in self.records
            if record["account"] == self._accounts[line]
            and record["kind"] == kind
            and all(record.get(name) == value for name, value in fields.items())
        ]

    def services(self, line: str, label: str) -> Records:
        """Lines of the charging records at a rate."""
        charges = self.of(line, "charge")
        return [part for record in charges for part in record.get("services", ()) if part["label"] == label]

    def drop(self, record: dict[str, Any]) -> None:
        self.records = [each for each in self.records if each is not record]


def _wrong_pack(books: Books) -> None:
    """The tariff's SMS pay while the pack has some."""
    part = next(p for p in books.services("packs", "sms.home.national") if "SMS-200.pack-sms" in p["bucket_units"])
    part["bucket_units"] = {"MINI.sms": 1}


def _pack_abroad(books: Books) -> None:
    (part,) = books.services("packs", "sms.eu.eu")
    part["bucket_units"] = {"SMS-200.pack-sms": 1}


def _zone_pack_at_home(books: Books) -> None:
    (part,) = books.services("zone", "data.home")
    part["bucket_units"] = {"BALKAN-500-MB.balkan-data": part["bucket_units"]["MINI.data"]}


def _product_not_bought(books: Books) -> None:
    (part,) = books.services("zone", "data.balkan")
    part["bucket_units"] = {"USA-UNLIMITED.usa-data": part["used"]}


def _credit_before_units(books: Books) -> None:
    (part,) = books.services("shares too", "voice.home.national")
    part["bucket_units"], part["debit_micro_eur"] = {}, 80_500


def _units_twice(books: Books) -> None:
    """What another session holds pays."""
    part = next(part for part in books.services("at once", "data.home") if part.get("debit_micro_eur"))
    part.pop("debit_micro_eur")
    part["bucket_units"] = {"MINI.data": part["used"]}


def _fair_use(change: int) -> Callable[[Books], None]:
    def tamper(books: Books) -> None:
        parts = [part for part in books.services("fair use", "data.eu-2027") if part.get("bucket_units")]
        parts[-1]["bucket_units"]["MAXI.data"] += change

    return tamper


def _limit_exceeded(line: str, rate: str) -> Callable[[Books], None]:
    """By one micro-EUR: the limit was that much less than what was paid."""

    def tamper(books: Books) -> None:
        (limit,) = books.of(line, "limit")
        limit["limit"] = sum(part.get("debit_micro_eur", 0) for part in books.services(line, rate)) - 1

    return tamper


def _no_notice(line: str, kind: str, **fields: Any) -> Callable[[Books], None]:
    def tamper(books: Books) -> None:
        (notice,) = books.of(line, kind, **fields)
        books.drop(notice)

    return tamper


def _forwarded(session: int, change: Callable[[dict[str, Any]], None]) -> Callable[[Books], None]:
    def tamper(books: Books) -> None:
        (record,) = [each for each in books.of("forwards", "charge") if each["session_id"].endswith(f";{session}")]
        change(record)

    return tamper


def _as_originating(record: dict[str, Any]) -> None:
    """Forwarded early in Serbia, and priced as a call from there."""
    (part,) = record["services"]
    part["label"], part["price"] = "voice.world-1.out", "voice.world-1.out@000000/1"
    part["debit_micro_eur"] = 1_980_000


def _no_incoming_leg(record: dict[str, Any]) -> None:
    record["services"] = [part for part in record["services"] if part["label"] != "voice.world-1.in"]


def _no_surcharge(books: Books) -> None:
    for record in books.of("surcharge", "charge"):
        record["services"] = [part for part in record["services"] if not part["label"].endswith(".surcharge")]


def _fee(**changes: Any) -> Callable[[Books], None]:
    def tamper(books: Books) -> None:
        (renewal,) = books.of("renews", "package", renewal=True)
        renewal.update(changes)

    return tamper


def _no_renewal(books: Books) -> None:
    (renewal,) = books.of("renews", "package", renewal=True)
    books.drop(renewal)


def _separate_too_much(books: Books) -> None:
    (fee,) = books.of("member", "package")
    fee["separate_out_micro_eur"] += 1


def _transfer(kind: str, change: Callable[[Books, dict[str, Any]], None]) -> Callable[[Books], None]:
    def tamper(books: Books) -> None:
        (record,) = [each for each in books.records if each["kind"] == kind and each["reference"] == "t1"]
        change(books, record)

    return tamper


def _more(name: str, by: int) -> Callable[[Books, dict[str, Any]], None]:
    def change(_: Books, record: dict[str, Any]) -> None:
        record[name] += by

    return change


def _twice(books: Books, record: dict[str, Any]) -> None:
    books.records.append({**record, "event_id": "p09-1"})


def _elsewhere(books: Books, record: dict[str, Any]) -> None:
    record["account"] = books.of("packs", "opened")[0]["account"]


def _part(line: str, rate: str, **by: int) -> Callable[[Books], None]:
    def tamper(books: Books) -> None:
        part = books.services(line, rate)[-1]
        for name, more in by.items():
            part[name] = part.get(name, 0) + more

    return tamper


def _last_credit(books: Books) -> None:
    books.of("packs", "charge")[-1]["credit_micro_eur"] -= 1


def _not_refunded(books: Books) -> None:
    (refund,) = books.of("sends back", "refund")
    books.drop(refund)


TAMPERED: dict[str, tuple[str, str, Callable[[Books], None], str]] = {
    "a wrong pack debited": ("HOT-PKG-10", "packs", _wrong_pack, "SMS-200.pack-sms pay before the tariff's units"),
    "a pack abroad": ("HOT-ROA-6", "packs", _pack_abroad, "SMS-200.pack-sms does not pay there"),
    "a zone pack at home": ("HOT-ROA-6", "zone", _zone_pack_at_home, "BALKAN-500-MB.balkan-data does not pay there"),
    "a product not bought": ("HOT-PKG-2", "zone", _product_not_bought, "no period of USA-UNLIMITED.usa-data"),
    "credit before a pool's units": ("HOT-PKG-3", "shares too", _credit_before_units, "FAMILY.voice pay before credit"),
    "units that another session holds": ("HOT-PKG-3", "at once", _units_twice, "MINI.data had no such units left"),
    "a fair-use octet too few": ("HOT-ROA-2", "fair use", _fair_use(-1), "volume of 17587891078 octets"),
    "a fair-use step too many": ("HOT-ROA-2", "fair use", _fair_use(STEP), "volume of 17587891078 octets"),
    "cap exceeded by one micro-EUR": (
        "HOT-ROA-5", "cap", _limit_exceeded("cap", "data.balkan"), "1 micro-EUR of use paid beyond the limit roaming",
    ),
    "limit exceeded by one micro-EUR": (
        "HOT-CC-3", "limit", _limit_exceeded("limit", "voice.home.national"), "beyond the spending limit",
    ),
    "no notice of the cap": (
        "HOT-ROA-5", "cap", _no_notice("cap", "threshold", percent=80), "80 % of roaming-data is told once",
    ),
    "no notice of the limit": (
        "HOT-CC-4", "limit", _no_notice("limit", "threshold", percent=100), "100 % of limit is told once",
    ),
    "no notice of fair use": (
        "HOT-ROA-3", "fair use", _no_notice("fair use", "threshold", percent=100), "100 % of eu-data is told once",
    ),
    "no notice of low credit": ("HOT-ACC-8", "renews", _no_notice("renews", "low_credit"), "below the mark"),
    "no notice of data": ("HOT-NOT-1", "at once", _no_notice("at once", "bucket", percent=80), "80 % of MINI.data"),
    "early forwarding as originating": (
        "HOT-RAT-7", "forwards", _forwarded(1, _as_originating), "a call from home, wherever the subscriber is",
    ),
    "late forwarding without its leg": (
        "HOT-RAT-7", "forwards", _forwarded(2, _no_incoming_leg), "and an incoming one",
    ),
    "no surcharge": ("HOT-ROA-4", "surcharge", _no_surcharge, "the surcharge that the account pays"),
    "a fee too high": ("HOT-PKG-2", "renews", _fee(debit_micro_eur=6_990_001), "fee and period of MINI"),
    "a period too long": ("HOT-PKG-2", "renews", _fee(period_end="2027-04-30T22:59:59Z"), "fee and period of MINI"),
    "no renewal": ("HOT-PKG-2", "renews", _no_renewal, "fee and period of MINI"),
    "a separate account pays too much": ("HOT-GRP-5", "member", _separate_too_much, "fee and period of SMS-200"),
    "a transfer lost": (
        "HOT-GRP-2", "boss", _transfer("transfer_in", lambda books, record: books.drop(record)), "nothing is on its",
    ),
    "a transfer of less": ("HOT-GRP-2", "boss", _transfer("transfer_in", _more("credit_in_micro_eur", -1)), "was sent"),
    "a transfer arrives twice": ("HOT-GRP-2", "boss", _transfer("transfer_in", _twice), "once"),
    "a transfer to another": ("HOT-GRP-2", "boss", _transfer("transfer_in", _elsewhere), "where it was sent to"),
    "use that nobody reported": ("HOT-REC-2", "limit", _part("limit", "voice.home.national", used=1), "as the network"),
    "a micro-EUR too much": ("HOT-PKG-5", "limit", _part("limit", "voice.home.national", debit_micro_eur=1), "steps"),
    "a refund not made": ("HOT-REC-2", "sends back", _not_refunded, "less what it took back"),
    "credit that is not right": ("HOT-ACC-1", "packs", _last_credit, "what was paid in, less what was charged"),
}  # fmt: skip
"""(rule, line, change, a part of the explanation) by what is wrong."""


@rule("HOT-PKG-3", "HOT-PKG-10", "HOT-PKG-14", "HOT-ROA-2", "HOT-ROA-5", "HOT-CC-3", "HOT-RAT-7", "HOT-GRP-2")
def test_true_records_differ_nowhere(month: Month, tmp_path: Path) -> None:
    found = audited(month.reports, month.records, tmp_path)
    assert [difference.text() for difference in found.differences] == []
    assert found.accounts == set(month.accounts.values())
    assert not found.left_out


@pytest.mark.parametrize("what", TAMPERED)
def test_wrong_records_are_found_and_explained(what: str, month: Month, tmp_path: Path) -> None:
    """The account, the rule and the record are named; other accounts differ nowhere."""
    rule_id, line, tamper, why = TAMPERED[what]
    books = Books(month)
    tamper(books)
    found = audited(books.reports, books.records, tmp_path)
    said = "\n".join(difference.text() for difference in found.differences)
    assert any(each.rule == rule_id and why in each.why for each in found.differences), said
    _names_its_records(found, books, month.accounts[line])


def _names_its_records(found: Recomputed, books: Books, account: str) -> None:
    by_event = {record["event_id"]: record for record in books.records}
    if not any(each.rule == "HOT-GRP-2" for each in found.differences):  # else the receiver's credit differs, too
        assert {each.account for each in found.differences} == {account}
    for each in found.differences:
        assert set(each.records) <= by_event.keys()
        assert each.expected != each.charged
        assert "xxx" in each.msisdn or each.rule == "HOT-GRP-2"


def test_requests_under_way_at_once_may_be_applied_in_either_order(
    month: Month, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network cannot know which of two requests was first: the audit takes the order that explains the records."""
    reports = deepcopy(month.reports)
    _, first, second = (each for each in reports if each.session_id.startswith(f"element.example.net;{AT_ONCE};"))
    opening, other = first.steps[0], second.steps[0]
    first.steps[0] = replace(opening, answered=other.answered + 0.5)
    second.steps[0] = replace(other, sent=opening.sent)
    assert audited(reports, month.records, tmp_path).differences == []
    monkeypatch.setattr(audit_timeline, "MOST_ORDERS", 1)
    assert audited(reports, month.records, tmp_path).differences, "the order matters"


def _uncertain(report: SessionReport) -> None:
    report.uncertain = True


def _steps_lost(report: SessionReport) -> None:
    report.steps = report.steps[:1]


def _unanswered(report: SessionReport) -> None:
    report.steps = [replace(report.steps[0], code=0), *report.steps[1:]]


def _place_unknown(report: SessionReport) -> None:
    report.place = ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_uncertain, "a request was not clearly answered"),
        (_unanswered, "a request was not clearly answered"),
        (_steps_lost, "requests that were not kept"),
        (_place_unknown, "sessions whose place is not known"),
    ],
)
def test_an_account_whose_use_is_not_wholly_known_is_left_out(
    change: Callable[[SessionReport], None], reason: str, month: Month, tmp_path: Path
) -> None:
    reports = deepcopy(month.reports)
    change(next(each for each in reports if each.msisdn == str(month.lines["limit"].msisdn)))
    found = audited(reports, month.records, tmp_path)
    assert (dict(found.left_out), found.differences) == ({reason: 1}, [])
    assert len(found.accounts) == len(NUMBERS) - 1


def test_sessions_of_others_and_records_from_the_middle_leave_an_account_out(month: Month, tmp_path: Path) -> None:
    mine = [each for each in month.reports if each.traffic != "data"]
    found = audited(mine, month.records, tmp_path)
    assert found.left_out["sessions of others"] > 0
    assert found.differences == []
    later = [each for each in month.records if each["kind"] != "opened"]
    assert audited(month.reports, later, tmp_path).left_out == {"the records do not have the opening": len(NUMBERS)}
