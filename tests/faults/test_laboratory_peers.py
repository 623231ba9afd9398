"""`accept_unknown_peers`: a peer without an entry is answered by [profile.standard], and a warning at start says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.faults.client import data_request
from tests.faults.harness import CHARGING_ONLY, CONFIG, Books, Serving

MSISDN = "38668100027"
MB = 1024 * 1024
PEER = CONFIG[CONFIG.index("[[peer]]") : CONFIG.index("[api]")]
UNKNOWN = CONFIG.replace(PEER, "").replace("[diameter]", "[diameter]\naccept_unknown_peers = true")
WARNING = "accept_unknown_peers = true: whoever can connect may charge"


@pytest.mark.parametrize("redefined", [True, False])
def test_an_unknown_peer_is_answered_by_the_standard_profile(
    tmp_path: Path, own_redis: RedisServer, redefined: bool
) -> None:
    profile = "[profile.standard]\nremaining_balance = true\n" if redefined else ""
    server = Serving(tmp_path / "ocs", own_redis.url, UNKNOWN + CHARGING_ONLY + profile)
    try:
        Books(own_redis.url).open_account(MSISDN, 10_000_000)
        client = server.connect()
        answer = client.ask(data_request(MSISDN, "pgw.example.net;1;unknown", 1, 0, want=MB))
        client.close()
    finally:
        server.end()
    assert answer.message is not None and answer.result_code == 2001
    assert (answer.message.remaining_balance is not None) == redefined
    assert (tmp_path / "ocs" / "log").read_text(encoding="utf-8").count(WARNING) == 1


def test_with_an_allow_list_nothing_is_warned_of(one_server: Serving) -> None:
    assert WARNING not in (one_server.folder / "log").read_text(encoding="utf-8")
