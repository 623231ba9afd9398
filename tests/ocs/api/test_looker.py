"""Key and account are read together; what a process remembers is never believed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ocs.api.keys import ApiKeys
from ocs.api.rights import Role
from ocs.ledger.redis.connection import RedisConnection
from ocs.ledger.redis.request import Request
from tests.ocs.api.desk import FOREIGN, OWN, Desk


@dataclass
class Sent:
    """Operations that were sent to Redis, in their round trips."""

    trips: list[list[str]] = field(default_factory=list)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What leaves in one turn of the event loop leaves together."""
    seen, write, flush = Sent(), RedisConnection._write, RedisConnection._flush
    turn: list[str] = []

    def written(self: RedisConnection, request: Request) -> None:
        if request.operation != "dirty":  # after a time, whatever is asked
            turn.append(request.operation)
        write(self, request)

    def flushed(self: RedisConnection) -> None:
        if turn:
            seen.trips.append(turn.copy())
            turn.clear()
        flush(self)

    monkeypatch.setattr(RedisConnection, "_write", written)
    monkeypatch.setattr(RedisConnection, "_flush", flushed)
    return seen


LOOK = ["api", "find", "read"]
BEGIN = ["api", "api", "find", "read"]


@pytest.mark.parametrize(
    ("method", "path", "body", "trips"),
    [
        ("GET", "balance", None, [LOOK, ["note"]]),
        ("GET", "counters", None, [LOOK, ["note"]]),
        ("GET", "subscriptions", None, [LOOK, ["note"]]),
        ("POST", "top-ups", {"amount": "1.00"}, [BEGIN, ["top_up"], ["top_up"], ["note", "api"]]),
        ("POST", "subscriptions", {"product": "MMS-50-MESEC"}, [BEGIN, ["subscribe"], ["note", "api"]]),
    ],
)
async def test_round_trips_to_redis(
    desk: Desk, sent: Sent, method: str, path: str, body: dict[str, str] | None, trips: list[list[str]]
) -> None:
    for _ in range(3):  # the first one learns that the key is in force, the second which account the number has
        sent.trips.clear()
        answer = await desk.request(method, f"/v1/accounts/{OWN}/{path}", json=body)
        assert answer.status_code in (200, 201), answer.text
    assert sent.trips == trips


async def test_a_revoked_key_ends_at_once_though_it_was_in_use(desk: Desk) -> None:
    key = await desk.new_key(Role.CARE)
    for _ in range(2):
        assert (await desk.get(f"/v1/accounts/{OWN}/balance", key=key)).status_code == 200
    assert await ApiKeys(desk.ledger, desk.backend.environment.now).revoke(key.split("_")[1])
    assert (await desk.get(f"/v1/accounts/{OWN}/balance", key=key)).status_code == 401


async def test_another_secret_of_a_known_key_is_refused(desk: Desk) -> None:
    key = await desk.new_key(Role.CARE)
    assert (await desk.get(f"/v1/accounts/{OWN}/balance", key=key)).status_code == 200
    wrong = key[:-3] + ("AAA" if not key.endswith("AAA") else "BBB")
    assert (await desk.get(f"/v1/accounts/{OWN}/balance", key=wrong)).status_code == 401


async def test_a_number_of_another_account_now(desk: Desk) -> None:
    """The account that a process remembers is not shown under its former number."""
    before = (await desk.get(f"/v1/accounts/{FOREIGN}/balance")).json()
    assert before["credit"] == "20.00"
    ended = await desk.post(f"/v1/accounts/{FOREIGN}/end", json={"confirm_msisdn": FOREIGN})
    assert ended.status_code == 200, ended.text
    await desk.open(FOREIGN, credit=7_000_000)
    assert (await desk.get(f"/v1/accounts/{FOREIGN}/balance")).json()["credit"] == "7.00"


async def test_a_moved_account_is_found(desk: Desk) -> None:
    """It has another id, in another partition, than the one that the process remembers."""
    path = f"/v1/accounts/{FOREIGN}/balance"
    assert (await desk.get(path)).status_code == 200
    for partition in range(desk.ledger.partitions):
        await desk.backend.accounts.move(FOREIGN, partition=partition)
        answer = await desk.get(path)
        assert (answer.status_code, answer.json()["credit"]) == (200, f"{20 + partition}.00")
        topped = await desk.post(f"/v1/accounts/{FOREIGN}/top-ups", json={"amount": "1.00"})
        assert topped.status_code == 201, topped.text


async def test_a_change_is_seen_by_the_answer_after_it(desk: Desk) -> None:
    """What was read before the change is not what the answer says."""
    for bars in (["roaming"], []):
        answer = await desk.put(f"/v1/accounts/{OWN}/bars", json={"bars": bars})
        assert answer.status_code == 200, answer.text
        assert answer.json()["bars"] == bars
    for credit in ("21.00", "22.00"):
        done = await desk.post(f"/v1/accounts/{OWN}/top-ups", json={"amount": "1.00"})
        assert done.json()["credit"] == credit
