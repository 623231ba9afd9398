"""`ocs key`: created, listed, revoked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.ocs.cli.conftest import ROOT, Ocs


@pytest.fixture
def url(own_redis: RedisServer, ocs_in: Ocs) -> str:
    words = ("account", "open", "--msisdn", "38668100000", "--imsi", "293400000000001")
    assert ocs_in(*words, cwd=ROOT, OCS_REDIS_URL=own_redis.url)[0] == 0
    return own_redis.url


def test_a_key_is_created_listed_and_revoked(url: str, ocs_in: Ocs) -> None:
    def key(*words: str) -> tuple[int, str, str]:
        return ocs_in("key", *words, cwd=ROOT, OCS_REDIS_URL=url)

    status, out, error = key("create", "--role", "care", "--name", "Ana's desk", "--days", "30")
    assert status == 0, error
    text = out.strip()
    key_id = text.split("_")[1]
    assert text.startswith("ocs_") and len(text) > 50
    made = json.loads(key("create", "--role", "member", "--name", "app", "--msisdn", "38668100000", "--json")[1])
    assert made["key"].startswith(f"ocs_{made['id']}_") and made["bound_to"] == "38668100000"
    rows = json.loads(key("list", "--json")[1])
    states = {(row["id"], row["role"], row["state"]) for row in rows}
    assert states == {(key_id, "care", "in force"), (made["id"], "member", "in force")}
    assert text.split("_", 2)[2] not in key("list", "--json")[1], "no secret is stored"
    assert key("revoke", key_id)[0] == 0
    assert key("revoke", key_id)[0] == 1, "revoked before"
    states = {(row["id"], row["role"], row["state"]) for row in json.loads(key("list", "--json")[1])}
    assert states == {(key_id, "care", "revoked"), (made["id"], "member", "in force")}
    assert "revoked" in key("list")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--role", "boss", "--name", "x"), "care, shop, read-only, group-admin, member"),
        (("--role", "care", "--name", ""), "1 to 64"),
        (("--role", "care", "--name", "x", "--msisdn", "38668100000"), "bound to nothing"),
        (("--role", "member", "--name", "x"), "needs the msisdn"),
        (("--role", "member", "--name", "x", "--msisdn", "38668100009"), "no account"),
        (("--role", "group-admin", "--name", "x"), "needs the group"),
        (("--role", "group-admin", "--name", "x", "--group", "5d0c3a7e91b2f846"), "no business group 5d0c3a7e91b2f846"),
        (("--role", "care", "--name", "x", "--days", "-1"), "0 (it does not expire) to 3660"),
    ],
)
def test_what_a_key_may_not_be(url: str, ocs_in: Ocs, words: tuple[str, ...], says: str) -> None:
    status, out, error = ocs_in("key", "create", *words, cwd=ROOT, OCS_REDIS_URL=url)
    assert (status, out) == (2, "") and says in error


def test_a_reading_command_needs_a_ledger(tmp_path: Path, own_redis: RedisServer, ocs_in: Ocs) -> None:
    status, _, error = ocs_in("key", "create", "--role", "care", "--name", "x", cwd=ROOT, OCS_REDIS_URL=own_redis.url)
    assert status == 1 and "Redis holds no ledger" in error
