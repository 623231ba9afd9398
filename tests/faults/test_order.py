"""A complete session in one TCP write, for a subscriber that the server has not cached."""

from __future__ import annotations

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from protocol.credit_control import SubscriptionId, encode_ccr
from tests.faults.client import data_request
from tests.faults.harness import open_account
from tests.faults.pgw import Pgw, when
from tests.ocs.diameter.site import code_of

MB = 1024 * 1024
PRICE_PER_MB = 6_900
LATER = {"imsi": [1], "msisdn": [0], "both": [1, 0], "neither": []}
"""Subscription-Id-Types in later requests; the opening has both."""


@pytest.mark.usefixtures("one_server")
@pytest.mark.parametrize("later", LATER)
async def test_a_whole_session_sent_in_one_write(pgw: Pgw, ledger: RedisLedger, msisdn: str, later: str) -> None:
    account_id = await open_account(ledger, msisdn, 5_000_000)
    opened = await ledger.read(account_id, **when())
    assert opened is not None
    ids = {0: msisdn, 1: opened.imsi}
    frames = []
    for number, kind in enumerate((1, 2, 2, 3)):
        request = data_request(msisdn, f"{pgw.host};1;{msisdn}", kind, number, want=MB, used=MB if number else 0)
        request.origin_host = pgw.host
        types = LATER[later] if number else [0, 1]
        request.subscription_id = [SubscriptionId(each, ids[each]) for each in types]
        frames.append(encode_ccr(request, hop_by_hop=number, end_to_end=number))
    pgw.client.send(*frames)
    answers = [await pgw.client.read() for _ in frames]
    assert [(header.hop_by_hop, code_of(frame)) for header, frame in answers] == [(n, 2001) for n in range(4)]
    view = await ledger.read(account_id, **when())
    assert view is not None and (view.held_micro_eur, view.sessions) == (0, ())
    assert view.spent_micro_eur == 3 * PRICE_PER_MB
