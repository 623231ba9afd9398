"""The documents match the project: links resolve, every setting is explained, and named files exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import typing
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from pydantic.fields import FieldInfo

from tests import rights_page, settings_page

ROOT = Path(__file__).parents[1]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "tests/data/README.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINTERS = (".venv/bin/mypy", ".venv/bin/lint-imports")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Anchors of the page: its headings in GitHub's form."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            found = (page.parent / target).resolve()
            assert found.is_relative_to(ROOT), target
            assert found.exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_chapter_finds_it(page: Path) -> None:
    for target, anchor in ANCHOR.findall(page.read_text("utf-8")):
        found = page.parent / target if target else page
        if not re.match(r"[a-z]+:", target) and found.suffix == ".md":
            assert anchor in anchors(found), f"{target}#{anchor}"


def test_every_setting_has_a_row_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]*) \|", settings_page.PAGE.read_text("utf-8"), re.MULTILINE))
    fields = {
        f"{section}.{key}": field
        for section, model in settings_page.sections().items()
        for key, field in model.model_fields.items()
    }
    assert set(rows) == set(fields) and len(fields) > 80
    for key, field in fields.items():
        if field.is_required():
            assert rows[key] == "must be given"
            continue
        default = field.get_default(call_default_factory=True)
        shown = None if rows[key] == "–" else tomllib.loads(f"value = {rows[key].strip('`')}")["value"]
        assert shown == default, key


def test_every_setting_says_what_is_allowed_and_what_it_does() -> None:
    for section, model in settings_page.sections().items():
        assert model.__doc__, section
        texts = settings_page.meanings(model)
        for key, field in model.model_fields.items():
            assert texts.get(key, "").endswith((".", "…")), f"{section}.{key}: a text below it says what it does"
            said = (field.description or "").replace("2^32-1", str(2**32 - 1)).replace("2^40", str(2**40))
            for word in allowed(field):
                assert re.search(rf"(?<!\w){word}(?!\w)", said), f"{section}.{key} allows {word}, and says: {said}"


def allowed(field: FieldInfo) -> list[str]:
    """What the field's description must state: bounds, most items of a list or table, allowed words."""
    kinds = [field.annotation, *typing.get_args(field.annotation)]
    of_several = typing.get_origin(field.annotation) in (list, dict)
    bounds = [getattr(each, name, None) for each in field.metadata for name in ("ge", "le")]
    bounds += [getattr(each, "max_length", None) for each in field.metadata if of_several]
    choices = [each for kind in kinds for each in typing.get_args(kind) if isinstance(each, str)]
    return [*(str(bound) for bound in bounds if bound is not None), *(f'"{choice}"' for choice in choices)]


def test_the_page_of_the_settings_is_up_to_date() -> None:
    assert settings_page.PAGE.read_text("utf-8") == settings_page.page(), "make docs writes it anew"


def test_the_table_of_roles_is_up_to_date() -> None:
    assert rights_page.PAGE.read_text("utf-8") == rights_page.page(), "make docs writes it anew"


def test_make_docs_writes_every_page_that_says_so() -> None:
    done = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True)
    for page in PAGES:
        made = re.search(r"^Made from .* by `make docs`", page.read_text("utf-8"), re.MULTILINE)
        if page.parent.name == "runbooks":  # tests/monitoring
            continue
        module = {"RULES.md": "rules", "CONFORMANCE.md": "conformance", "SETTINGS.md": "settings_page"}.get(page.name)
        assert bool(made) == bool(module), page.name
        assert module is None or f"-m tests.{module}\n" in done.stdout
    assert "-m tests.avp_table\n" in done.stdout
    assert "-m monitoring\n" in done.stdout


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = LINK.findall(page.read_text("utf-8"))
        waiting += [(page.parent / target).resolve() for target in targets if not re.match(r"[a-z]+:", target)]
    assert reached == set(PAGES)


def test_the_drawing_is_well_formed() -> None:
    assert ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot().tag.endswith("svg")


def test_files_that_the_pages_name_exist() -> None:
    """`ocs/…`, `protocol/…` and the like in code marks are files or folders; decisions are numbered without gaps."""
    for page in PAGES:
        for name in re.findall(
            r"`((?:ocs|protocol|simulator|config|benchmarks|tests)/[\w./-]*)`", page.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_limits_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "LIMITS.md").read_text("utf-8").split("## Memory")[0]
    rows = dict(re.findall(r"^\| (?!what \|)([^|]+) \| ([^|]+) \|", text, re.MULTILINE))
    expected = limits()
    assert set(rows) == set(expected)
    for name, numbers in expected.items():
        for number in numbers:
            assert re.search(rf"(?<![\d,]){number:,}(?!,?\d)", rows[name]), f"{name}: {number:,}, not {rows[name]}"


def limits() -> dict[str, tuple[int, ...]]:
    """Row of docs/LIMITS.md → the numbers that it must state."""
    rows: dict[str, tuple[int, ...]] = {}
    for part in (
        *(limits_of_messages, limits_of_sessions, limits_of_our_requests),
        *(limits_of_notices, limits_of_payments, limits_of_money_in, limits_of_history, limits_of_records),
        *(limits_of_the_api, limits_of_tracing),
    ):
        rows |= part()
    return rows


def limits_of_history() -> dict[str, tuple[int, ...]]:
    from ocs.history import engine, reader, statement
    from ocs.history.retention import PAGE_ACCOUNTS
    from ocs.outbox import files
    from ocs.process.back_office import retention
    from ocs.settings.history_section import HistorySection

    kept = HistorySection()
    return {
        "octets of records in one transaction": (reader.MAX_CHUNK_OCTETS // 1024**2,),
        "a line of the record files": (files.MAX_LINE_OCTETS // 1024**2,),
        "itemised use": (kept.keep_periods,),
        "money": (kept.keep_money_years,),
        "files of charging records": (kept.keep_records_days, files.TAIL_OCTETS // 1024**2),
        "accounts whose use is erased together": (int(PAGE_ACCOUNTS / retention.STEP_EVERY_S),),
        "transactions of a statement": (statement.MAX_TRANSACTIONS,),
        "connections to PostgreSQL": (engine.POOL_SIZE,),
        "wait for another writer of the SQLite file": (int(engine.BUSY_TIMEOUT_S),),
    }


def limits_of_the_api() -> dict[str, tuple[int, ...]]:
    from ocs.api import frame, limits, looker, pages, trail, turns
    from ocs.ledger.contract.api_keys import MAX_API_KEYS
    from ocs.ledger.redis.api import ANSWER_KEEP_S
    from ocs.process import api as api_process
    from ocs.process import api_connections
    from ocs.values.moment import DAY_S

    return {
        "keys of the API": (MAX_API_KEYS,),
        "keys whose rate the API counts": (limits.MAX_BUCKETS,),
        "requests of an API key": (),
        "connections of the API": (),
        "octets of a body": (),
        "time for a whole body": (frame.BODY_TIMEOUT_S,),
        "operations of the API at once that only the ledger must answer; how long one waits": (
            turns.MAX_AT_ONCE,
            turns.MAX_WAIT_S,
        ),
        "subscribers whose account a process of the API remembers": (looker.MAX_KNOWN,),
        "octets of a request line and its headers": (api_connections.MAX_HEAD_OCTETS,),
        "time from a connection's beginning, or the answer before, to the end of a request's headers": (
            api_connections.HEAD_TIMEOUT_S,
        ),
        "time in which a client takes no octet of an answer": (api_process.STUCK_MS // 1000,),
        "items of a page of the API": (pages.MAX_PAGE, pages.DEFAULT_PAGE),
        "answers to an Idempotency-Key": (ANSWER_KEEP_S // DAY_S,),
        "before and after in the audit trail": (trail.MAX_SIDE_OCTETS,),
    }


def limits_of_tracing() -> dict[str, tuple[int, ...]]:
    from ocs.charging import rungs, subscriber_watch
    from ocs.cli import ladder
    from ocs.diameter import traced_dispatch
    from ocs.ledger.contract import traces
    from ocs.settings.tracing_section import TracingSection
    from ocs.telemetry import otlp_traces, request_span

    settings = TracingSection()
    return {
        "subscribers that are traced (`ocs trace`)": (traces.MAX_TRACED, traces.MAX_TRACE_S // 3_600),
        "requests that a worker tells to those who trace": (subscriber_watch.MAX_RUNGS_PER_S,),
        "requests of traced subscribers without an answer": (subscriber_watch.MAX_OPEN,),
        "services of a request that are told": (rungs.MAX_SERVICES,),
        "sessions that `ocs trace` numbers": (ladder.MAX_SESSIONS,),
        "exemplars": (),
        "spans that wait for the collector": (settings.max_queue_spans,),
        "spans of one export": (settings.max_batch_spans, settings.export_every_ms),
        "time for an export": (settings.timeout_ms, int(otlp_traces.CLOSE_S)),
        "phases of a traced request; rating groups that its span names": (
            request_span.MAX_PHASES,
            traced_dispatch.MAX_RATING_GROUPS,
        ),
    }


def limits_of_messages() -> dict[str, tuple[int, ...]]:
    """Connections, messages and requests."""
    from ocs.charging import session_order
    from ocs.diameter import peers, receive, transport
    from ocs.ledger.settings import LedgerSettings
    from ocs.settings import dialects
    from ocs.settings.diameter import MAX_WRITE_BUFFER_OCTETS
    from ocs.settings.schema import DiameterSection
    from ocs.values import service_context
    from protocol import avp, peer

    settings = DiameterSection()
    return {
        "connections": (settings.max_connections,),
        "connections before their CER": (settings.max_pending_connections,),
        "connections of one address before their CER": (settings.max_connections_per_address,),
        "time for a TLS handshake, time for a CER": (settings.cer_timeout_s,),
        "rest of a message": (int(receive.PARTIAL_MESSAGE_S),),
        "unread answers of a peer": (MAX_WRITE_BUFFER_OCTETS // 1024**2,),
        "one connection's turn": (int(receive.TURN_S * 1000),),
        "DWR and DPR of a peer": (peers.BASE_REQUESTS_PER_S,),
        "hanging up after 5011 or 5015": (int(transport.HANG_UP_S),),
        "what has been said on a connection that we close": (int(transport.LINGER_S),),
        "DPA to our DPR, hanging up after the peer's": (int(peer.DEFAULT_TIMERS.closing_s),),
        "Diameter message": (settings.max_message_octets // 1024,),
        "AVPs in a request, all levels": (settings.max_avps,),
        "services in a request": (settings.max_services,),
        "AVP nesting": (avp.MAX_NESTING,),
        "requests that a worker works on at once": (settings.max_in_flight,),
        "requests of one connection at once": (settings.max_in_flight_per_peer,),
        "requests of a peer that wait for their turn (rate, requests in flight)": (receive.READ_AHEAD_OCTETS // 1024,),
        "requests of a session that wait for the answer to an earlier one of it": (session_order.MAX_WAITING,),
        "time for an answer": (settings.answer_timeout_ms,),
        "requests waiting for Redis": (LedgerSettings().max_waiting,),
        "Service-Context-Id of a context of ours": (service_context.MAX_TEXT,),
        "Service-Context-Ids that a peer's list remembers": (service_context._MAX_KEPT,),
        "different `tolerate_avps`": (dialects.MAX_TOLERANCES,),
    }


def limits_of_sessions() -> dict[str, tuple[int, ...]]:
    """Sessions and accounts."""
    from ocs.charging import equipment, ledger_request
    from ocs.ledger.contract import limits
    from ocs.ledger.redis import accounts, observations
    from ocs.values import measures, money

    return {
        "open sessions of an account": (limits.MAX_SESSIONS_PER_ACCOUNT,),
        "services of a session": (limits.MAX_SERVICES_PER_SESSION,),
        "supervision (Tcc)": (ledger_request.TCC_FACTOR,),
        "sessions given up, kept for late use": (lua("sessions", "MAX_GIVEN_UP"), lua("sessions", "LATE_S") // 3600),
        "a session that has ended is known for late reports": (limits.TOMBSTONE_S,),
        "answers kept of a live session": (limits.ANSWERS_KEPT_PER_SESSION,),
        f"numbers more than {lua('sessions', 'FAR_AHEAD'):,} ahead of a session's highest": (
            lua("sessions", "MAX_APART"),
        ),
        "slack before a report counts as impossible": (
            lua("settle", "SLACK_S"),
            lua("settle", "OCTETS_SLACK_S"),
            lua("settle", "MESSAGES_SLACK"),
        ),
        "a top-up's or purchase's reference is known": (accounts.REFERENCE_KEEP_S // 86_400,),
        "products of an account": (limits.MAX_SUBSCRIPTIONS_PER_ACCOUNT,),
        "measures of an account": (measures.MAX_MEASURES_PER_ACCOUNT,),
        "transfers of an account that are not finished": (limits.MAX_TRANSFERS_PER_ACCOUNT,),
        "numbers of a business group": (limits.MAX_NUMBERS_PER_GROUP,),
        "wrong entries of a PUK1": (limits.MAX_PUK_TRIES,),
        "countries that an account left within a day": (limits.MAX_COUNTRIES_SEEN,),
        "barred IMEIs of an account that were told": (limits.EQUIPMENT_TOLD,),
        "pseudonyms of equipment in a worker": (equipment.EQUIPMENT_KEPT,),
        "equipment of an account abroad, and accounts of one equipment, that are remembered": (observations.MAX_SIMS,),
        "credit after a top-up": (money.CREDIT_CEILING_MICRO_EUR // money.MICRO,),
    }


def limits_of_money_in() -> dict[str, tuple[int, ...]]:
    from ocs.accounts import top_up_files, voucher_batches
    from ocs.ledger.contract import limits
    from ocs.ledger.redis import accounts

    return {
        "wrong voucher entries of an account (HOT-TOP-3)": (limits.MAX_WRONG_VOUCHERS,),
        "vouchers of a batch": (voucher_batches.MAX_VOUCHERS, limits.MAX_BATCH_ACTIONS),
        "a spent or expired voucher is known": (accounts.REFERENCE_KEEP_S // 86_400,),
        "rows of a file of top-ups": (top_up_files.MAX_ROWS,),
    }


def limits_of_payments() -> dict[str, tuple[int, ...]]:
    from ocs.ledger.contract import limits
    from ocs.ledger.redis import payments
    from ocs.payments import http_provider, webhook
    from ocs.payments.sepa import export, reports
    from ocs.policy import payments as policy
    from ocs.settings.payments_section import PaymentsSection

    return {
        "payment orders of an account": (limits.MAX_ORDERS_PER_ACCOUNT, limits.MAX_OPEN_ORDERS_PER_ACCOUNT),
        "automatic top-ups": (
            payments.MOST_DEBITS,
            payments.DEBIT_WINDOW_S // 86_400,
            policy.MAX_FAILED_ORDERS,
        ),
        "tries of a payment without a certain answer": (policy.MAX_TRIES, policy.MAX_ONE_OFF_TRIES),
        "requests to the payment provider at once": (PaymentsSection().max_in_flight,),
        "answer of the provider, notification, bank report": (
            http_provider.MAX_ANSWER_OCTETS // 1024,
            webhook.MAX_BODY_OCTETS // 1024,
            reports.MAX_OCTETS // 1024**2,
        ),
        "debits in a SEPA file": (export.MOST_IN_A_FILE,),
    }


def limits_of_records() -> dict[str, tuple[int, ...]]:
    """Charging records, their export, reconciliation, drafts."""
    from ocs.api.routes import exports
    from ocs.history.exports import writers
    from ocs.history.reconcile import matching, reconcile, store
    from ocs.history.rerating import month, shadow

    assert exports.MAX_RANGE_S // 86_400 == 31
    return {
        "an export over the API": (),
        "rows that Parquet keeps in memory": (writers.ROWS_OF_A_GROUP,),
        "memory of SQLite in `ocs reconcile`": (store.CACHE_KIB // 1024,),
        "sessions of an account at which a line of the host is looked for": (matching.NEAREST,),
        "bad lines of the host's file that are told": (reconcile.MAX_BAD_LINES_SHOWN,),
        "records whose accounts `ocs explain --month` has in memory": (month.OCTETS_OF_A_PASS // 1024**3,),
        "a period before a month": (month.MOST_WARM_UP_S // 86_400,),
        "open sessions of an account on paper": (shadow.MAX_SESSIONS,),
    }


def limits_of_our_requests() -> dict[str, tuple[int, ...]]:
    """RAR, ASR, caches, and versions of the catalogue."""
    from ocs.accounts import catalogue_versions
    from ocs.catalogue import ported_numbers, versions
    from ocs.charging import account_lookup, facts_cache, session_cache
    from ocs.diameter import abort_cause, client_window, job_table, outstanding
    from ocs.ledger.contract import catalogue
    from ocs.ledger.redis import clients
    from ocs.outbox import search
    from ocs.telemetry import metrics
    from ocs.values import equipment, moment

    return {
        "RARs, and ASRs, without an answer": (outstanding.MAX_OUTSTANDING,),
        "of one client behind a relay": (
            client_window.WIDEST_WINDOW,
            client_window.FIRST_WINDOW,
            client_window.SILENT_WINDOW,
        ),
        "sessions of a worker being told": (job_table.MAX_JOBS, job_table.MAX_JOBS_FOR_RAR),
        "of these, sessions that nobody can reach now": (job_table.MAX_UNREACHABLE,),
        "clients whose ASRs carry Abort-Cause": (abort_cause.MAX_CLIENTS,),
        "accounts with facts that a worker remembers": (facts_cache.MAX_ACCOUNTS_KEPT,),
        "subscribers, sessions a worker remembers": (
            account_lookup.MAX_SUBSCRIBERS_KEPT,
            session_cache.MAX_SESSIONS_KEPT,
        ),
        "versions of the catalogue": (
            versions.MAX_VERSIONS,
            catalogue_versions.KEPT_S // moment.DAY_S,
            catalogue_versions.NEEDED_S // moment.DAY_S,
        ),
        "barred IMEIs": (equipment.MAX_BARRED,),
        "ported numbers": (ported_numbers.MAX_NUMBERS,),
        "networks of ported numbers": (ported_numbers.MAX_NETWORKS,),
        "records of a session that `ocs explain` reads": (search.MAX_RECORDS,),
        "time to answer when a version is loaded": (int(catalogue_versions.WAIT_S), catalogue.READER_GONE_S),
        "time without a look at the versions in Redis": (int(catalogue.READER_STALE_S),),
        "clients whose Origin-State-Id is kept": (clients.MAX_ORIGIN_STATES, clients.MAX_RELAYED_ORIGIN_STATES),
        "values of a metric's label": (metrics.MAX_LABEL_VALUES,),
    }


def limits_of_notices() -> dict[str, tuple[int, ...]]:
    from ocs.notices import check, log_port, making, webhook_port
    from ocs.settings.notices_section import NoticesSection
    from ocs.values import moment, sms_text

    settings = NoticesSection()
    return {
        "notices of an account that wait": (settings.max_per_account,),
        "notices that wait in all": (settings.max_waiting,),
        "notices that are being sent": (settings.concurrency, settings.rate_per_s),
        "attempts of a notice": (settings.attempts,),
        "length of a text": (check.MOST_SEGMENTS,),
        "age of an event whose notices are made": (making.OLDEST_S // moment.DAY_S,),
        "age of a notice": (settings.keep_days,),
        "answer of the gateway that is read": (webhook_port.MAX_ANSWER_OCTETS // 1024,),
        "file of the port `log`": (log_port.ROTATE_OCTETS // 1024**2,),
        "USSD page": (sms_text.USSD_CHARACTERS,),
    }


def lua(script: str, name: str) -> int:
    """A constant in a Lua script of the ledger."""
    text = (ROOT / "ocs" / "ledger" / "scripts" / f"{script}.lua").read_text("utf-8")
    found = re.search(rf"^local {name} = (\d+)", text, re.MULTILINE)
    assert found, f"{script}.lua has no {name}"
    return int(found[1])


@pytest.mark.parametrize("task", ["help", "demo", "test", "check", "docs", "fuzz", "bench", "sim", "setup", "clean"])
def test_every_task_of_the_makefile_can_be_planned(task: str) -> None:
    done = subprocess.run(["make", "-n", task], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_hooks_run_what_make_check_runs_and_fetch_nothing() -> None:
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [each["repo"] for each in settings["repos"]] == ["local"]
    hooks = settings["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    done = subprocess.run(["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True)
    linted = {line for line in done.stdout.splitlines() if line.startswith(".venv/bin/ruff") or line in LINTERS}
    at_commit = {hook["entry"].removesuffix(" --force-exclude") for hook in hooks if "stages" not in hook}
    assert at_commit == linted and len(linted) == 4
    assert [hook["entry"] for hook in hooks if hook.get("stages") == ["pre-push"]] == ["make check"]


def test_the_makefiles_demo_is_a_command_of_the_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulator.cli", "demo", "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0
    for option in ("--speed", "--folder", "--report"):
        assert option in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_performance_has_the_markers_that_the_benchmark_writes_between(tmp_path: Path) -> None:
    from benchmarks.table import BEGIN, END

    text = (ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)
