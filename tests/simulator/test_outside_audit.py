"""The audit from outside finds each kind of mistake, in records written by the test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.catalogue_sheet import CatalogueSheet
from simulator.outside_audit import OutsideAudit, audit, check_totals, money_totals
from simulator.prices import PriceList
from simulator.tally import SessionReport, Step, StepPart, Tally, UsedService
from tests.catalogue import CATALOGUE
from tests.rules import rule

PRICES = PriceList.read(CATALOGUE)
MB = 1024 * 1024


def opened(credit: int = 13_010_000, package: str = "MINI", price: int = 6_990_000) -> list[dict[str, Any]]:
    return [
        {
            "kind": "opened",
            "credit_in_micro_eur": credit + price,
            "debit_micro_eur": 0,
            "credit_micro_eur": credit + price,
        },
        {
            "kind": "package",
            "package": package,
            "credit_in_micro_eur": 0,
            "debit_micro_eur": price,
            "credit_micro_eur": credit,
        },
    ]


def charge(session: str, used: int, *, key: str = "100", rate: str = "data.home", **more: Any) -> dict[str, Any]:
    """The record of a session's end: `debit` is the cost of its services, `moved` the part debited by this request
    (default: all).
    """
    debit = more.pop("debit", 0)
    service = {"key": key, "label": rate, "price": f"{rate}@84c132", "used": used}
    if debit:
        service["debit_micro_eur"] = debit
    if buckets := more.pop("buckets", []):
        service["bucket_units"] = dict(buckets)
    if overrun := more.pop("overrun", 0):
        service["overrun_units"] = overrun
    record = {
        "kind": "charge",
        "session_id": session,
        "request_type": "T",
        "result_code": 2001,
        "closed": True,
        "services": [service],
        "services_debit_micro_eur": debit,
    }
    if moved := more.pop("moved", debit):
        record["debit_micro_eur"] = moved
    return {**record, **more}


def use(session: str, debit: int, credit: int) -> dict[str, Any]:
    return {
        "kind": "use",
        "session_id": session,
        "request_type": "U",
        "request_number": 1,
        "debit_micro_eur": debit,
        "credit_micro_eur": credit,
    }


def report(session: str, used: int, **changes: Any) -> SessionReport:
    values: dict[str, Any] = {
        "session_id": session,
        "traffic": "data",
        "msisdn": "38668100000",
        "package": "MINI",
        "place": "home",
        "destination_class": "",
        "incoming": False,
        "started_s": 0.0,
        "closed": True,
        "services": [UsedService("data", 100, used)],
        **changes,
    }
    return SessionReport(**values)


def run(
    tmp_path: Path, records: list[dict[str, Any]], reports: list[SessionReport], timeout_s: float = 0.0
) -> OutsideAudit:
    lines = [
        {"event_id": f"p00-{at}", "account": "a1", "time": "2026-11-22T16:30:00Z", **one}
        for at, one in enumerate(records)
    ]
    (tmp_path / "records-000001-20261122T163000Z.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return audit(reports, tmp_path, PRICES, timeout_s=timeout_s, sleep=lambda _: None)


def test_right_books_are_right(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        [*opened(), charge("s", MB, buckets=[("MINI.data", MB)], credit_micro_eur=13_010_000)],
        [report("s", MB)],
    )
    assert result.findings == []
    assert (result.ok, result.services_compared, result.prices_compared, result.accounts) == (True, 1, 1, 1)


def test_recipients_of_a_message_are_of_its_service(tmp_path: Path) -> None:
    """Each has its own line in the record (300#1, 300#2), with its own price."""
    record = charge(
        "s", 1, key="300#1", rate="sms.home.national", buckets=[("MINI.sms", 1)], credit_micro_eur=12_860_000
    )
    other = charge("s", 1, key="300#2", rate="sms.international", debit=150_000)["services"][0]
    record["services"].append(other)
    record |= {"services_debit_micro_eur": 150_000, "debit_micro_eur": 150_000}
    sent = report("s", 2, traffic="sms", destination_class="national-mobile", services=[UsedService("sms", 300, 2)])
    findings = run(tmp_path, [*opened(), record], [sent]).findings
    assert not [finding for finding in findings if "recorded" in finding or "priced again" in finding], findings


@rule("HOT-RAT-7")
@pytest.mark.parametrize(
    ("place", "others", "legs", "right"),
    [
        *(("home", (), 1, True), ("home", (), 2, False), ("eu", (), 2, True), ("eu", (), 1, False)),
        *(("home", ("eu",), 1.5, True), ("home", ("eu",), 2.5, False)),
    ],
)
def test_a_call_forwarded_late_has_two_legs_abroad(
    tmp_path: Path, place: str, others: tuple[str, ...], legs: float, right: bool
) -> None:
    record = charge("s", 60, key="-", rate="voice.eu.eu", buckets=[("MINI.voice", 60)], credit_micro_eur=6_020_000)
    if legs > 1:
        incoming = charge("s", int(60 * legs) - 60, key="-", rate="voice.incoming")["services"][0]
        record["services"].append(incoming)
    sent = report(
        "s", 60, traffic="voice", services=[UsedService("voice", None, 60)], forwarding="late",
        place=place, other_places=others, destination_class="national-mobile",
    )  # fmt: skip
    findings = run(tmp_path, [*opened(), record], [sent]).findings
    assert right is not any("units reported as used" in finding for finding in findings), findings


def test_a_paid_use_is_priced_again(tmp_path: Path) -> None:
    world = {"place": "world-1", "services": [UsedService("data", 100, MB)]}
    right = charge("s", MB, rate="data.world-1", debit=2_916_992, credit_micro_eur=10_093_008)  # 103 steps of 10 kB
    assert run(tmp_path, [*opened(), right], [report("s", MB, **world)]).findings == []
    wrong = charge("s", MB, rate="data.world-1", debit=2_900_000, credit_micro_eur=10_110_000)
    assert "priced again it is 2916992" in run(tmp_path, [*opened(), wrong], [report("s", MB, **world)]).findings[0]


@pytest.mark.parametrize(
    ("record", "reported", "finding"),
    [
        (charge("s", 2 * MB, buckets=[("MINI.data", 2 * MB)]), MB, "1048576 units reported as used, 2097152 recorded"),
        (charge("other", MB, buckets=[("MINI.data", MB)]), MB, "0 recorded"),
        (charge("s", MB, rate="data.eu", buckets=[("MINI.data", MB)]), MB, "rated as data.eu, expected data.home"),
        (charge("s", MB, debit=6_899, credit_micro_eur=13_003_101), MB, "priced again it is 6900"),
        (charge("s", MB, buckets=[("MINI.data", 2 * MB)]), MB, "2097152 included units and 0 overrun for 1048576"),
        (
            charge("s", MB, buckets=[("MINI.data", MB)], credit_micro_eur=5),
            MB,
            "add up to 13010000 micro-EUR, the last one says 5",
        ),
        (charge("s", MB, rate="data.secret", buckets=[("MINI.data", MB)]), MB, "no rate 'data.secret'"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, record: dict[str, Any], reported: int, finding: str) -> None:
    result = run(tmp_path, [*opened(), record], [report("s", reported)])
    assert any(finding in text for text in result.findings), result.findings
    assert not result.ok


@rule("HOT-PKG-3")
def test_credit_before_included_units_is_found(tmp_path: Path) -> None:
    """HOT-PKG-3."""
    debit = charge("s", MB, debit=6_900, credit_micro_eur=13_003_100)
    maxi = run(tmp_path, [*opened(), charge("s", 60, key="-", rate="voice.home.national", debit=69_000)], [
        report("s", 60, package="MAXI", traffic="voice", destination_class="national-mobile",
               services=[UsedService("voice", None, 60)])
    ])  # fmt: skip
    assert any("unlimited voice" in text for text in maxi.findings)
    giga = run(tmp_path, [*opened(package="GIGA-MINI"), debit], [report("s", MB, package="GIGA-MINI")])
    assert any("of GIGA-MINI.data were left" in text for text in giga.findings)


def test_a_balance_below_zero_and_an_event_twice_are_found(tmp_path: Path) -> None:
    below = charge("s", MB, debit=6_900, credit_micro_eur=-6_900)
    result = run(tmp_path, [*opened(credit=0), below], [report("s", MB)])
    assert any("below zero" in text for text in result.findings)
    twice = charge("s", MB, buckets=[("MINI.data", MB)])
    result = run(tmp_path, [*opened(), {**twice, "event_id": "p00-1"}], [])
    assert any("recorded more than once" in text for text in result.findings)


def test_free_use_costs_nothing_and_uncertain_sessions_are_left_out(tmp_path: Path) -> None:
    free = charge("s", 500, key="900", rate="portal.free", debit=1)
    portal = [UsedService("portal", 900, 500)]
    assert "priced again it is 0" in run(tmp_path, [*opened(), free], [report("s", 0, services=portal)]).findings[0]
    unclear = run(tmp_path, opened(), [report("s", MB, uncertain=True)])
    assert (unclear.ok, unclear.uncertain) == (True, 1)


@pytest.mark.parametrize("code", [0, 3002, 3004])
def test_a_one_off_debit_without_a_clear_answer_may_have_been_charged_or_not(tmp_path: Path, code: int) -> None:
    debit = charge(
        "s", 1, key="-", rate="sms.home.national", debit=69_000, request_type="E", credit_micro_eur=12_941_000
    )
    step = Step("E", 0, "home", code, 0, 0, 0.0, 1.0, (StepPart(0, wanted=1, code=code),))
    sent = report("s", 0, traffic="sms", package="", destination_class="national-mobile", closed=False, steps=[step],
                  services=[UsedService("sms", None)])  # fmt: skip
    for records in ([*opened(), debit], opened()):
        found = run(tmp_path, records, [sent])
        assert (found.findings, found.uncertain) == ([], 1)
    step = Step("E", 0, "home", 5030, 0, 0, 0.0, 1.0, (StepPart(0, wanted=1, code=5030),))
    refused = run(tmp_path, [*opened(), debit], [replace(sent, steps=[step])])
    assert "0 units reported as used, 1 recorded" in refused.findings[0]


def test_an_account_with_requests_that_were_not_kept_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one whose lost request was refused, so that its use adds up."""
    monkeypatch.setattr("simulator.tally.MOST_STEPS", 1)
    kept, lost = (report(session, 0, services=[]) for session in ("s1", "s2"))
    tally, step = Tally(), Step("I", 0, "home", 4012, 1_795_364_000, 1_795_364_000, 0.0, 0.1)
    tally.note(kept, step)
    assert not kept.steps_lost
    tally.note(lost, step)
    sheet = CatalogueSheet.read(CATALOGUE)
    refused = {"kind": "charge", "request_type": "I", "result_code": 4012}
    run(tmp_path, [*opened(), {**refused, "session_id": "s1"}, {**refused, "session_id": "s2"}], [])
    found = audit([kept, lost], tmp_path, PRICES, sheet=sheet, timeout_s=0, sleep=lambda _: None)
    assert found.not_recomputed == {"requests that were not kept": 1}


def test_it_waits_for_the_records_and_reads_on(tmp_path: Path) -> None:
    late = (
        json.dumps(
            {
                "event_id": "p00-9",
                "account": "a1",
                "time": "2026-11-22T16:30:00Z",
                **charge("s", MB, buckets=[("MINI.data", MB)]),
            }
        )
        + "\n"
    )
    path = tmp_path / "records-000001-20261122T163000Z.jsonl"
    path.write_text(late[:40])  # a line that is not whole yet

    def sleep(_: float) -> None:
        path.write_text(late)

    result = audit([report("s", MB)], tmp_path, PRICES, timeout_s=5.0, sleep=sleep)
    assert result.findings == []


def test_it_waits_for_the_record_of_the_end(tmp_path: Path) -> None:
    """A `use` is not an end: the session's use is in its last record."""
    path = tmp_path / "records-000001-20261122T163000Z.jsonl"
    lines = [
        {"event_id": f"p00-{at}", "account": "a1", "time": "2026-11-22T16:30:00Z", **one}
        for at, one in enumerate(
            [*opened(), use("s", 6_900, 13_003_100), charge("s", MB, debit=6_900, moved=0, credit_micro_eur=13_003_100)]
        )
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    result = audit([report("s", MB, package="")], tmp_path, PRICES, timeout_s=5.0, sleep=sleep)
    assert (result.findings, len(waited)) == ([], 3)


# -- sessions over several records


def test_money_that_moved_before_the_end_is_explained_at_the_end(tmp_path: Path) -> None:
    last = charge("s", 2 * MB, debit=13_800, moved=3_000, credit_micro_eur=12_996_200)
    sound = [*opened(package="MINI"), use("s", 10_800, 12_999_200), last]
    assert run(tmp_path, sound, [report("s", 2 * MB, package="")]).findings == []
    lost = [*opened(package="MINI"), last]
    found = run(tmp_path, lost, [report("s", 2 * MB, package="")]).findings
    assert any("its records took 3000 micro-EUR one by one, its services cost 13800" in text for text in found)
    assert any("add up to 13007000 micro-EUR, the last one says 12996200" in text for text in found)


def test_a_long_sessions_records_add_up(tmp_path: Path) -> None:
    """One per hour and one at the end: use, money and units are the sums of all."""
    hour = charge("s", MB, buckets=[("MINI.data", MB)], closed=False, request_type="U", credit_micro_eur=13_010_000)
    end = charge("s", 2 * MB, buckets=[("MINI.data", 2 * MB)], credit_micro_eur=13_010_000)
    assert run(tmp_path, [*opened(), hour, end], [report("s", 3 * MB)]).findings == []
    missing = run(tmp_path, [*opened(), end], [report("s", 3 * MB)])
    assert "3145728 units reported as used, 2097152 recorded" in missing.findings[0]


def test_a_session_that_was_given_up_is_compared(tmp_path: Path) -> None:
    """Its element died without a termination; the server's record says `expired`."""
    given_up = {
        **charge("s", MB, buckets=[("MINI.data", MB)]),
        "kind": "expired",
        "returned_micro_eur": 500,
        "reason": "deadline",
    }
    died = report("s", MB, closed=False)
    result = run(tmp_path, [*opened(), given_up], [died])
    assert (result.findings, result.services_compared, result.still_open) == ([], 1, 0)
    less = run(tmp_path, [*opened(), given_up], [report("s", 2 * MB, closed=False)])
    assert "2097152 units reported as used, 1048576 recorded" in less.findings[0]


def test_use_that_comes_after_a_session_was_given_up_is_recorded_at_its_end(tmp_path: Path) -> None:
    given_up = {**charge("s", MB, buckets=[("MINI.data", MB)]), "kind": "expired"}
    late = use("s", 6_900, 13_003_100)
    after = run(tmp_path, [*opened(package="MINI"), given_up, late], [report("s", 2 * MB, closed=False, package="")])
    assert (after.findings, after.still_open) == ([], 1)
    end = charge("s", MB, debit=6_900, moved=0, late=True, credit_micro_eur=13_003_100)
    ended = run(tmp_path, [*opened(package="MINI"), given_up, late, end], [report("s", 2 * MB, package="")])
    assert any("priced again" in text for text in ended.findings) is False, ended.findings


def test_a_session_that_is_still_open_is_told_apart(tmp_path: Path) -> None:
    """Its `use` counts for the balance, and its use is not reported missing; movements are checked at its end."""
    result = run(tmp_path, [*opened(), use("s", 6_900, 13_003_100)], [report("s", MB, closed=False)])
    assert (result.findings, result.still_open, result.services_compared) == ([], 1, 0)
    wrong = run(tmp_path, [*opened(), use("s", 6_900, 13_003_101)], [report("s", MB, closed=False)])
    assert "records add up to 13003100" in wrong.findings[0]


def test_an_end_that_was_reported_and_never_recorded_is_a_finding(tmp_path: Path) -> None:
    result = run(tmp_path, [*opened(), use("s", 6_900, 13_003_100)], [report("s", MB)])
    assert "1048576 units reported as used, 0 recorded" in result.findings[0]


@rule("HOT-PKG-3")
def test_included_units_of_open_sessions_may_be_used_up_and_not_recorded(tmp_path: Path) -> None:
    """Another session of the account pays from credit meanwhile: HOT-PKG-3 cannot be judged before both have ended."""
    paid = charge("t", MB, debit=6_900, credit_micro_eur=13_003_100)
    reports = [report("s", 60 * MB, package="GIGA-MINI", closed=False), report("t", MB, package="GIGA-MINI")]
    assert run(tmp_path, [*opened(package="GIGA-MINI"), paid], reports).findings == []
    alone = run(tmp_path, [*opened(package="GIGA-MINI"), paid], reports[1:])
    assert any("of GIGA-MINI.data were left" in text for text in alone.findings)


def test_more_included_units_than_there_are(tmp_path: Path) -> None:
    """In one period. Over two, use of a session that began in the first may belong to either."""
    package = PRICES.packages["MINI"]
    quantity = package.buckets["data"]
    assert quantity is not None
    much = charge("s", quantity + 1024, buckets=[("MINI.data", quantity + 1024)])
    result = run(tmp_path, [*opened(), much], [report("s", quantity + 1024)])
    assert any("of MINI.data, which has" in text for text in result.findings)
    renewal = {
        "kind": "package",
        "package": "MINI",
        "paid": True,
        "time": "2026-11-23T16:30:00Z",
        "credit_micro_eur": 13_010_000,
    }
    over = {**much, "time": "2026-11-23T17:30:00Z", "started": "2026-11-23T16:00:00Z"}
    assert run(tmp_path, [*opened(), renewal, over], [report("s", quantity + 1024)]).findings == []
    within = {**over, "started": "2026-11-23T16:30:01Z"}
    assert run(tmp_path, [*opened(), renewal, within], [report("s", quantity + 1024)]).findings
    both = charge("s", 3 * quantity, buckets=[("MINI.data", 3 * quantity)], started="2026-11-23T16:00:00Z")
    result = run(tmp_path, [*opened(), renewal, {**both, "time": "2026-11-23T17:30:00Z"}], [report("s", 3 * quantity)])
    assert any("which had" in text for text in result.findings)


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "charge", "session_id": "s", "request_type": "I", "result_code": 4012, "credit_micro_eur": 13_010_000},
        charge("s", 0, closed=False, request_type="E"),
    ],
)
def test_a_refused_opening_and_a_one_off_request_end_at_once(tmp_path: Path, record: dict[str, Any]) -> None:
    record = {name: value for name, value in record.items() if name != "closed"}
    result = run(tmp_path, [*opened(), record], [report("s", 0, closed=False)])
    assert (result.findings, result.still_open) == ([], 0)


def test_the_servers_own_audit_is_read() -> None:
    totals = {
        "paid_in_micro_eur": 10,
        "available_micro_eur": 5,
        "credit_micro_eur": 7,
        "held_micro_eur": 2,
        "spent_micro_eur": 3,
    }
    assert money_totals({"totals": totals}) == {
        "paid_in": 10,
        "left": 5,
        "held": 2,
        "spent": 3,
        "refunded": 0,
        "expired": 0,
        "separate": 0,
        "in_transit": 0,
    }
    assert check_totals({"ok": True, "totals": totals}) == []
    assert len(check_totals({"ok": False, "violations": ["x"], "totals": {**totals, "spent_micro_eur": 4}})) == 2
