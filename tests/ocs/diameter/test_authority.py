"""Subscribers and sessions that a peer may charge: server and charging together, through sockets.

test_admission.py has the refusals that depend on the request alone; those here need the account or session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from ocs.charging.service import ChargingService
from ocs.diameter.refusals import WORDS, Kind
from ocs.settings.diameter import PeerConfig
from protocol.credit_control import (
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    SubscriptionId,
    UsedServiceUnit,
)
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import IMSI, MB, MSISDN, Counted, at
from tests.ocs.charging.fake_ledger import EUR, NOW, FakeLedger
from tests.ocs.diameter.site import Client, Site, ccr, code_of

OWN, STRANGER = "00-0000000000000001", "01-0000000000000002"
S_MSISDN, S_IMSI = "43660100000", "232010000000001"
IN_RANGE_OF_NOBODY = "293410000000009"
E164, IMSI_TYPE, SIP_URI = 0, 1, 2
PGW, REALM = "pgw.example.org", "example.org"


class Whole(Site):
    """A Diameter server with charging behind it, on the model of the ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = FakeLedger()
        self.ledger.open(OWN, MSISDN, IMSI)
        self.ledger.open(STRANGER, S_MSISDN, S_IMSI)
        self.tasks: set[asyncio.Future[None]] = set()
        self.service = ChargingService(fixed_catalogue(), self.ledger, Counted(), lambda: NOW + 0.5, self._spawn)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def peers(self, *peers: PeerConfig) -> None:
        await self.server(self.service.handle, peers=peers)

    async def peer(self, name: str, realm: str = REALM) -> Client:
        client = await self.client()
        assert await client.open(name, origin_realm=realm) == 2001
        return client

    def spent(self, account_id: str) -> int:
        return 20 * EUR - self.ledger.credit(account_id)


@pytest.fixture
async def site() -> AsyncIterator[Whole]:
    site = Whole()
    yield site
    await site.close()


async def ask(client: Client, number: int, kind: int, *who: tuple[int, str], **more: Any) -> int:
    """A data session: its opening, or an update that reports 20 MB."""
    wanted = RequestedServiceUnit(cc_total_octets=50 * MB) if kind != 3 else None
    used = [UsedServiceUnit(cc_total_octets=20 * MB)] if kind != 1 else []
    request = ccr(
        number,
        kind,
        subscription_id=[SubscriptionId(type_, data) for type_, data in who],
        multiple_services_credit_control=[
            MultipleServicesCreditControl(rating_group=1, requested_service_unit=wanted, used_service_unit=used)
        ],
        service_information=at(),
        **more,
    )
    client.send(request)
    return code_of((await client.read())[1])


# -- subscriber ranges


@pytest.mark.parametrize(
    ("ranges", "who"),
    [
        (("i29341",), ((E164, S_MSISDN), (IMSI_TYPE, IN_RANGE_OF_NOBODY))),
        (("i29341",), ((IMSI_TYPE, IN_RANGE_OF_NOBODY), (E164, S_MSISDN))),
        (("m38699",), ((E164, "38699123456"), (IMSI_TYPE, S_IMSI))),
        (("m38699",), ((SIP_URI, "sip:+38699123456@ims.example.org"), (IMSI_TYPE, S_IMSI))),
    ],
)
async def test_a_number_in_range_gives_no_access_to_another_account(
    site: Whole, ranges: tuple[str, ...], who: tuple[tuple[int, str], ...], caplog: pytest.LogCaptureFixture
) -> None:
    await site.peers(PeerConfig(PGW, REALM, subscribers=ranges))
    client = await site.peer(PGW)
    with caplog.at_level(logging.WARNING):
        assert [await ask(client, number, kind, *who) for number, kind in enumerate((1, 2, 4))] == [5003] * 3
    assert site.spent(STRANGER) == 0 and not site.ledger.charged
    assert site.metrics.requests_refused == ["subscriber"] * 3
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert said == [f"peer {PGW}: request refused (subscriber): {WORDS[Kind.SUBSCRIBER]}"]


@pytest.mark.parametrize("ranges", [("m386",), ("i29340",), ("m386", "i29340")])
async def test_an_account_is_charged_by_whichever_of_its_numbers_is_in_range(
    site: Whole, ranges: tuple[str, ...]
) -> None:
    await site.peers(PeerConfig(PGW, REALM, subscribers=ranges))
    client = await site.peer(PGW)
    who = (E164, MSISDN), (IMSI_TYPE, IMSI)
    assert await ask(client, 0, 1, *who) == 2001
    assert await ask(client, 1, 2, *who) == 2001
    assert await ask(client, 2, 3) == 2001, "the session was admitted at its opening"
    assert site.spent(OWN) > 0


async def test_through_a_relay_both_lists_hold(site: Whole) -> None:
    relay = "dra.example.org"
    await site.peers(
        PeerConfig(relay, REALM, relay=True, subscribers=("m386",)), PeerConfig(PGW, REALM, subscribers=("i29340",))
    )
    client = await site.peer(relay)
    assert await ask(client, 0, 1, (E164, MSISDN), (IMSI_TYPE, IMSI)) == 5003, "no one number is in both"


@pytest.mark.parametrize("kind", [1, 4])
@pytest.mark.parametrize("who", [(), ((SIP_URI, "sip:alice@example.org"),)])
async def test_openings_and_one_off_requests_do_not_use_the_account_of_a_session(
    site: Whole, kind: int, who: tuple[tuple[int, str], ...]
) -> None:
    """Only later requests of a session may omit the subscriber. Otherwise a Session-Id would give access to another
    account.
    """
    other = "other.example.org"
    await site.peers(PeerConfig(PGW, REALM), PeerConfig(other, REALM, subscribers=("i29341",)))
    victim, thief = await site.peer(PGW), await site.peer(other)
    assert await ask(victim, 0, 1, (E164, S_MSISDN)) == 2001
    assert await ask(thief, 0, kind, *who, host=other, origin_state_id=2**32 - 1) in (5005, 5030)
    assert site.spent(STRANGER) == 0 and len(site.ledger.charged) == 1


# -- owner of a session


RELAYS = (
    PeerConfig("dra.a.net", "a.net", relay=True, realms=("a.net",)),
    PeerConfig("dra.b.net", "b.net", relay=True, realms=("b.net",)),
)


async def test_a_relay_does_not_act_for_another_realms_client_by_misstating_the_realm(site: Whole) -> None:
    await site.peers(*RELAYS)
    a, b = await site.peer("dra.a.net", "a.net"), await site.peer("dra.b.net", "b.net")
    session = {"session": "pgw.b.net;1;1", "host": "pgw.b.net"}
    assert await ask(b, 0, 1, (E164, MSISDN), origin_realm="b.net", **session) == 2001
    assert await ask(a, 1, 2, (E164, MSISDN), origin_realm="b.net", **session) == 5003
    assert await ask(a, 1, 2, (E164, MSISDN), origin_realm="a.net", **session) == 5002
    assert await ask(a, 2, 3, (E164, MSISDN), origin_realm="a.net", **session) == 5002
    assert site.spent(OWN) == 0
    assert await ask(b, 1, 2, (E164, MSISDN), origin_realm="B.net", **session) == 2001


async def test_a_configured_client_may_connect_directly_and_through_a_relay(site: Whole) -> None:
    relay = "dra.example.org"
    await site.peers(PeerConfig(relay, REALM, relay=True, realms=(REALM, "a.net")), PeerConfig(PGW, REALM))
    direct, relayed = await site.peer(PGW), await site.peer(relay)
    assert await ask(direct, 0, 1, (E164, MSISDN)) == 2001
    assert await ask(relayed, 1, 2, (E164, MSISDN)) == 2001
    assert await ask(relayed, 2, 2, (E164, MSISDN), origin_realm="a.net") == 5003, "its entry says its realm"
    assert await ask(direct, 2, 3, (E164, MSISDN)) == 2001
