"""`ocs trace` beside a real server: who is told what, what it costs the others, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from protocol.credit_control import SubscriptionId
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.client import data_request
from tests.faults.harness import COMMAND, CONFIG, Books, Serving
from tests.waiting import PATIENCE_S, wait_for

TRACED, OTHER = "38668100001", "38668100002"
IMSI = "29340" + TRACED[-10:]
CREDIT = 10_000_000
MB = 1_000_000
RIGHTS = CONFIG.replace('realm = "example.net"\n', 'realm = "example.net"\nsubscribers = ["38668"]\n')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("trace")
    (folder / "redis").mkdir()
    own = RedisServer(SYSTEM_REDIS, folder / "redis")
    own.start()
    with ExitStack() as stack:
        stack.callback(own.stop, kill=True)
        serving = Serving(folder / "server", own.url, RIGHTS)
        stack.callback(serving.end)
        for msisdn in (TRACED, OTHER):
            Books(own.url).open_account(msisdn, CREDIT)
        yield serving


class Watch:
    """A running `ocs trace`, which has begun on return."""

    def __init__(self, server: Serving, folder: Path, *words: str) -> None:
        self._out, self._said = folder / "out", folder / "said"
        with self._out.open("w") as out, self._said.open("w") as said:
            command = [*COMMAND, "trace", *words, "--config", "ocs.toml"]
            self._process = subprocess.Popen(
                command, cwd=server.folder, env=server.environment, stdout=out, stderr=said
            )
        try:
            wait_for(self._begun)
        except BaseException:
            self.kill()
            raise

    def _begun(self) -> bool:
        assert self._process.poll() is None, self._said.read_text()
        return "is traced until" in self._said.read_text()

    def lines(self) -> list[str]:
        return self._out.read_text().splitlines()

    def end(self, number: int | None = signal.SIGINT) -> tuple[list[str], str]:
        """Lines of its output, and what it said. `number`: None = it ends by itself."""
        if number is not None:
            self._process.send_signal(number)
        assert self._process.wait(PATIENCE_S) == 0, self._said.read_text()
        return self.lines(), self._said.read_text()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)


@pytest.fixture
def watch(server: Serving, tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    """`watch(*words)` begins a trace, of which the worker knows on return."""
    with ExitStack() as stack:

        def begin(*words: str) -> Watch:
            known = log_of(server).count("is traced for")
            folder = tmp_path / f"watch{known}"
            folder.mkdir()
            begun = Watch(server, folder, *words)
            stack.callback(begun.kill)
            wait_for(lambda: log_of(server).count("is traced for") > known)
            return begun

        yield begin


def log_of(server: Serving) -> str:
    return (server.folder / "log").read_text(encoding="utf-8")


def session(server: Serving, msisdn: str, name: str) -> list[int]:
    """Opens, updates without the subscriber's number, and ends; the Result-Codes."""
    client, sid = server.connect(), f"pgw.example.net;1;{name}"
    update = data_request(msisdn, sid, 2, 1, used=MB, want=MB)
    update.subscription_id = []
    requests = [data_request(msisdn, sid, 1, 0, want=MB), update, data_request(msisdn, sid, 3, 2, used=MB)]
    try:
        return [client.ask(each).result_code for each in requests]
    finally:
        client.close()


def view(server: Serving, msisdn: str) -> Any:
    books = Books(server.redis_url)

    async def account(ledger: Any) -> Any:
        return await ledger.find_subscriber(f"m{msisdn}")

    return books.view(books.ask(account))


def test_the_requests_of_one_subscriber_are_told(server: Serving, watch: Callable[..., Watch]) -> None:
    watching = watch(TRACED, "--for", "1m", "--json")
    before = view(server, TRACED).credit_micro_eur
    assert session(server, OTHER, "other") == [2001, 2001, 2001]
    assert session(server, TRACED, "told") == [2001, 2001, 2001]
    wait_for(lambda: len(watching.lines()) >= 3)
    lines, said = watching.end()
    opening, update, end = [json.loads(line) for line in lines]
    assert [each["kind"] for each in (opening, update, end)] == ["CCR-I", "CCR-U", "CCR-T"]
    assert [each["number"] for each in (opening, update, end)] == [0, 1, 2]
    assert {each["session_id"] for each in (opening, update, end)} == {"pgw.example.net;1;told"}
    assert {each["peer"] for each in (opening, update, end)} == {"pgw.example.net"}
    (service,) = opening["services"]
    assert (service["key"], service["unit"], service["wanted"]) == ("1", "octets", MB)
    assert service["granted"] == MB and opening["held_micro_eur"] > 0 and opening["credit_micro_eur"] == before
    assert update["services"][0]["used"] == end["services"][0]["used"] == MB
    spent = sum(each["debited_micro_eur"] for each in (opening, update, end))
    after = view(server, TRACED)
    assert before - after.credit_micro_eur == spent > 0
    assert (end["credit_micro_eur"], end["held_micro_eur"]) == (after.credit_micro_eur, after.held_micro_eur)
    assert all(0 < each["took_ms"] < 60_000 for each in (opening, update, end))
    assert "38668100xxx is traced until" in said and "3 requests" in said and TRACED not in said


def test_refusals_are_told_and_a_worker_that_is_replaced_goes_on(server: Serving, watch: Callable[..., Watch]) -> None:
    watching = watch(TRACED, "--for", "1m", "--json")
    worker = server.worker()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: server.worker() not in (0, worker) and server.health() == 200)
    wait_for(lambda: log_of(server).count("is traced for") >= 2)
    client = server.connect()
    strange = data_request(TRACED, "pgw.example.net;1;strange", 1, 0, want=MB)
    strange.subscription_id = [SubscriptionId(0, TRACED), SubscriptionId(0, "49151000000")]
    assert client.ask(strange).result_code == 5003, "one number is not within the peer's"
    unknown = data_request(TRACED, "pgw.example.net;1;strange", 2, 5, used=MB, want=MB)
    assert client.ask(unknown).result_code == 5002
    client.close()
    wait_for(lambda: len(watching.lines()) >= 2)
    refused, lost = [json.loads(line) for line in watching.end()[0]]
    assert (refused["kind"], refused["result_code"], refused["credit_micro_eur"]) == ("CCR-I", 5003, None)
    assert (lost["kind"], lost["result_code"]) == ("CCR-U", 5002)


def commands(server: Serving) -> dict[str, int]:
    with redis.Redis.from_url(server.redis_url) as client:
        found: Any = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): each["calls"] for name, each in found.items()}


def calls_of_session(server: Serving, msisdn: str, name: str) -> tuple[int, int]:
    """Script calls and publications of a session's three requests."""
    session(server, msisdn, f"{name}-known")  # looks the account up
    before = commands(server)
    assert session(server, msisdn, name) == [2001, 2001, 2001]
    after = commands(server)
    return after["fcall"] - before["fcall"], after.get("publish", 0) - before.get("publish", 0)


def test_a_trace_costs_no_round_trip_and_the_others_nothing(server: Serving, watch: Callable[..., Watch]) -> None:
    untraced = calls_of_session(server, OTHER, "a")
    assert untraced[1] == 0
    watching = watch(TRACED, "--for", "1m")
    for msisdn, told in ((OTHER, 0), (TRACED, 3)):
        script_calls, publications = calls_of_session(server, msisdn, "b")
        assert publications == told
        assert script_calls >= 3, "one for each request, and those of other processes"
    watching.end()
    wait_for(lambda: "is no longer traced" in log_of(server))
    assert calls_of_session(server, TRACED, "c")[1] == 0, "nobody watches any more"


def test_it_ends_by_itself_and_is_noted(server: Serving, watch: Callable[..., Watch]) -> None:
    seen = log_of(server).count("is no longer traced")
    watching = watch(TRACED, "--for", "2s", "--json")
    assert watching.end(None)[0] == []
    wait_for(lambda: log_of(server).count("is no longer traced") > seen)
    account = view(server, TRACED).account_id
    noted = wait_for(lambda: [each for each in server.records() if each["kind"] == "traced"])
    assert {each["account"] for each in noted} == {account}
    assert all(each["by"].startswith("cli:") and each["until"] > 0 for each in noted)
    log = log_of(server)
    assert f"account {account} is traced for" in log and "by cli:" in log
    assert TRACED not in log and IMSI not in log


def test_a_killed_watcher_is_forgotten_at_its_time(server: Serving, watch: Callable[..., Watch]) -> None:
    seen = log_of(server).count("is no longer traced")
    watching = watch(TRACED, "--for", "3s")
    watching.kill()
    wait_for(lambda: log_of(server).count("is no longer traced") > seen)


def test_two_may_watch_and_one_may_leave(server: Serving, watch: Callable[..., Watch]) -> None:
    first, second = watch(TRACED, "--for", "1m", "--json"), watch(TRACED, "--for", "1m", "--json")
    session(server, TRACED, "both")
    wait_for(lambda: len(first.lines()) >= 3)
    assert len(first.end()[0]) == 3
    session(server, TRACED, "one")
    wait_for(lambda: len(second.lines()) >= 6)
    assert len(second.end(signal.SIGTERM)[0]) == 6


def test_the_ladder_for_people(server: Serving, watch: Callable[..., Watch]) -> None:
    watching = watch(TRACED, "--for", "1m")
    session(server, TRACED, f"7;{TRACED}")
    client = server.connect()
    assert client.ask(data_request(TRACED, f"pgw.example.net;{TRACED};9", 1, 0, want=MB)).result_code == 2001
    assert server.command("session", "reauthorize", TRACED).returncode == 0
    wait_for(lambda: "RAR" in "".join(watching.lines()))
    client.close()
    lines, said = watching.end()
    print("\n".join(lines))
    text = "\n".join(lines)
    assert lines[0].split() == ["──", "#1", "pgw.example.net", "pgw.example.net;1;7;38668100xxx"]
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  #1    CCR-I 0   ──▶  data 1 data", lines[1]), lines[1]
    assert re.search(r"2001 +◀──  granted 976\.6 kB · held \d+\.\d+ EUR · balance \d+\.\d+ EUR · \d+\.\d ms", lines[2])
    assert re.search(r"CCR-U 1   ──▶ .*used 976\.6 kB, wants 976\.6 kB", text)
    assert re.search(r"2001 +◀── .*debited \d+\.\d+ EUR", text)
    assert lines[7].split()[1:] == ["#2", "pgw.example.net", "pgw.example.net;38668100xxx;9"]
    assert re.search(r"#2    RAR       ◀──  care$", lines[-1])
    assert TRACED not in text and len([line for line in lines if "──▶" in line]) == 4
    assert "5 requests in 2 sessions" in said


def test_whole_numbers_need_a_reason_that_is_kept(server: Serving, watch: Callable[..., Watch]) -> None:
    refused = server.command("trace", TRACED, "--clear")
    assert refused.returncode == 2 and "--clear needs --reason" in refused.stderr
    watching = watch(TRACED, "--for", "1m", "--json", "--clear", "--reason", "ticket 4711")
    session(server, TRACED, f"8;{TRACED}")
    wait_for(watching.lines)
    lines, said = watching.end()
    assert json.loads(lines[0])["session_id"].endswith(f";8;{TRACED}") and TRACED in said
    path = server.folder / "data" / "disclosures.jsonl"
    (line,) = [json.loads(each) for each in path.read_text().splitlines()]
    assert line["reason"] == "ticket 4711" and line["who"].startswith("cli:")
    assert line["trace"] == view(server, TRACED).account_id and TRACED not in path.read_text()


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ((TRACED, "--for", "25h"), 2, "must be from 1s to 24h"),
        ((TRACED, "--for", "soon"), 2, "must be from 1s to 24h"),
        (("38668199999",), 1, "38668199999"),
    ],
)
def test_wrong_calls(server: Serving, words: tuple[str, ...], status: int, why: str) -> None:
    done = server.command("trace", *words)
    assert done.returncode == status and why in done.stderr and "Traceback" not in done.stderr
