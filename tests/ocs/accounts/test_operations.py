"""Operations on accounts: results and typed refusals, on a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from ocs.accounts.errors import AccountError, InputError, RefusedError, UnknownError
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountAndPool, AccountOperations
from ocs.accounts.sessions import SessionOperations
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.views import AccountView, ReservationView, SessionView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.values.identities import Imsi, Msisdn
from ocs.values.products import BucketTerms, PackageTerms
from tests.rules import rule

NOW = 1_795_000_000
MINI = PackageTerms("MINI", 6_990_000, 30 * 86_400, (BucketTerms("MINI.data", "octets", 2**30),))
NUMBERS = count(38_668_500_000)


class Offer:
    """A catalogue of one package, in UTC."""

    packages = {"MINI": MINI}  # noqa: RUF012

    def when(self, unix_s: int) -> dict[str, int]:
        return {"now": unix_s, "month": 202611, "day": unix_s // 86_400}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("accounts"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[RedisLedger]:
    ledger = await RedisLedger.connect(url, LedgerSettings(max_clock_skew_s=0, partitions=16))
    yield ledger
    await ledger.close()


@pytest.fixture
def accounts(ledger: RedisLedger) -> AccountOperations:
    return AccountOperations(ledger, Offer(), lambda: NOW, lambda: next(NUMBERS))


async def opened(accounts: AccountOperations, credit: int = 20_000_000, package: PackageTerms | None = None) -> Msisdn:
    number = Msisdn(str(next(NUMBERS)))
    await accounts.open(msisdn=number, imsi=Imsi("293" + number), credit_micro_eur=credit, package=package)
    return number


async def test_an_account_is_opened_and_seen(accounts: AccountOperations) -> None:
    number = Msisdn(str(next(NUMBERS)))
    imsi = Imsi("293" + number)
    view = await accounts.open(msisdn=number, imsi=imsi, credit_micro_eur=20_000_000, package=MINI)
    assert (view.msisdn, view.imsi, view.package, view.credit_micro_eur) == (number, imsi, "MINI", 13_010_000)
    seen = await accounts.read(number)
    assert (seen.view, seen.pool) == (view, None)
    assert await accounts.find(number) == view.account_id
    assert await accounts.taken_ids(number, imsi) == ["m" + number, "i" + imsi]
    assert await accounts.taken_ids(Msisdn("38668599999"), imsi) == ["i" + imsi]
    with pytest.raises(RefusedError) as caught:
        await accounts.open(msisdn=number, imsi=Imsi("293400000000000"), credit_micro_eur=0, package=None)
    assert caught.value.code == "exists" and "belongs to an account" in str(caught.value)


@rule("HOT-TOP-1")
@rule("HOT-ACC-7")
async def test_a_top_up_counts_once_and_not_above_the_ceiling(accounts: AccountOperations) -> None:
    number = await opened(accounts, 1_000_000)
    once = Reference(f"t-{number}")
    first = await accounts.top_up(number, amount_micro_eur=5_000_000, reference=once)
    again = await accounts.top_up(number, amount_micro_eur=5_000_000, reference=once)
    assert [(each.applied, each.credit_micro_eur) for each in (first, again)] == [(True, 6_000_000), (False, 6_000_000)]
    for amount, reference, code in ((6_000_000, once, "reference"), (195_000_000, Reference(f"u-{number}"), "ceiling")):
        with pytest.raises(RefusedError) as caught:
            await accounts.top_up(number, amount_micro_eur=amount, reference=reference)
        assert caught.value.code == code
    assert (await accounts.read(number)).view.credit_micro_eur == 6_000_000


async def test_a_package_is_activated_once_or_refused(accounts: AccountOperations) -> None:
    number = await opened(accounts, 7_000_000)
    done = [await accounts.activate(number, package=MINI, reference=Reference(f"p-{number}")) for _ in range(2)]
    assert done == [True, False]
    with pytest.raises(RefusedError) as caught:
        await accounts.activate(number, package=MINI, reference=Reference(f"q-{number}"))
    assert caught.value.code == "credit"


@rule("HOT-ACC-11")
@rule("HOT-CC-5")
async def test_block_bars_and_limit(accounts: AccountOperations) -> None:
    number = await opened(accounts)
    blocks = [await accounts.block(number), await accounts.block(number)]
    frees = [await accounts.unblock(number), await accounts.unblock(number)]
    assert [(each.changed, each.state) for each in blocks] == [(True, "blocked"), (False, "blocked")]
    assert [(each.changed, each.state) for each in frees] == [(True, "active"), (False, "active")]
    await accounts.set_bars(number, bars=("roaming", "data"))
    await accounts.set_limit(number, micro_eur=None)
    view = (await accounts.read(number)).view
    assert (view.bars, view.limit_micro_eur) == (("data", "roaming"), None)


async def test_an_account_is_moved_and_ends(accounts: AccountOperations) -> None:
    number = await opened(accounts)
    before = await accounts.find(number)
    home = int(before.split("-")[0], 16)
    moved = await accounts.move(number, partition=(home + 1) % 16)
    assert moved.changed and moved.account_id == await accounts.find(number) != before
    assert not (await accounts.move(number, partition=(home + 1) % 16)).changed
    for partition in (-1, 16):
        with pytest.raises(InputError, match="the ledger's are 0 to 15") as caught:
            await accounts.move(number, partition=partition)
        assert caught.value.code == "partition"
    await accounts.terminate(number)
    with pytest.raises(UnknownError):
        await accounts.find(number)


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        ("find", {}),
        ("read", {}),
        ("block", {}),
        ("unblock", {}),
        ("terminate", {}),
        ("move", {"partition": 0}),
        ("top_up", {"amount_micro_eur": 1, "reference": "n"}),
        ("activate", {"package": MINI, "reference": "n"}),
        ("set_limit", {"micro_eur": None}),
        ("set_bars", {"bars": ()}),
    ],
)
async def test_an_account_that_there_is_not(accounts: AccountOperations, operation: str, more: dict[str, Any]) -> None:
    with pytest.raises(AccountError, match="there is no account with MSISDN 38668599998") as caught:
        await getattr(accounts, operation)(Msisdn("38668599998"), **more)
    assert isinstance(caught.value, UnknownError) and caught.value.code == "account"


# -- sessions


class Told:
    """Receives the notices."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def notices_of(self) -> list[tuple[str, list[str]]]:
        return [(each.kind, [session.session_id for session in each.sessions]) for each in self.notices]

    async def announce(self, notice: Notice) -> None:
        self.notices.append(notice)


class OneAccount:
    """Operations on a single account, which has the given sessions."""

    def __init__(self, view: AccountView) -> None:
        self.view = view

    async def read(self, msisdn: Msisdn) -> Any:
        return AccountAndPool(self.view, None)


def session(name: str, *, always: bool = False, released: bool = False) -> SessionView:
    reservation = ReservationView("1", "voice", 0, (), always=always)
    return SessionView(name, "pgw.example.net", "ims", NOW, NOW + 60, (reservation,), released=released)


@rule("HOT-RAT-2")
async def test_sessions_are_announced_and_emergency_calls_are_exempt(accounts: AccountOperations) -> None:
    number = await opened(accounts)
    view = (await accounts.read(number)).view
    sessions = (session("d"), session("e", always=True), session("old", released=True))
    told = Told()
    operations = SessionOperations(OneAccount(replace(view, sessions=sessions)), told, lambda: float(NOW))
    for action, named, expected, exempt in (
        ("reauthorize", "", ["d", "e"], 0),
        ("abort", "", ["d"], 1),
        ("abort", "e", ["e"], 0),
    ):
        selection = await operations.select(number, action, named)
        assert ([each.session_id for each in selection.sessions], selection.exempt) == (expected, exempt)
        await operations.announce(action, selection)
        assert told.notices_of()[-1] == (action, expected)
    for named in ("old", "none"):
        with pytest.raises(UnknownError, match="no open session of this id") as caught:
            await operations.select(number, "abort", named)
        assert caught.value.code == "session"
