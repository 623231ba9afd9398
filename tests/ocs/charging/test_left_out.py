"""Values that later requests omit are taken from the session, at any worker and per service."""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import Catalogue
from protocol.credit_control import ImsInformation, ServiceInformation
from tests.ocs.charging.ccr import HOME, IMS, MB, SERBIA, at, called_by, ccr, octets, seconds, towards
from tests.ocs.charging.fake_ledger import NOW, FakeLedger
from tests.ocs.charging.source import Origin
from tests.ocs.charging.test_core_network import PARTY
from tests.ocs.charging.worker import ACCOUNT, Worker
from tests.rules import rule

STRANGER, THEIRS = "evil.example.net", "38668100002"


def spent(ledger: FakeLedger) -> int:
    return ledger.model.accounts[ACCOUNT].spent


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_overtaking_updates_of_two_rating_groups_are_rated_at_their_own_locations(
    ledger: FakeLedger, catalogue: Catalogue, order: tuple[int, int]
) -> None:
    """Parallel updates are allowed (RFC 8506 §5.1.2). Only a later update of the same service overtakes."""
    worker = Worker(ledger, catalogue)
    await worker.answer(ccr("I", 0, octets(want=MB, group=1), octets(want=MB, group=2), information=at()))
    for number in order:
        await worker.answer(ccr("U", number, octets(want=MB, used=MB, group=number), information=at(SERBIA)))
    assert spent(ledger) == 2 * 6_900


@rule("HOT-RAT-2")
@pytest.mark.parametrize("same_worker", [True, False])
async def test_updates_of_an_emergency_call_may_omit_the_mark(
    ledger: FakeLedger, catalogue: Catalogue, same_worker: bool
) -> None:
    """HOT-RAT-2, at any worker."""
    first = Worker(ledger, catalogue)
    second = first if same_worker else Worker(ledger, catalogue)
    said = towards(PARTY, ims_emergency_indicator=1)
    await first.answer(ccr("I", 0, seconds(want=60), context=IMS, information=said))
    await second.answer(ccr("U", 1, seconds(want=60, used=60), context=IMS, information=towards(PARTY)))
    second.now += 60
    await second.answer(ccr("T", 2, seconds(used=60), context=IMS, information=towards(PARTY)))
    assert spent(ledger) == 0


@pytest.mark.parametrize("same_worker", [True, False])
async def test_updates_of_an_incoming_call_may_omit_the_direction(
    ledger: FakeLedger, catalogue: Catalogue, same_worker: bool
) -> None:
    first = Worker(ledger, catalogue)
    second = first if same_worker else Worker(ledger, catalogue)
    await first.answer(ccr("I", 0, seconds(want=60), context=IMS, information=called_by(PARTY)))
    for kind, number, want in (("U", 1, 60), ("T", 2, None)):
        information = called_by(PARTY)
        assert information.ims_information is not None
        information.ims_information.role_of_node = None
        second.now += 60
        await second.answer(ccr(kind, number, seconds(want, 60), context=IMS, information=information))
    assert spent(ledger) == 0


async def test_another_clients_session_of_the_same_id_is_another(ledger: FakeLedger, catalogue: Catalogue) -> None:
    """The owner's requests continue without a Subscription-Id, and are charged to its own account."""
    ledger.open("01-0000000000000002", THEIRS, "293400000000002")
    worker = Worker(ledger, catalogue)
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    theirs = ccr("I", 0, octets(want=MB), information=at(), msisdn=THEIRS)
    theirs.origin_host = STRANGER
    reply = await worker.handle(theirs, Origin(STRANGER))
    assert reply.result_code == 2001
    for kind, number, want in (("U", 1, MB), ("T", 2, None)):
        answer = await worker.answer(ccr(kind, number, octets(want, MB), information=at(), msisdn=None))
        assert answer.result_code == 2001
    assert spent(ledger) == 2 * 6_900


def by_cell(plmn: str | None, *, network: bool = False) -> ServiceInformation:
    mark = b";network-provided" if network else b""
    cell = [b"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=" + f"{plmn}00010000001".encode() + mark] if plmn else []
    ims = ImsInformation(role_of_node=0, called_party_address=f"tel:{PARTY}", access_network_information=cell)
    return ServiceInformation(ims_information=ims)


@pytest.mark.parametrize("same_worker", [True, False])
@pytest.mark.parametrize(
    ("opened", "handset", "charged"),
    [(SERBIA, HOME, SERBIA), (HOME, SERBIA, HOME), (None, SERBIA, SERBIA), (None, HOME, HOME)],
)
async def test_a_handset_does_not_move_a_session_located_by_the_network(
    ledger: FakeLedger, catalogue: Catalogue, same_worker: bool, opened: str | None, handset: str, charged: str
) -> None:
    """The termination is rated at the location of the last grant, which the network had sent."""
    places = []
    for sid, first, later in (
        ("s;1", by_cell(opened, network=True), by_cell(handset)),
        ("s;2", *[by_cell(charged)] * 2),
    ):
        before = spent(ledger)
        one = Worker(ledger, catalogue)
        other = one if same_worker else Worker(ledger, catalogue)
        for number, (worker, kind, service, information) in enumerate(
            (
                (one, "I", seconds(want=60), first),
                (other, "U", seconds(want=60, used=0), later),
                (one, "U", seconds(want=60, used=60), later),
                (other, "T", seconds(used=60), later),
            )
        ):
            one.now = other.now = NOW + 60 * number
            request = ccr(kind, number, service, context=IMS, sid=sid, information=information)
            assert (await worker.answer(request)).result_code == 2001
        places.append(spent(ledger) - before)
    assert places[0] == places[1] > 0
