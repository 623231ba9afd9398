"""The report and the summaries are complete and self-contained."""

from __future__ import annotations

import datetime
import io
import json
import re
from pathlib import Path

from rich.console import Console

from simulator.differences import Difference, masked
from simulator.outside_audit import OutsideAudit
from simulator.report import write_report
from simulator.running import add_audits
from simulator.show import Progress, print_outcome
from simulator.story_result import Asked, Check, Entry, StoryResult, Told
from simulator.summary import RunOutcome, audit_json, eur, human_units, summarise_run
from simulator.tally import SessionReport, Tally, UsedService

MADE_AT = datetime.datetime(2026, 11, 22, 17, 0, tzinfo=datetime.UTC)


def outcome() -> RunOutcome:
    tally = Tally(answered=600, repeats=6, lost_on_purpose=6)
    for minute in range(60):
        for service, kind, count in (("data", "U", 6), ("voice", "I", 2), ("sms", "E", 2)):
            tally.requests[service, kind] += count
            tally.timeline[minute, service] += count
    for milliseconds in range(1, 601):
        tally.latencies.add(milliseconds / 10_000)
    tally.results.update({2001: 580, 4012: 20})
    tally.service_results.update({("data", 2001): 400, ("sms", 4012): 20})
    tally.used.update({("data", "home"): 164_600_000_000, ("voice", "home"): 76_000, ("sms", "home"): 120})
    tally.blocked.update({(3, "zero"): 4, (30, "zero"): 10, (44, "limit"): 6})
    tally.blocked_accounts.update({"38668100001": "zero", "38668100002": "limit"})
    tally.asked.update({("RAR", "asked again"): 7, ("ASR", "ended"): 1})
    tally.topped_up.update({"38668100001", "38668100003"})
    tally.went_on.add("38668100001")
    tally.sessions.append(
        SessionReport("s", "data", "", "", "", "", False, 0.0, services=[UsedService("data", 100, 5)])
    )
    audit = OutsideAudit(sessions=1, services_compared=1, records=9)
    audit.charged_by_service.update({"voice": 12_345_678})
    made = RunOutcome(summarise_run(tally, scenario="busy <hour>", seed=1, speed=120.0, wall_s=30.0), tally, audit)
    made.story = StoryResult(
        "38668900001",
        [
            Entry(0.5, "gets a SIM & a phone", credit="25.00"),
            Entry(2.0, "streams", "CCR-U", "4012", "0.019", 0, lacks=True),
        ],
        [Told(3.0, "low-credit", "Your credit is <0.01> EUR.", "sent")],
        [Asked(2.1, "CCR-U", 4012), Asked(3.5, "RAR", 2002)],
        checks=[Check(True, "the story is right", "1 of 1")],
    )
    made.books = {"accounts": 2000}
    made.money = {"paid_in": 38_898_620_000, "left": 19_591_190_000, "held": 2_190_000, "spent": 19_305_240_000,
                  "refunded": 0, "expired": 0}  # fmt: skip
    return made


def test_the_report_is_one_whole_page(tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    write_report(outcome(), path, made_at=MADE_AT)
    page = path.read_text("utf-8")
    assert page.count("<svg") == 6
    assert "gets a SIM &amp; a phone" in page and "Your credit is &lt;0.01&gt; EUR." in page
    assert '<td class="lacks">4012</td><td>0.01 EUR, 0.0 B of the pack</td>' in page
    assert "busy &lt;hour&gt;" in page
    assert "38,898.62 EUR = 19,591.19 + 2.19 + 19,305.24" in page
    assert "the books are right" in page
    assert "2 topped up at zero, 1 went on" in page
    assert not re.search(r'(?:src|href)="https?:', page)


def test_a_bad_run_says_so(tmp_path: Path) -> None:
    bad = outcome()
    assert bad.ok
    assert bad.audit is not None
    bad.audit.wrong("s service 100: 5 units reported as used, 6 recorded")
    assert not bad.ok
    write_report(bad, tmp_path / "report.html", made_at=MADE_AT)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "something is wrong" in page
    assert "5 units reported as used, 6 recorded" in page


def test_books_that_cannot_be_audited_do_not_lose_the_run(tmp_path: Path) -> None:
    played, config = outcome(), tmp_path / "ocs.toml"
    config.write_text("not TOML")
    add_audits(played, records=None, prices=None, ocs_config=config)
    assert not played.ok
    write_report(played, tmp_path / "report.html", made_at=MADE_AT)
    assert "is not TOML" in (tmp_path / "report.html").read_text()


def test_each_difference_is_a_row_and_an_object(tmp_path: Path) -> None:
    bad = outcome()
    assert bad.audit is not None
    bad.audit.recomputed, bad.audit.not_recomputed["sessions of others"] = 7, 2
    found = Difference(
        "HOT-PKG-10", "00-a1", masked("38668100001"), "pgw;1;7", ("p00-7",), "1 of <PACK>", "1 of MINI.sms",
        "the pack pays first",
    )  # fmt: skip
    bad.audit.differs(found)
    assert not bad.ok
    write_report(bad, tmp_path / "report.html", made_at=MADE_AT)
    table = (tmp_path / "report.html").read_text("utf-8").partition('id="differences"')[2].partition("</section>")[0]
    for text in ("HOT-PKG-10", "00-a1 38668100xxx", "pgw;1;7", "p00-7", "1 of &lt;PACK&gt;", "the pack pays first"):
        assert text in table
    out = io.StringIO()
    print_outcome(Console(file=out, width=400), bad)
    assert "7 accounts computed again on paper" in out.getvalue()
    assert "2 accounts not computed again: sessions of others" in out.getvalue()
    assert found.text() in out.getvalue()
    checked = json.loads(json.dumps(audit_json(bad.audit)))
    assert checked["differences"][0] == {
        "rule": "HOT-PKG-10", "account": "00-a1", "msisdn": "38668100xxx", "session": "pgw;1;7", "records": ["p00-7"],
        "expected": "1 of <PACK>", "charged": "1 of MINI.sms", "why": "the pack pays first",
    }  # fmt: skip
    assert (checked["recomputed"], checked["not_recomputed"]) == (7, {"sessions of others": 2})


def test_a_story_that_went_wrong_makes_a_run_bad(tmp_path: Path) -> None:
    for checks in ([], [Check(False, "money", "a cent is missing")]):
        bad = outcome()
        assert bad.story is not None and bad.ok
        bad.story.checks = checks
        assert not bad.ok
        write_report(bad, tmp_path / "report.html", made_at=MADE_AT)
        page = (tmp_path / "report.html").read_text("utf-8")
        assert "something is wrong" in page
        assert not checks or "a cent is missing" in page


def test_an_empty_run_can_be_reported_too(tmp_path: Path) -> None:
    tally = Tally()
    empty = RunOutcome(summarise_run(tally, scenario="nothing", seed=1, speed=1.0, wall_s=0.0), tally)
    write_report(empty, tmp_path / "report.html", made_at=MADE_AT)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "nothing" in page and "</html>" in page


def test_unanswered_requests_and_unequal_repeats_make_a_run_bad() -> None:
    for field in ("unanswered", "unequal_repeats"):
        tally = Tally(**{field: 1})
        assert not RunOutcome(summarise_run(tally, scenario="x", seed=1, speed=1.0, wall_s=1.0), tally).ok


def test_repetitions_with_another_answer_are_named(tmp_path: Path) -> None:
    made = outcome()
    made.tally.unequal("pgw;1;7", "U", 3, 2001, 5012)
    made.summary = summarise_run(made.tally, scenario="x", seed=1, speed=1.0, wall_s=1.0)
    out = io.StringIO()
    print_outcome(Console(file=out, width=200), made)
    assert "✗ 1 repetitions got another answer" in out.getvalue()
    write_report(made, tmp_path / "report.html", made_at=MADE_AT)
    for text in (out.getvalue(), (tmp_path / "report.html").read_text("utf-8")):
        assert "pgw;1;7 CCR-U #3: answered 2001, then 5012" in text


def test_the_summary_for_people_and_for_programs() -> None:
    out = io.StringIO()
    print_outcome(Console(file=out, width=200), outcome())
    text = out.getvalue()
    assert "0 unanswered, 6 repeated with T" in text
    assert "12.35 EUR" in text
    found = json.loads(json.dumps(outcome().summary.as_json()))
    assert (found["requests"], found["result_codes"]) == (600, {"2001": 580, "4012": 20})
    made = outcome().audit
    assert made is not None
    checked = json.loads(json.dumps(audit_json(made)))
    assert (checked["ok"], checked["charged_by_service"]) == (True, {"voice": 12_345_678})


def test_live_progress_draws() -> None:
    class FakeEngine:
        tally = outcome().tally
        progress = 0.5

        class clock:  # noqa: N801 - stands for an attribute
            now_s = staticmethod(lambda: 1800.0)

    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=True, width=160), FakeEngine(), "busy hour") as update:
        update()
    assert "CCR/s" in out.getvalue()
    assert "30:00 simulated" in out.getvalue()


def test_units_for_people() -> None:
    assert human_units("data", 164_600_000_000) == "153.3 GB"
    assert human_units("voice", 75_900) == "21 h 05 min"
    assert human_units("sms", 2358) == "2,358 messages"
    assert [eur(amount) for amount in (0, 1_234_560_000, -5_000, 4_999)] == ["0.00", "1,234.56", "-0.01", "0.00"]
