"""Requests of one session are handled in the order of arrival, whatever look-ups they need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocs.catalogue.catalogue import Catalogue
from ocs.charging import session_order
from ocs.charging.service import ANSWER_TIMEOUT_S, ChargingService
from ocs.ledger.contract.charging import ChargeRequest
from ocs.ledger.contract.operations import ChargeDone
from ocs.settings.diameter import PeerConfig
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, encode_ccr
from protocol.errors import DiameterError
from tests.ocs.charging.ccr import MB, SMS, Counted, at, ccr, messages, octets, sms_to
from tests.ocs.charging.fake_ledger import EUR, NOW, FakeLedger
from tests.ocs.charging.source import Origin
from tests.ocs.diameter.site import Site, code_of

HOST = "pgw.example.net"
ACCOUNTS = [f"00-000000000000000{number}" for number in range(3)]
MSISDNS = [str(38668100000 + number) for number in range(4)]
"""The last one has no account."""
IMSIS = [str(293400000000000 + number) for number in range(4)]
SUBSCRIBER_IDS = [(), ("m",), ("i",), ("m", "i")]


class Distant(FakeLedger):
    """A ledger whose look-ups take longer the more subscriber ids are asked for. Charges are applied in sequence."""

    def __init__(self) -> None:
        super().__init__()
        for account_id, msisdn, imsi in zip(ACCOUNTS, MSISDNS, IMSIS, strict=False):
            self.open(account_id, msisdn, imsi, credit=200 * EUR)

    async def find_subscriber(self, identity: str) -> str | None:
        await _turns(3)
        return await super().find_subscriber(identity)

    async def find_session(self, session_id: str, owner: str) -> str | None:
        await _turns(3)
        return await super().find_session(session_id, owner)

    def books(self) -> list[Any]:
        """Charged and held amounts."""
        return [
            (account.credit, account.held, sorted(account.sessions))
            for account in (self.model.accounts[each] for each in ACCOUNTS)
        ]


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Said:
    """One request of a session; its number is its place in the sequence."""

    session: int
    kind: str
    ids: tuple[str, ...]
    at_home: bool
    """Whether it states its place."""

    def request(self, number: int) -> CreditControlRequest:
        wanted = {"want": MB} if self.kind in "IU" else {}
        used = {"used": MB // 2} if self.kind in "UT" else {}
        who = self.session % len(MSISDNS)
        return ccr(
            self.kind,
            number,
            octets(**wanted, **used),
            sid=f"{HOST};{self.session}",
            msisdn=MSISDNS[who] if "m" in self.ids else None,
            imsi=IMSIS[who] if "i" in self.ids else None,
            information=at() if self.at_home or self.kind == "I" else None,
        )


SAID = st.builds(Said, st.integers(0, 5), st.sampled_from("IUT"), st.sampled_from(SUBSCRIBER_IDS), st.booleans())


@dataclass(frozen=True, slots=True)
class Traffic:
    said: Sequence[Said]
    elsewhere: frozenset[int]
    """Sessions that another worker has opened."""


TRAFFIC = st.builds(Traffic, st.lists(SAID, min_size=2, max_size=24), st.frozensets(st.integers(0, 5), max_size=3))
"""Most are no proper sessions: those that end before they begin are to be refused as if alone, too."""
SESSIONS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.sampled_from(SUBSCRIBER_IDS), min_size=2, max_size=4), st.booleans()),
    min_size=1,
    max_size=4,
    unique_by=lambda session: session[0],
).flatmap(
    lambda sessions: st.builds(
        lambda turns: Traffic(tuple(_interleaved(sessions, turns)), frozenset()),
        st.lists(st.integers(0, 3), max_size=30),
    )
)
"""I, U… and T of each, each with any subscriber ids but that the first says one; in any order among the sessions."""


def _interleaved(sessions: Sequence[Any], turns: Iterable[int]) -> Iterable[Said]:
    left = [
        [
            Said(
                session,
                "I" if n == 0 else "T" if n == len(ids) - 1 else "U",
                who or (("m", "i") if n == 0 else ()),
                home,
            )
            for n, who in enumerate(ids)
        ]
        for session, ids, home in sessions
    ]
    for turn in [*turns, *(each for each in range(len(left)) for _ in range(4))]:
        queue = left[turn % len(left)]
        if queue:
            yield queue.pop(0)


def requests(traffic: Traffic) -> list[bytes]:
    numbers = dict.fromkeys(range(6), 0) | dict.fromkeys(traffic.elsewhere, 1)
    frames = []
    for place, said in enumerate(traffic.said):
        frames.append(encode_ccr(said.request(numbers[said.session]), hop_by_hop=place, end_to_end=place))
        numbers[said.session] += 1
    return frames


@asynccontextmanager
async def serving(catalogue: Catalogue, traffic: Traffic) -> AsyncIterator[tuple[Distant, Site]]:
    ledger, site, tasks = Distant(), Site(), set()

    def spawn(work: Any) -> None:
        task = asyncio.ensure_future(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def worker() -> ChargingService:
        return ChargingService(catalogue, ledger, Counted(), lambda: NOW + 0.5, spawn)

    other = worker()
    for session in sorted(traffic.elsewhere):
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        other.handle(Said(session, "I", ("m",), True).request(0), Origin(HOST), opened.set_result)
        await opened
    try:
        peers = (PeerConfig(HOST),)
        await site.server(worker().handle, realm="example.net", peers=peers, answer_timeout_ms=60_000)
        yield ledger, site
    finally:
        await site.close()


async def answers(site: Site, frames: list[bytes], *, together: bool) -> dict[int, bytes]:
    """Answers by Hop-by-Hop. `together`: all requests in one write; else each after the answer to the one before."""
    client = await site.client()
    assert await client.open(HOST, origin_realm="example.net") == 2001
    found = {}
    for write in [b"".join(frames)] if together else frames:
        client.send(write)
        for _ in range(len(frames) if together else 1):
            header, frame = await client.read()
            found[header.hop_by_hop] = frame
    return found


@given(traffic=TRAFFIC | SESSIONS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_requests_in_one_write_are_charged_as_in_sequence(catalogue: Catalogue, traffic: Traffic) -> None:
    async def run(together: bool) -> tuple[dict[int, bytes], list[Any]]:
        async with serving(catalogue, traffic) as (ledger, site):
            said = await answers(site, requests(traffic), together=together)
            return said, ledger.books()

    together, alone = asyncio.run(run(together=True)), asyncio.run(run(together=False))
    assert together == alone


@pytest.mark.parametrize("later", SUBSCRIBER_IDS)
async def test_a_termination_does_not_overtake_its_opening(catalogue: Catalogue, later: tuple[str, ...]) -> None:
    """The account is not cached, and the termination has another Subscription-Id, or none."""
    traffic = Traffic((Said(0, "I", ("m", "i"), True), Said(0, "T", later, True)), frozenset())
    async with serving(catalogue, traffic) as (ledger, site):
        found = await answers(site, requests(traffic), together=True)
        assert {place: code_of(frame) for place, frame in found.items()} == {0: 2001, 1: 2001}
        account = ledger.model.accounts[ACCOUNTS[0]]
        assert (account.held, account.credit, account.sessions) == (0, 200 * EUR - 3_450, {})


class Worker:
    """A charging service; replies are stored with Session-Id and number of their requests."""

    def __init__(self, catalogue: Catalogue, ledger: FakeLedger) -> None:
        self.now = NOW + 0.5
        self.replies: list[tuple[int, int, int]] = []
        self.tasks: list[asyncio.Future[None]] = []
        self.service = ChargingService(catalogue, ledger, Counted(), lambda: self.now, self._spawn)

    def _spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def hear(self, said: Said, number: int, source: Origin | None = None) -> None:
        def reply(answer: CreditControlAnswer | DiameterError) -> None:
            self.replies.append((said.session, number, answer.result_code or 0))

        self.service.handle(said.request(number), source or Origin(HOST), reply)

    @property
    def under_way(self) -> list[Any]:
        return list(self.service._order.under_way)


OPENED, ENDED = Said(0, "I", ("m",), True), Said(0, "T", (), True)


async def test_sessions_do_not_wait_for_each_other(catalogue: Catalogue) -> None:
    class Silent(Distant):
        async def find_subscriber(self, identity: str) -> str | None:
            if identity == "m" + MSISDNS[0]:
                await asyncio.sleep(60)
            return await super().find_subscriber(identity)

    worker = Worker(catalogue, Silent())
    worker.hear(OPENED, 0)
    for number, kind in enumerate("IUT"):
        worker.hear(Said(1, kind, ("m",), True), number)
    await _turns(30)
    assert worker.replies == [(1, 0, 2001), (1, 1, 2001), (1, 2, 2001)]
    worker.tasks[0].cancel()


async def test_requests_of_a_session_through_two_relays_stay_in_order(catalogue: Catalogue) -> None:
    worker = Worker(catalogue, Distant())
    worker.hear(OPENED, 0, Origin("dra1.example.net", realm_bound=True))
    worker.hear(ENDED, 1, Origin("dra2.example.net", realm_bound=True))
    await _turns(30)
    assert worker.replies == [(0, 0, 2001), (0, 1, 2001)] and not worker.under_way


async def test_a_stale_cache_does_not_let_a_termination_overtake(catalogue: Catalogue) -> None:
    """The ledger reports the wrong account to the opening, which looks it up again."""
    ledger = Distant()
    worker = Worker(catalogue, ledger)
    worker.hear(Said(6, "I", ("m", "i"), True), 0)
    await _turns(30)
    old = ledger.model.accounts[ACCOUNTS[2]]
    old.msisdn, old.imsi = "38668100009", "293400000000009"
    ledger.open("01-0000000000000009", MSISDNS[2], IMSIS[2])
    worker.hear(Said(2, "I", ("m", "i"), True), 0)
    worker.hear(Said(2, "T", ("i",), True), 1)
    await _turns(60)
    assert worker.replies[1:] == [(2, 0, 2001), (2, 1, 2001)] and not worker.under_way


async def test_a_request_that_waits_too_long_is_not_charged(catalogue: Catalogue) -> None:
    """The Diameter side has answered meanwhile that it was not handled."""
    ledger = Distant()
    worker = Worker(catalogue, ledger)
    worker.hear(OPENED, 0)
    worker.hear(Said(0, "U", (), True), 1)
    worker.now += ANSWER_TIMEOUT_S - 1
    worker.hear(ENDED, 2)
    worker.now += 1.5
    await _turns(30)
    assert worker.replies == [(0, 0, 2001), (0, 1, 3002), (0, 2, 2001)]
    assert ledger.credit(ACCOUNTS[0]) == 200 * EUR - 3_450, "of the two reports one"


async def test_the_number_of_waiting_requests_of_a_session_is_bounded(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_order, "MAX_WAITING", 2)
    worker = Worker(catalogue, Distant())
    worker.hear(OPENED, 0)
    for number in range(1, 5):
        worker.hear(Said(0, "U", (), True), number)
    assert worker.replies == [(0, 3, 3002), (0, 4, 3002)]
    await _turns(60)
    assert worker.replies[2:] == [(0, 0, 2001), (0, 1, 2001), (0, 2, 2001)] and not worker.under_way


@pytest.mark.parametrize("fault", ["look-up", "charge", "answer", "never"])
async def test_an_internal_error_does_not_block_the_session(
    catalogue: Catalogue, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty(Distant):
        faults = 1

        def _due(self, what: str) -> bool:
            due = what == fault and self.faults > 0
            self.faults -= due
            return due

        async def find_subscriber(self, identity: str) -> str | None:
            if self._due("look-up"):
                raise RuntimeError
            return await super().find_subscriber(identity)

        def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
            if self._due("charge"):
                raise RuntimeError
            if self._due("never"):
                return
            if self._due("answer"):
                done = partial(self._wrong, done)
            super().charge(request, done)

        @staticmethod
        def _wrong(done: ChargeDone, outcome: Any) -> None:
            with pytest.raises(AttributeError):
                done(None)

    ledger = Faulty()
    worker = Worker(catalogue, ledger)
    worker.hear(OPENED, 0)
    worker.hear(OPENED, 0)
    await _turns(30)
    if fault == "never":
        assert worker.replies == []
        worker.now += ANSWER_TIMEOUT_S + 2
        worker.hear(OPENED, 0)
        await _turns(30)
        assert worker.replies.pop(0) == (0, 0, 3002), "what waited has been given up too"
    assert worker.replies == [(0, 0, 2001)] and not worker.under_way
    await asyncio.gather(*worker.tasks, return_exceptions=True)


async def test_a_one_off_request_waits_only_during_its_look_up(catalogue: Catalogue) -> None:
    """A client may use one Session-Id for all its one-off requests."""
    ledger = Distant()
    worker = Worker(catalogue, ledger)

    def send(number: int, **who: Any) -> None:
        def reply(answer: CreditControlAnswer | DiameterError) -> None:
            worker.replies.append((0, number, answer.result_code or 0))

        rest = {"context": SMS, "sid": f"{HOST};0", "information": sms_to("38668100001"), **who}
        worker.service.handle(ccr("E", number, messages(1), **rest), Origin(HOST), reply)

    send(0, msisdn=MSISDNS[0], imsi=IMSIS[0])
    send(1, msisdn=None, imsi=IMSIS[0])
    await _turns(30)
    assert worker.replies == [(0, 0, 2001), (0, 1, 2001)]
    send(2, msisdn=MSISDNS[0])
    send(3, msisdn=MSISDNS[0])
    assert len(ledger.charged) == 4 and not worker.under_way
    await _turns(5)
    assert len(worker.replies) == 4
