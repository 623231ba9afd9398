"""What tests of business groups need: numbers, groups and transfers on one ledger, with a clock that the test sets."""

from __future__ import annotations

import secrets
from itertools import count
from typing import Any

from ocs.accounts.groups import GroupOperations
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations
from ocs.accounts.transfers import TransferOperations
from ocs.ledger.audit import AuditReport, audit
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.identities import Imsi, Msisdn
from ocs.values.life import DEFAULT_LIFE, LifeTerms

NOW = 1_795_000_000
EUR = 1_000_000
PARTITIONS = 16
PUK = "12345678"
_numbers = count(38_668_800_000)


def entropy() -> int:
    return secrets.randbits(64)


class Offer:
    """A catalogue without products, in UTC."""

    packages: dict[str, Any] = {}  # noqa: RUF012
    counters: dict[str, Any] = {}  # noqa: RUF012
    facts: frozenset[str] = frozenset()

    def when(self, unix_s: int) -> dict[str, int]:
        return {"now": unix_s, "month": 202611, "day": unix_s // 86_400}

    def life_at(self, unix_s: int) -> LifeTerms:
        return DEFAULT_LIFE


class GroupDesk:
    """Customer care and the administrator."""

    def __init__(self, ledger: RedisLedger, now: int = NOW) -> None:
        self.ledger, self.now = ledger, now
        self.accounts = AccountOperations(ledger, Offer(), self._clock, entropy)
        self.groups = GroupOperations(self.accounts, ledger, Offer(), self._clock, entropy)
        self.transfers = TransferOperations(self.accounts, ledger, Offer(), self._clock)

    def _clock(self) -> int:
        return self.now

    @property
    def when(self) -> dict[str, int]:
        return Offer().when(self.now)

    async def opened(self, credit: int = 20 * EUR) -> Msisdn:
        """A number whose SIM has the PUK1 `PUK`."""
        number = Msisdn(str(next(_numbers)))
        await self.accounts.open(msisdn=number, imsi=Imsi("293" + number), credit_micro_eur=credit, package=None)
        await self.groups.set_puk(number, puk=PUK)
        return number

    async def group(self, members: int = 1, credit: int = 20 * EUR) -> tuple[str, list[Msisdn]]:
        """A group's id, and its numbers; the first is the administrator's."""
        numbers = [await self.opened(credit) for _ in range(members + 1)]
        state = await self.groups.create(name="Firma", administrator=numbers[0])
        for each in numbers[1:]:
            await self.groups.add(state.group.group_id, msisdn=each, puk=PUK)
        return state.group.group_id, numbers

    async def transfer(self, sender: Msisdn, to: Msisdn, amount: int, reference: str) -> bool:
        done = await self.transfers.transfer(sender, to=to, amount_micro_eur=amount, reference=Reference(reference))
        return done.applied

    async def recover(self) -> None:
        """As the back office does, a minute later."""
        self.now += 60
        for partition in range(self.ledger.partitions):
            await self.transfers.continue_partition(partition)
            for each in await self.ledger.unfinished_groups(partition, before=self.now - 10, count=100):
                await self.groups.continue_steps(each)

    async def view(self, number: Msisdn) -> AccountView:
        return (await self.accounts.read(number)).view

    async def credit(self, number: Msisdn) -> int:
        return (await self.view(number)).credit_micro_eur

    async def audited(self) -> AuditReport:
        report = await audit(self.ledger, **self.when)
        assert report.ok, report.violations
        assert report.paid_in_micro_eur == sum(v for name, v in report.totals.items() if name != "paid_in_micro_eur")
        return report
