"""`ocs reconcile`: the host's file against our records, with the ledger: outcomes and EUR worked by hand."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ocs.history.reconcile.csv_lines import csv_lines
from ocs.history.reconcile.line import BadLine, Line, WholesaleFileError
from ocs.ledger.redis.installation import OpenMode
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.settings.loading import SettingsError, load_mapping
from ocs.settings.reconciliation import ReconcileSection
from ocs.telemetry.export import Snapshots
from ocs.telemetry.metrics import Metrics
from ocs.values.moment import utc_text
from tests.ocs.cli.conftest import Done, Ocs
from tests.ocs.cli.conftest import ocs_in as ocs_in
from tests.ocs.history.record_files import write_file
from tests.ocs.ledger.books import charge, request, service

ROOT = Path(__file__).parents[3]
DAY = 1_793_404_800
"""2026-10-31T00:00:00Z."""
MSISDN, IMSI = "38668100000", "293400000000000"
OTHER, OTHER_IMSI = "38668100001", "293400000000001"
HEADER = "record_id,msisdn,imsi,session_id,charging_id,service,start,end,units,amount_eur"
Call = Callable[..., Done]
MB = 1024**2


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("reconcile"), durability="everysec")
    yield server.acquire()
    server.release()


class Desk:
    """Files of the host, records of ours, and the command."""

    def __init__(self, folder: Path, run: Call) -> None:
        self.folder, self.run = folder, run
        self.records: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.account = ""
        self.other = ""

    def ours(self, session: str, start: int, lasts: int, used: int, charged: int, **more: Any) -> None:
        """A session of the account, `start` seconds into the day."""
        context = more.pop("context", "data")
        line = {
            "key": "100", "label": more.pop("label", "data.home"), "price": "data@1/1", "used": used,
            "detail": "29340 mo internet", "debit_micro_eur": charged,
        }  # fmt: skip
        record = {
            "event_id": f"p01-{len(self.records) + 1}", "kind": "charge", "time": utc_text(DAY + start + lasts),
            "account": self.account, "session_id": session, "context": context, "request_type": "T",
            "request_number": 1, "result_code": 2001, "credit_micro_eur": 1, "closed": True,
            "started": utc_text(DAY + start), "services": [line],
        }  # fmt: skip
        self.records.append({**record, **more})

    def refund(self, session: str, at: int, own: str = "", surcharge: int = 0) -> None:
        """Of one message of the session; `own`: its own Session-Id, "" = the debit's."""
        label, line = "sms.home.national", {"key": "-", "used": -1}
        services = [{**line, "price": f"{label}@1/1", "credit_in_micro_eur": 69_000}]
        if surcharge:
            services.append({**line, "price": f"{label}.surcharge@1/1", "credit_in_micro_eur": surcharge})
        record = {
            "event_id": f"p01-{len(self.records) + 1}", "kind": "refund", "time": utc_text(DAY + at),
            "account": self.account, "session_id": own or session, "context": "sms", "request_number": 1,
            "credit_in_micro_eur": 69_000 + surcharge, "credit_micro_eur": 1, "services": services,
        }  # fmt: skip
        self.records.append({**record, **({"of_session": session} if own else {})})

    def theirs(self, start: int, units: int, eur: str, service: str = "data", **more: Any) -> None:
        record = more.get("record", f"W{len(self.lines)}")
        ids = (
            f"{more.get('msisdn', MSISDN)},{more.get('imsi', '')},{more.get('session', '')},{more.get('charging', '')}"
        )
        self.lines.append(f"{record},{ids},{service},{utc_text(DAY + start)},,{units},{eur}")

    def reconcile(self, *words: str) -> tuple[Done, dict[str, Any]]:
        """The command with --json, and what it printed."""
        write_file(self.folder / "data" / "records", 1, DAY, *self.records)
        file = self.folder / "host.csv"
        file.write_text("\n".join([HEADER, *self.lines]) + "\n")
        done = self.run("reconcile", str(file), "--json", *words)
        return done, orjson.loads(done.stdout) if done.stdout.startswith("{") else {}

    def outcomes(self, *words: str) -> dict[str, tuple[int, int]]:
        """Outcome → (sessions, micro-EUR at stake)."""
        done, found = self.reconcile(*words)
        assert found, done.stderr
        assert done.returncode == (1 if found["differences"] or found["bad_lines"] else 0)
        sums: dict[str, tuple[int, int]] = {}
        for row in found["outcomes"]:
            count, stake = sums.get(row["outcome"], (0, 0))
            sums[row["outcome"]] = count + row["count"], stake + row["stake_micro_eur"]
        return sums


@pytest.fixture
def desk(url: str, ocs_in: Ocs, tmp_path: Path) -> Desk:
    def run(*words: str) -> Done:
        return ocs_in(*words, cwd=ROOT, OCS_REDIS_URL=url, OCS_SERVER_DATA_DIR=str(tmp_path / "data"))

    for msisdn, imsi in ((MSISDN, IMSI), (OTHER, OTHER_IMSI)):
        run("account", "create", "--msisdn", msisdn, "--imsi", imsi, "--credit", "5")
    made = Desk(tmp_path, run)
    made.account = json.loads(run("account", "show", MSISDN, "--json").stdout)["account"]
    made.other = json.loads(run("account", "show", OTHER, "--json").stdout)["account"]
    return made


def test_each_outcome_and_what_is_at_stake(desk: Desk) -> None:
    """Too much: the host bills 20 MB for 0.20 EUR, we have 15: a quarter of 0.20 EUR. Too little: we charged 1.00 EUR
    for 10 MB, the host has 6 MB: four tenths of 1.00 EUR.
    """
    desk.ours("same", 1_000, 60, 10 * MB, 70_000)
    desk.theirs(1_003, 10 * MB, "0.010000")
    desk.ours("too much", 10_000, 60, 15 * MB, 100_000)
    desk.theirs(10_000, 20 * MB, "0.20")
    desk.ours("too little", 20_000, 60, 10 * MB, 1_000_000)
    desk.theirs(20_001, 6 * MB, "0.06")
    desk.ours("not billed", 30_000, 60, 3 * MB, 210_000)
    desk.theirs(40_000, 7 * MB, "0.07")
    desk.theirs(50_000, MB, "0.01", msisdn="38668199999")
    desk.theirs(1_003, 10 * MB, "0.010000", record="W0")
    found = desk.outcomes()
    assert found == {
        "matched": (1, 0),
        "different": (2, 50_000 + 400_000),
        "missing_there": (1, 210_000),
        "missing_here": (2, 70_000 + 10_000),
        "duplicate": (1, 10_000),
    }


def test_the_differences_name_session_account_and_line_and_no_number(desk: Desk) -> None:
    desk.ours("not billed", 30_000, 60, 3 * MB, 210_000)
    desk.theirs(40_000, 7 * MB, "0.07")
    desk.theirs(50_000, MB, "0.01", msisdn="38668199999")
    out = desk.folder / "differences.csv"
    done, _ = desk.reconcile("--csv", str(out))
    assert done.returncode == 1 and "3 differences, 0 lines that cannot be read" in done.stderr
    with out.open() as text:
        rows = list(csv.DictReader(text))
    assert [(row["outcome"], row["account"], row["session_id"], row["line"], row["why"]) for row in rows] == [
        ("missing_there", desk.account, "not billed", "", ""),
        ("missing_here", desk.account, "", "2", ""),
        ("missing_here", "", "", "3", "no account has this number"),
    ]
    assert "386681" not in out.read_text()
    table = desk.run("reconcile", str(desk.folder / "host.csv")).stdout
    assert "missing_there" in table and "0.21" in table and "386681" not in table
    assert desk.reconcile("--csv", str(out))[0].returncode == 1, "a file that exists is not replaced"


def test_by_imsi_when_the_file_has_it_and_by_number_else(desk: Desk) -> None:
    desk.ours("one", 1_000, 60, 10 * MB, 0)
    desk.theirs(1_000, 10 * MB, "0.01", msisdn="", imsi=IMSI)
    desk.ours("two", 2_000, 60, 10 * MB, 0)
    desk.theirs(2_000, 10 * MB, "0.01", msisdn="+" + MSISDN)
    assert desk.outcomes() == {"matched": (2, 0)}


def test_by_the_charging_id_of_the_bearer(desk: Desk) -> None:
    """The host says the end of the bearer as its time; the id is in our record."""
    desk.ours("one", 1_000, 60, 10 * MB, 0, charging_id="4711")
    desk.theirs(9_000, 10 * MB, "0.01", charging="4711")
    assert desk.outcomes() == {"matched": (1, 0)}


def test_a_session_over_midnight_is_at_the_edge(desk: Desk) -> None:
    desk.ours("from yesterday", -100, 200, 10 * MB, 0)
    desk.theirs(50, 4 * MB, "0.01")
    desk.ours("until tomorrow", 86_300, 200, 10 * MB, 0)
    desk.theirs(86_300, 6 * MB, "0.01")
    assert desk.outcomes() == {"edge": (2, 0)}


def test_use_without_units_is_missing_nowhere(desk: Desk) -> None:
    desk.ours("refused", 1_000, 0, 0, 0)
    desk.theirs(5_000, 0, "0")
    desk.theirs(6_000, 1, "0", service="sms")
    desk.ours("sms", 6_000, 0, 1, 0, context="sms", label="sms.home.national")
    assert desk.outcomes() == {"matched": (1, 0)}


@pytest.mark.parametrize("later", [5, 20 * 86_400], ids=["at once", "after the file's last day"])
@pytest.mark.parametrize("own", [False, True], ids=["the debit's Session-Id", "one of its own"])
def test_a_refund_is_of_its_debits_session(desk: Desk, own: bool, later: int) -> None:
    """Two of three messages at 0.069 EUR are refunded, one of two recipients and all; the host bills what was sent."""
    desk.ours("kept", 1_000, 0, 1, 69_000, context="sms", label="sms.home.national")
    desk.theirs(1_000, 1, "0.01", service="sms")
    desk.ours("half", 2_000, 0, 2, 138_000, context="sms", label="sms.home.national")
    desk.theirs(2_000, 1, "0.01", service="sms")
    desk.ours("all", 3_000, 0, 1, 69_000, context="sms", label="sms.home.national")
    for session, start in (("half", 2_000), ("all", 3_000)):
        desk.refund(session, start + later, f"refund;{session}" if own else "")
    assert desk.outcomes() == {"matched": (2, 0)}


def test_a_refunded_message_that_the_host_bills_is_told(desk: Desk) -> None:
    desk.ours("all", 3_000, 0, 1, 69_000, context="sms", label="sms.home.national")
    desk.refund("all", 3_005, "refund;all", surcharge=5_000)
    desk.theirs(3_000, 1, "0.01", service="sms", session="all")
    assert desk.outcomes() == {"different": (1, 10_000)}


def test_hourly_records_of_a_session_are_added_up_and_surcharges_count_once(desk: Desk) -> None:
    desk.ours("long", 1_000, 3_600, 10 * MB, 0)
    desk.ours("long", 1_000, 5_000, 5 * MB, 0)
    line = desk.records[-1]["services"][0]
    desk.records[-1]["services"].append({**line, "label": "data.home.surcharge", "debit_micro_eur": 5})
    desk.theirs(1_000, 8 * MB, "0.01", charging="77")
    desk.theirs(4_000, 7 * MB, "0.01", charging="77")
    assert desk.outcomes() == {"matched": (1, 0)}


def test_the_incoming_leg_of_a_forwarded_call_counts_once(desk: Desk) -> None:
    desk.ours("fw", 1_000, 60, 61, 0, context="ims", label="voice.world-1.out")
    first = {**desk.records[-1]["services"][0], "detail": "22003 fw +38631234567"}
    desk.records[-1]["services"] = [first, {**first, "label": "voice.world-1.in"}]
    desk.theirs(1_000, 61, "0.01", service="voice")
    assert desk.outcomes() == {"matched": (1, 0)}


def test_a_session_that_is_open_here_is_not_missing(desk: Desk, url: str) -> None:
    """It is in the ledger, and its record follows."""
    session = "pgw.example.net;still;open"
    asyncio.run(open_session(url, desk.account, session))
    desk.theirs(1_000, 10 * MB, "0.01", session=session)
    assert desk.outcomes() == {"open": (1, 0)}


async def open_session(url: str, account: str, session: str) -> None:
    ledger = await RedisLedger.connect(url, LedgerSettings(), mode=OpenMode.WRITE)
    now = int(time.time())
    times = {"now": now, "deadline": now + 3600, "month": 202611, "day": now // 86_400}
    assert (await charge(ledger, request(account, "I", 0, service(want=10), sid=session, **times))).code == 2001
    await ledger.close()


def test_moved_accounts_are_one(desk: Desk) -> None:
    desk.ours("before", 1_000, 60, 10 * MB, 0, account="02-old")
    desk.records.append({
        "event_id": "p02-1", "kind": "moved_out", "time": utc_text(DAY + 5_000), "account": "02-old",
        "to_account": desk.account,
    })  # fmt: skip
    desk.theirs(1_000, 10 * MB, "0.01")
    assert desk.outcomes() == {"matched": (1, 0)}


def test_metrics_of_the_last_run_are_those_of_the_server(desk: Desk) -> None:
    desk.ours("not billed", 30_000, 60, 3 * MB, 210_000)
    desk.theirs(40_000, 7 * MB, "0.07")
    desk.outcomes()
    exposed = Snapshots(desk.folder / "metrics", Metrics().store, [desk.folder / "data" / "reconciliation.json"])
    text = exposed.expose().decode()
    assert 'ocs_reconciliation_sessions{outcome="missing_there"} 1.0' in text
    assert 'ocs_reconciliation_stake_eur{outcome="missing_here"} 0.07' in text
    assert 'ocs_reconciliation_sessions{outcome="matched"} 0.0' in text
    assert "ocs_reconciliation_timestamp_seconds 1" in text


def test_a_range_and_missing_records(desk: Desk) -> None:
    desk.ours("one", 1_000, 60, MB, 0)
    desk.theirs(1_000, MB, "0.01")
    desk.theirs(90_000, MB, "0.01")
    words = ("--from", "2026-10-31T01:00", "--to", "2026-11-01T00:00")
    assert desk.outcomes(*words) == {"matched": (1, 0), "edge": (1, 0)}
    assert desk.reconcile("--from", "2026-10-31")[0].returncode == 2
    records = desk.folder / "data" / "records"
    (path,) = records.iterdir()
    path.rename(records / "records-000004-20261102T000000Z.jsonl")
    file = str(desk.folder / "host.csv")
    done = desk.run("reconcile", file)
    assert done.returncode == 1 and "files before records-000004-20261102T000000Z.jsonl are missing" in done.stderr
    done = desk.run("reconcile", file, "--allow-gaps")
    assert done.stderr == "ocs: 1 difference, 0 lines that cannot be read\n"


# -- the file


def read(tmp_path: Path, text: str | bytes, **mapping: Any) -> list[Line | BadLine]:
    file = tmp_path / "a1.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(csv_lines(file, ReconcileSection(**mapping)))


def test_a_file_of_another_make(tmp_path: Path) -> None:
    """Semicolons, decimal commas, local times, megabytes up and down, minutes, words of its own, cp1250."""
    text = (
        "izvoz;2026\r\nŠtevilka;Storitev;Začetek;Trajanje;Gor;Dol;Znesek\r\n"
        "0038668100000;GPRS;31.10.2026 02:30:00;60;0,5;1,5;1.234,56\r\n"
        "38668100001;TEL;31.10.2026 12:00:00;90;;;0,01\r\n"
        "38668100001;FAX;31.10.2026 12:00:00;90;1;;0,01\r\n"
        "38668100001;GPRS;31.2.2026 12:00:00;90;1;1;0,01\r\n"
        ";GPRS;31.10.2026 12:00:00;90;1;1;0,01\r\n"
        "38668100001;GPRS;31.10.2026 12:00:00;90;x;1;0,01\r\n"
        "38668100001;GPRS\r\n"
    ).encode("cp1250")
    columns = {
        "msisdn": "Številka", "service": "Storitev", "start": "Začetek", "duration": "Trajanje", "up": "Gor",
        "down": "Dol", "amount": "Znesek",
    }  # fmt: skip
    found = read(
        tmp_path, text, columns=columns, services={"gprs": "data", "tel": "voice"}, units={"data": "MB"}, decimal=",",
        time_format="%d.%m.%Y %H:%M:%S", time_zone="Europe/Ljubljana", encoding="cp1250", skip_lines=1,
    )  # fmt: skip
    first, second, *bad = found
    start = DAY + 3600 + 1800
    assert first == Line(3, "38668100000", "", "data", start, start + 60, 2 * MB, 1_234_560_000)
    assert isinstance(second, Line) and (second.service, second.units, second.amount_micro_eur) == ("voice", 0, 10_000)
    assert [(each.number, each.reason) for each in bad] == [
        (5, "service 'FAX' is none of [reconcile] services"),
        (6, "start '31.2.2026 12:00:00' is no time of the form %d.%m.%Y %H:%M:%S"),
        (7, "names no subscriber"),
        (8, "up 'x' is no number"),
        (9, "has 2 columns, the header 7"),
    ]


def test_a_header_that_lacks_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WholesaleFileError, match=r"the header lacks amount_eur, .*it has a, b"):
        read(tmp_path, "a,b\n1,2\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[reconcile]\ntolerance_percent = "200"\n', "reconcile.tolerance_percent = '200': is not from 0 to 100"),
        ('units = { data = "min" }\n', "reconcile.units.data = 'min': must be one of B, kB, MB, GB, TB"),
        ('columns = { start = "T" }\n', "reconcile.columns: must name msisdn or imsi"),
        ('time_zone = "Mars"\n', "reconcile.time_zone = 'Mars': is no time zone"),
        ('encoding = "klingon"\n', "reconcile.encoding = 'klingon': is no codec of Python"),
        ("tolerance = 1\n", "reconcile.tolerance: is not a setting; there are form, columns"),
    ],
)
def test_a_mapping_that_is_wrong_says_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        load_mapping(tmp_path / "map.toml")
    assert said in str(error.value)


def test_a_mapping_of_its_own(desk: Desk) -> None:
    desk.ours("one", 1_000, 60, MB, 0)
    mapping = desk.folder / "map.toml"
    mapping.write_text(
        'columns = { imsi = "IMSI", start = "T", units = "KB" }\nservice = "data"\nunits = { data = "kB" }\n'
        'time_format = "unix"\n'
    )
    write_file(desk.folder / "data" / "records", 1, DAY, *desk.records)
    (desk.folder / "a.csv").write_text(f"IMSI,T,KB\n{IMSI},{DAY + 1_000},1024\n")
    done = desk.run("reconcile", str(desk.folder / "a.csv"), "--mapping", str(mapping), "--json")
    assert done.returncode == 0, done.stderr
    assert [(row["outcome"], row["count"]) for row in orjson.loads(done.stdout)["outcomes"]] == [("matched", 1)]
