"""`ocs catalogue load` beside a running server: every process has the version before it begins, or none ever has."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from ocs.ledger.contract.catalogue import ACCEPT_AHEAD_S
from ocs.process.processes import command_line
from tests.catalogue import CATALOGUE
from tests.conftest import RedisServer
from tests.faults.client import Client, data_request
from tests.faults.harness import COMMAND, CONFIG, Books, Serving
from tests.waiting import PATIENCE_S, wait_for

MSISDN, MB, EUR = "38668100001", 1024 * 1024, 1_000_000
OLD, NEW = 6_900, 9_000
"""Micro-EUR per MB."""
TEXT = CATALOGUE.read_text("utf-8")
API_OFF = '[api]\nlisten = ""'
TWO_WORKERS = CONFIG.replace("workers = 1", "workers = 2").replace(API_OFF, '[api]\nlisten = "127.0.0.1:0"')
ROLES = ["api", "backoffice", "housekeeper", "worker", "worker"]
"""Of all processes of the server. Each computes with the catalogue, so each must have said that it can use a version:
workers rate use, the housekeeper writes the products' terms, the backoffice makes notices and payments, the API sells.
"""


def version(folder: Path, name: str, *pairs: tuple[str, str], valid_from: str = "") -> str:
    text = TEXT.replace('version = "1"', f'version = "{name}"\nvalid_from = "{valid_from}"', 1)
    for old, new in (("micro_eur = 6_900\n", f"micro_eur = {NEW}\n"), *pairs):
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(params=[TWO_WORKERS], ids=["all"])
def serving(request: pytest.FixtureRequest, tmp_path: Path, own_redis: RedisServer) -> Iterator[Serving]:
    server = Serving(tmp_path / "ocs", own_redis.url, request.param)
    try:
        wait_for(lambda: all_are_ready(server))  # it is healthy with the first worker
        yield server
    finally:
        server.end()


@pytest.fixture
def books(own_redis: RedisServer) -> Iterator[Books]:
    with Books(own_redis.url) as books:
        yield books


def all_are_ready(serving: Serving) -> bool:
    with urllib.request.urlopen(f"http://{serving.facts()['metrics']}/health", timeout=PATIENCE_S) as answer:
        health: dict[str, int | None] = json.load(answer)
    others = all(health[role] in (True, None) for role in ("api", "backoffice", "housekeeper"))  # None = it is off
    return health["workers"] == health["workers_wanted"] and others


def processes(serving: Serving) -> dict[int, str]:
    """Process id → role."""
    path = Path(f"/proc/{serving.process.pid}/task/{serving.process.pid}/children")
    children = ((pid, " ".join(command_line(int(pid)))) for pid in path.read_text(encoding="ascii").split())
    roles = ((pid, re.search(r"ocs\.process\.(\w+)", line)) for pid, line in children)
    return {int(pid): role[1] for pid, role in roles if role}


def workers(serving: Serving) -> list[int]:
    return [pid for pid, role in processes(serving).items() if role == "worker"]


def start(serving: Serving, *words: str) -> subprocess.Popen[str]:
    """`ocs …`, while it goes on."""
    return subprocess.Popen(
        [*COMMAND, *words, "--config", "ocs.toml"],
        cwd=serving.folder, env=serving.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def versions(serving: Serving) -> dict[str, dict[str, object]]:
    listed = serving.command("catalogue", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return {row["version"]: row for row in json.loads(listed.stdout)}


def in_force(serving: Serving) -> str:
    return next(name for name, row in versions(serving).items() if row["in_force"])


def comes_into_force(books: Books, serving: Serving, name: str) -> None:
    _, stored = books.ask(lambda ledger: ledger.catalogue_versions())
    (begins_at,) = [version.begins_at for version in stored if version.name == name]
    time.sleep(max(0.0, begins_at - time.time()))
    wait_for(lambda: in_force(serving) == name)


def opened(client: Client, sid: str) -> None:
    answer = client.ask(data_request(MSISDN, sid, 1, 0, want=MB))
    assert answer.granted_octets == MB, answer


def costs(books: Books, serving: Serving, account_id: str, sid: str) -> int:
    """What a MB costs now, by a session of its own."""
    client = serving.connect()
    before = books.view(account_id).credit_micro_eur
    opened(client, sid)
    client.ask(data_request(MSISDN, sid, 3, 1, used=MB))
    client.close()
    return before - books.view(account_id).credit_micro_eur


@pytest.mark.long
def test_a_version_comes_into_force_without_a_restart_and_stays_after_one(
    tmp_path: Path, own_redis: RedisServer, serving: Serving, books: Books
) -> None:
    account_id = books.open_account(MSISDN, 10 * EUR)
    assert costs(books, serving, account_id, "pgw.example.net;1;a") == OLD
    file = version(tmp_path, "2")
    refused = serving.command("catalogue", "load", file)
    assert refused.returncode == 1 and "catalogue.valid_from: is missing" in refused.stderr
    asked_at = int(time.time())
    loaded = serving.command("catalogue", "load", file, "--now", "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert sorted(processes(serving).values()) == ROLES
    assert json.loads(loaded.stdout)["processes"] == len(ROLES), "every process reads the catalogue"
    begins = datetime.fromisoformat(json.loads(loaded.stdout)["valid_from"]).timestamp()
    assert begins >= asked_at + ACCEPT_AHEAD_S, "every process has it before it begins"
    comes_into_force(books, serving, "2")
    assert costs(books, serving, account_id, "pgw.example.net;1;b") == NEW
    again = serving.command("catalogue", "load", file, "--now")
    assert again.returncode == 0 and "was loaded before" in again.stdout
    assert {name: bool(row["loaded_by"]) for name, row in versions(serving).items()} == {"1": True, "2": True}

    serving.end()
    later = Serving(tmp_path / "later", own_redis.url, TWO_WORKERS)
    try:
        assert costs(books, later, account_id, "pgw.example.net;1;c") == NEW
        prices = {
            line["price"].rpartition("/")[2]
            for record in [*serving.records(), *later.records()]
            for line in record.get("services", ())
        }
        assert prices >= {"1", "2"}
    finally:
        later.end()


@pytest.mark.long
def test_a_worker_that_is_killed_in_the_middle_of_a_load_delays_it_only(tmp_path: Path, serving: Serving) -> None:
    stopped = workers(serving)[0]
    os.kill(stopped, signal.SIGSTOP)
    loading = start(serving, "catalogue", "load", version(tmp_path, "2"), "--now", "--json")
    time.sleep(1.5)
    assert loading.poll() is None, "it waits for the one that does not answer"
    os.kill(stopped, signal.SIGKILL)
    code, _, err = ended(loading)
    assert code == 0, err
    wait_for(lambda: len(workers(serving)) == 2 and stopped not in workers(serving))
    assert set(versions(serving)) == {"1", "2"}


@pytest.mark.long
def test_a_worker_that_slept_through_a_load_charges_nothing_by_the_old_prices(
    tmp_path: Path, serving: Serving, books: Books
) -> None:
    account_id = books.open_account(MSISDN, 10 * EUR)
    client = serving.connect()
    opened(client, "pgw.example.net;1;before")
    holder = serving.holders()["pgw.example.net"]
    os.kill(holder, signal.SIGSTOP)
    try:
        code, out, err = ended(start(serving, "catalogue", "load", version(tmp_path, "2"), "--now", "--json"))
        assert code == 0, err
        assert json.loads(out)["processes"] == len(ROLES) - 1, "nobody waits for one that is silent for long"
        comes_into_force(books, serving, "2")
    finally:
        os.kill(holder, signal.SIGCONT)
    held = books.view(account_id).held_micro_eur
    answer = client.ask(data_request(MSISDN, "pgw.example.net;1;after", 1, 0, want=MB))
    if answer.message is not None:
        assert books.view(account_id).held_micro_eur - held == NEW
    else:
        assert answer.result_code in (3002, 3004)

    def charges_again() -> bool:
        request = data_request(MSISDN, f"pgw.example.net;1;{time.monotonic_ns()}", 1, 0, want=MB)
        return client.ask(request).message is not None

    wait_for(charges_again)
    client.close()
    assert costs(books, serving, account_id, "pgw.example.net;1;again") == NEW


ONE_WORKER = pytest.mark.parametrize("serving", [CONFIG], indirect=True, ids=["one worker"])


@pytest.mark.long
@ONE_WORKER
def test_if_one_process_cannot_use_it_nobody_has_it(tmp_path: Path, serving: Serving, books: Books) -> None:
    reader = "node-b.example.net worker 0"
    books.ask(lambda ledger: ledger.look_at_catalogue(reader))
    loading = start(serving, "catalogue", "load", version(tmp_path, "2"), "--now")

    def offered() -> str:
        books.ask(lambda ledger: ledger.look_at_catalogue(reader))
        offer = books.ask(lambda ledger: ledger.catalogue_offer())
        return offer.id if offer else ""

    offer_id = wait_for(offered)
    books.ask(lambda ledger: ledger.answer_offer(offer_id, reader, "service portal is of another unit"))
    code, _, err = ended(loading)
    assert code == 1
    assert f"{reader}: service portal is of another unit" in err and "nothing was changed" in err
    assert set(versions(serving)) == {"1"}
    time.sleep(7)
    assert in_force(serving) == "1"


@pytest.mark.long
@ONE_WORKER
def test_redis_is_away_in_the_middle_of_a_load(tmp_path: Path, own_redis: RedisServer, serving: Serving) -> None:
    books = Books(own_redis.url)
    account_id = books.open_account(MSISDN, 10 * EUR)
    stopped = workers(serving)[0]
    os.kill(stopped, signal.SIGSTOP)
    file = version(tmp_path, "2")
    loading = start(serving, "catalogue", "load", file, "--now")
    wait_for(lambda: books.ask(lambda ledger: ledger.catalogue_offer()))
    own_redis.stop(kill=True)
    code, _, err = ended(loading)
    assert code == 1 and "it is not known whether it was done" in err
    os.kill(stopped, signal.SIGCONT)
    own_redis.start()
    wait_for(lambda: serving.health() == 200)
    assert set(versions(serving)) == {"1"}, "what was not accepted is not there"

    def lapsed() -> bool:
        return books.ask(lambda ledger: ledger.catalogue_offer()) is None

    wait_for(lapsed)
    repeated = serving.command("catalogue", "load", file, "--now")
    assert repeated.returncode == 0, repeated.stderr
    comes_into_force(books, serving, "2")
    assert costs(books, serving, account_id, "pgw.example.net;1;a") == NEW
