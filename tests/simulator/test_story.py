"""The story of one subscriber: its checks find what is wrong, its timeline says what happened. (The demo plays it.)"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from simulator.api_client import ApiClient, ApiError
from simulator.prices import PriceList
from simulator.story import MONEY, TRAVELLER
from simulator.story_checks import EXPECTED_NOTICES, Facts, checks, expected_credit, stopped
from simulator.story_result import Asked, Entry, StoryResult, Told
from simulator.story_timeline import asked_text, left
from simulator.tally import SessionReport, UsedService
from tests.catalogue import CATALOGUE

MEGABYTE = 1024**2
PRICES = PriceList.read(CATALOGUE)
GRANT, EMPTY = Asked(5.0, "CCR-U", 2001, MEGABYTE), Asked(6.0, "CCR-U", 4012)
RAR = Asked(7.0, "RAR", 2002)
FACTS = Facts("new", "active", "34.935")


def story() -> StoryResult:
    """A story in which all is right: 25 + 30 EUR paid in; tariff 6.99, pack 9.90, 1,125 kB beyond it."""
    used = 501 * MEGABYTE + 101 * 1024
    report = SessionReport("s", "data", "", "MINI", "balkan", "", False, 0.0, services=[UsedService("data", 100, used)])
    texts = {"welcome": "Welcome to Serbia! Prices: data 2.90 EUR/MB."}
    return StoryResult(
        TRAVELLER.msisdn,
        [
            Entry(0.0, "gets a SIM", credit="25.00"),
            Entry(2.0, "streams", *asked_text([GRANT, GRANT, EMPTY]), "8.119", 0, lacks=True),
            Entry(8.0, "tops up", "RAR", "2002", "38.119", 0),
        ],
        [Told(3.0, name, texts.get(name, f"text of {name}"), "sent") for name in EXPECTED_NOTICES],
        [GRANT, EMPTY, RAR, GRANT, EMPTY, RAR, GRANT],
        [report],
    )


def wrong(result: StoryResult, facts: Facts) -> list[str]:
    return [check.what for check in checks(result, facts, MONEY, PRICES) if not check.right]


def facts_of(result: StoryResult) -> Facts:
    return replace(FACTS, credit=str(expected_credit(result, MONEY, PRICES) / 1_000_000))


def test_money_is_priced_again_beyond_the_pack() -> None:
    """1,125 kB beyond it are 113 steps of 10 kB at 2.90 EUR a MB, once rounded."""
    beyond = round(1130 * 2_900_000 / 1024)
    assert expected_credit(story(), MONEY, PRICES) == 55_000_000 - 6_990_000 - 9_900_000 - beyond


def test_a_right_story_is_right() -> None:
    result = story()
    assert wrong(result, facts_of(result)) == []
    assert not result.ok, "a story without checks did not come to its end"
    result.checks = checks(result, facts_of(result), MONEY, PRICES)
    assert result.ok


def test_each_check_can_fail() -> None:
    """One thing changed at a time, and just its check says so."""
    result, facts = story(), facts_of(story())
    assert wrong(result, replace(facts, state_sold="active")) == ["the first use activates the account"]
    assert wrong(result, replace(facts, credit="20.0")) == ["paid in = left + spent, priced again"]
    without_price = replace(result, told=[replace(told, text="Welcome!") for told in result.told])
    assert wrong(without_price, facts) == ["prices are told on arrival"]
    told = "told of the pack, the credit, the top-up and the limit, each once"
    last = result.told[-1]
    for changed in (result.told[:-1], [*result.told, last], [*result.told[:-1], replace(last, state="waiting")]):
        assert wrong(replace(result, told=changed), facts) == [told]
    stops = "stopped at zero and at the limit; asked by RAR, and goes on, after top-up and raise"
    for asked in ([GRANT, EMPTY, RAR, GRANT], [GRANT, EMPTY, GRANT, EMPTY, RAR, GRANT], result.asked[:-1]):
        assert wrong(replace(result, asked=asked), facts) == [stops]


def test_a_grant_counts_as_going_on_only_after_a_rar() -> None:
    assert stopped([GRANT, EMPTY, RAR, GRANT]) == (1, 1)
    assert stopped([GRANT, EMPTY, GRANT]) == (1, 0)
    assert stopped([RAR, EMPTY, EMPTY, GRANT]) == (1, 0), "the RAR came before"
    assert stopped([EMPTY, RAR, EMPTY, RAR, GRANT]) == (1, 1)
    assert stopped([EMPTY, RAR, replace(GRANT, granted=0)]) == (1, 0)


def test_equal_requests_stand_together() -> None:
    initial, end = replace(GRANT, what="CCR-I"), Asked(9.0, "CCR-T", 2001)
    assert asked_text([initial, GRANT, GRANT, EMPTY, RAR, end]) == (
        "CCR-I, 2 × CCR-U, CCR-U, RAR, CCR-T",
        "2001 1.0 MB, 2001 1.0 MB, 4012 credit limit reached, 2002, 2001",
    )
    assert asked_text([Asked(1.0, "CCR-I", 2001, 300, traffic="voice")]) == ("CCR-I", "2001 300 s")
    assert left(Entry(0.0, "x", credit="8.119", units=MEGABYTE)) == "8.11 EUR, 1.0 MB of the pack"
    assert left(Entry(0.0, "x")) == ""


# -- the client of the API


class Api(http.server.BaseHTTPRequestHandler):
    """Answers what `statuses` says, one after the other, and keeps what came."""

    statuses: list[int]
    came: list[tuple[str, str | None]]

    def do_POST(self) -> None:
        self.came.append((self.path, self.headers["Idempotency-Key"]))
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.statuses.pop(0))
        self.end_headers()
        self.wfile.write(json.dumps({"code": "no"}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[int]:
    Api.came, Api.statuses = [], []
    with http.server.HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_client_repeats_with_the_same_key_and_gives_up_at_a_refusal(api: int) -> None:
    Api.statuses = [503, 201]
    assert ApiClient(api).post("/accounts", {}) == {"code": "no"}
    first, second = Api.came
    assert first == second and first[1]
    Api.statuses = [409]
    with pytest.raises(ApiError, match="409"):
        ApiClient(api).post("/accounts", {})
    assert Api.came[2][1] not in (None, first[1])
