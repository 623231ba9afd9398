"""Every mutation of every kind of request, sent to a running server: each is answered or its connection closed, and others are served."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from ocs.ledger.audit import audit
from ocs.ledger.redis_ledger import RedisLedger
from protocol.credit_control import encode_ccr
from tests.faults.harness import Serving
from tests.interop.conftest import MSISDN, REALM, when
from tests.interop.test_freediameter import PGW, ccr
from tests.ocs.gateway_site import Client, cer, code_of
from tests.protocol.mutator import mutations
from tests.protocol.requests import ccrs

HOSTILE = f"hostile.{REALM}"
PEERS = "".join(f'[[peer]]\norigin_host = "{host}"\nrealm = "{REALM}"\n' for host in (PGW, HOSTILE))
SENT = 2_000
"""A sample drawn with a fixed seed, three quarters of it of requests that would be served."""


async def connected(address: tuple[str, int], name: str) -> Client:
    client = Client(*await asyncio.open_connection(*address))
    client.send(cer(name, origin_realm=REALM))
    assert code_of((await client.read())[1]) == 2001
    return client


async def test_every_mutation_is_answered_and_others_are_served(
    serve: Callable[..., Serving], ledger: RedisLedger, account: str
) -> None:
    server = serve(PEERS)
    host, _, port = server.facts()["diameter"][0].rpartition(":")
    address = host, int(port)
    honest, hostile = await connected(address, PGW), await connected(address, HOSTILE)
    # Requests that would be served, and recorded ones, which are for servers of other realms.
    own, recorded = [], [mutation for frame in ccrs().values() for mutation in mutations(frame)]
    for kind in (1, 2, 3, 4):
        request = ccr(kind, kind, 1000 if kind in (2, 3) else 0)
        request.origin_host = HOSTILE
        own += list(mutations(encode_ccr(request, hop_by_hop=1, end_to_end=1)))
    draw = random.Random(3)
    chosen = draw.sample(own, min(len(own), SENT - SENT // 4))
    chosen += draw.sample(recorded, SENT - len(chosen))
    draw.shuffle(chosen)
    codes: Counter[int] = Counter()
    served = 0
    for number, mutation in enumerate(chosen):
        hostile.send(mutation.frame)
        try:
            codes[code_of((await hostile.read())[1])] += 1
        except (EOFError, ConnectionError):
            codes[0] += 1
            hostile.writer.close()
            hostile = await connected(address, HOSTILE)
        if number % 100 == 0:
            kind = 1 if number == 0 else 2
            honest.send(encode_ccr(ccr(kind, number // 100, 1000 if number else 0), hop_by_hop=5, end_to_end=number))
            assert code_of((await honest.read())[1]) == 2001
            served += 1
    honest.writer.close()
    hostile.writer.close()
    assert served == SENT // 100 and sum(codes.values()) == SENT
    assert {3002, 3003, 3009, 5001, 5003, 5004, 5005, 5009, 5014} <= set(codes), codes
    log = (server.folder / "log").read_text(encoding="utf-8")
    assert " ERROR " not in log, "no internal fault (5012 is also said to a second opening of a session)"
    view = await ledger.read(account, **when())
    assert view is not None and view.msisdn == MSISDN
    assert view.spent_micro_eur > 0 and (await audit(ledger, **when())).ok
