"""The audit from outside finds a server wrong: each kind of mistake, in records written by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.outside_audit import OutsideAudit, audit, check_totals, money_totals
from simulator.prices import PriceList
from simulator.tally import SessionReport, UsedService

PRICES = PriceList.read(Path(__file__).parents[2] / "config" / "catalogue.toml")
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
    debit = more.pop("debit", 0)
    buckets = more.pop("buckets", [])
    return {
        "kind": "charge",
        "session_id": session,
        "credit_in_micro_eur": 0,
        "debit_micro_eur": debit,
        "closed": True,
        "services": [
            {
                "key": key,
                "label": rate,
                "price": f"{rate}@84c132",
                "used": used,
                "debit_micro_eur": debit,
                "bucket_units": [{"bucket": bucket, "units": units} for bucket, units in buckets],
                "overrun_units": more.pop("overrun", 0),
            }
        ],
        **more,
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


def test_it_waits_for_the_records_and_reads_on(tmp_path: Path) -> None:
    late = json.dumps({"event_id": "p00-9", "account": "a1", **charge("s", MB, buckets=[("MINI.data", MB)])}) + "\n"
    path = tmp_path / "records-000001-20261122T163000Z.jsonl"
    path.write_text(late[:40])  # a line that is not whole yet

    def sleep(_: float) -> None:
        path.write_text(late)

    result = audit([report("s", MB)], tmp_path, PRICES, timeout_s=5.0, sleep=sleep)
    assert result.findings == []


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
    }
    assert check_totals({"ok": True, "totals": totals}) == []
    assert len(check_totals({"ok": False, "violations": ["x"], "totals": {**totals, "spent_micro_eur": 4}})) == 2
