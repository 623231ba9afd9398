"""What tests of vouchers need: accounts, batches and redemptions on one ledger, with a clock that the test sets."""

from __future__ import annotations

import csv
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from ocs.accounts.operations import AccountOperations
from ocs.accounts.redeeming import RedeemOperations
from ocs.accounts.voucher_batches import BatchOperations
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.values.identities import Imsi, Msisdn
from ocs.values.voucher_numbers import VoucherNumber, draw

NOW = 1_795_000_000
EUR = 1_000_000
PARTITIONS = 16
_numbers = count(38_668_700_000)
_batches = count(1)


def entropy() -> int:
    return secrets.randbits(64)


class Offer:
    """A catalogue without products, in UTC."""

    packages: dict[str, Any] = {}  # noqa: RUF012
    counters: dict[str, Any] = {}  # noqa: RUF012
    facts: frozenset[str] = frozenset()

    def when(self, unix_s: int) -> dict[str, int]:
        return {"now": unix_s, "month": 202611, "day": unix_s // 86_400}


class Desk:
    """Customer care and the shop."""

    def __init__(self, ledger: RedisLedger, folder: Path) -> None:
        self.ledger, self.now, self._folder = ledger, NOW, folder

        self.accounts = self._accounts(AccountOperations)
        self.batches = BatchOperations(ledger, self._clock, secrets.randbelow, None)
        self.redeeming = self.redeeming_for(AccountOperations)

    def _clock(self) -> int:
        return self.now

    def _accounts(self, kind: type[AccountOperations]) -> AccountOperations:
        return kind(self.ledger, Offer(), self._clock, entropy)

    def redeeming_for(self, kind: type[AccountOperations]) -> RedeemOperations:
        return RedeemOperations(self._accounts(kind), self.ledger, Offer(), self._clock, entropy, None)

    async def opened(self, credit: int = 0) -> Msisdn:
        number = Msisdn(str(next(_numbers)))
        await self.accounts.open(msisdn=number, imsi=Imsi("293" + number), credit_micro_eur=credit, package=None)
        return number

    async def printed(self, number: int, value: int = 10 * EUR, expires_at: int = 0) -> tuple[str, list[VoucherNumber]]:
        """A new batch: its name, and its numbers by serial."""
        name = f"B{next(_batches)}-{secrets.token_hex(4)}"
        file = self._folder / f"{name}.csv"
        await self.batches.generate(name=name, count=number, value_micro_eur=value, expires_at=expires_at, file=file)
        with file.open() as text:
            return name, [VoucherNumber(row["number"]) for row in csv.DictReader(text)]

    async def sold(self, number: int = 1, value: int = 10 * EUR, expires_at: int = 0) -> list[VoucherNumber]:
        """Numbers of a new batch that is active."""
        name, numbers = await self.printed(number, value, expires_at)
        assert (await self.batches.activate(name)).vouchers == number
        return numbers

    async def credit(self, msisdn: Msisdn) -> int:
        return (await self.accounts.read(msisdn)).view.credit_micro_eur


def unknown_number() -> VoucherNumber:
    """No voucher has it, but for once in 10^15."""
    return draw(secrets.randbelow)


@asynccontextmanager
async def desk_of(url: str, folder: Path) -> AsyncIterator[Desk]:
    ledger = await RedisLedger.connect(url, LedgerSettings(max_clock_skew_s=0, partitions=PARTITIONS))
    try:
        yield Desk(ledger, folder)
    finally:
        await ledger.close()
