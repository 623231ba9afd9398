"""What every interface needs: the ledger, the catalogue, and the operations on them. Command line and API share it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ocs.accounts.first_look import FirstLook
from ocs.accounts.groups import GroupOperations
from ocs.accounts.keywords import KeywordOperations
from ocs.accounts.life import LifeOperations
from ocs.accounts.operations import AccountOperations
from ocs.accounts.pools import PoolOperations
from ocs.accounts.products import ProductOperations
from ocs.accounts.redeeming import RedeemOperations
from ocs.accounts.sessions import SessionOperations
from ocs.accounts.transfers import TransferOperations
from ocs.accounts.voucher_batches import BatchOperations
from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger

READ_BATCH = 200
"""Accounts read together when all accounts are read."""


class Environment(Protocol):
    """Clock and random source (`ocs.compose.Environment`)."""

    @property
    def clock(self) -> Callable[[], float]:
        """Unix seconds."""

    def now(self) -> int: ...
    def entropy(self) -> int: ...
    def below(self, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Backend:
    """Ledger, catalogue, clock and random source of one process."""

    ledger: RedisLedger
    catalogue: Catalogues
    environment: Environment
    voucher_key: bytes | None = field(default=None, repr=False)
    """The operator's key of vouchers; None = the ledger has its own."""
    first: FirstLook | None = None
    """What was read when a request came in; a backend of that request only."""
    unread: list[str] = field(default_factory=list)
    """Accounts that `views` could not read, each with the reason."""

    @property
    def accounts(self) -> AccountOperations:
        environment = self.environment
        return AccountOperations(self.ledger, self.catalogue, environment.now, environment.entropy, self.first)

    @property
    def products(self) -> ProductOperations:
        return ProductOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def keywords(self) -> KeywordOperations:
        general = self.catalogue.in_force().tables.general
        assert general is not None
        now = self.environment.now
        return KeywordOperations(self.accounts, self.products, self.ledger, self.catalogue, now, general.kilo)

    @property
    def pools(self) -> PoolOperations:
        return PoolOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def groups(self) -> GroupOperations:
        environment = self.environment
        return GroupOperations(self.accounts, self.ledger, self.catalogue, environment.now, environment.entropy)

    @property
    def transfers(self) -> TransferOperations:
        return TransferOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def life(self) -> LifeOperations:
        return LifeOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def sessions(self) -> SessionOperations:
        return SessionOperations(self.accounts, self.ledger, self.environment.clock)

    @property
    def redeeming(self) -> RedeemOperations:
        now, entropy = self.environment.now, self.environment.entropy
        return RedeemOperations(self.accounts, self.ledger, self.catalogue, now, entropy, self.voucher_key)

    @property
    def vouchers(self) -> BatchOperations:
        return BatchOperations(self.ledger, self.environment.now, self.environment.below, self.voucher_key)

    def when(self) -> dict[str, int]:
        """The arguments `now` (Unix seconds), `month` and `day` of the ledger's operations."""
        return self.catalogue.when(self.environment.now())

    async def views(self) -> AsyncIterator[AccountView]:
        """All accounts, in any order. Those that cannot be read are added to `unread`."""
        batch: list[str] = []
        async for account_id in self.ledger.account_ids():
            batch.append(account_id)
            if len(batch) == READ_BATCH:
                for view in await self._read(batch):
                    yield view
                batch = []
        for view in await self._read(batch):
            yield view

    async def _read(self, account_ids: Sequence[str]) -> list[AccountView]:
        when = self.when()
        found = await asyncio.gather(*(self._read_one(each, when) for each in account_ids))
        return [view for view in found if view is not None]

    async def _read_one(self, account_id: str, when: dict[str, int]) -> AccountView | None:
        try:
            return await self.ledger.read(account_id, **when)
        except LedgerError as error:
            self.unread.append(f"account {account_id}: {error}")
            return None
