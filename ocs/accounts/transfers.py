"""Transfers of credit within a business group (HOT-GRP-2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ocs.accounts.errors import raising_refused
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.groups import TransferLedger
from ocs.ledger.contract.views import TransferView
from ocs.policy.groups import may_transfer
from ocs.values.identities import Msisdn
from ocs.values.life import LifeTerms
from ocs.values.moment import When, when_of

GRACE_S = 10
"""A transfer is left alone for so long: whoever began it may still be at it."""
TOGETHER = 100
"""Accounts of a partition whose transfers are continued in one pass."""


class Offer(Protocol):
    """The part of the catalogue that the operations need."""

    def when(self, unix_s: int) -> dict[str, int]: ...
    def life_at(self, unix_s: int) -> LifeTerms: ...


class Ledger(TransferLedger, Protocol):
    @property
    def partitions(self) -> int: ...


@dataclass(frozen=True, slots=True)
class TransferResult:
    applied: bool
    """False = the reference was applied before; nothing was changed."""
    credit_micro_eur: int
    """Of the sender, afterwards."""
    received_credit_micro_eur: int
    """Of the receiver, afterwards."""


@dataclass(frozen=True, slots=True)
class Continued:
    account_id: str
    """Of the sender."""
    transfer: TransferView
    refused: str
    """Why the money went back; "" = it has arrived."""


class TransferOperations:
    """`now` gives Unix seconds."""

    def __init__(self, accounts: AccountOperations, ledger: Ledger, offer: Offer, now: Callable[[], int]) -> None:
        self._accounts, self._ledger, self._offer, self._now = accounts, ledger, offer, now

    def _when(self) -> When:
        return when_of(self._offer.when(self._now()))

    async def transfer(
        self, sender: Msisdn, *, to: Msisdn, amount_micro_eur: int, reference: Reference
    ) -> TransferResult:
        """Transfer credit, once per reference. What is held stays; promotional credit too, unless the catalogue allows
        it. The receiver's active period stays as it is: a transfer is no top-up (HOT-ACC-3).

        RefusedError: "group" (HOT-GRP-2), "funds", "ceiling" (HOT-ACC-7: the sender has its money back), "state",
        "reference", "transfers".
        """
        source, target = (await self._accounts.read(sender)).view, (await self._accounts.read(to)).view
        pending = any(each.reference == reference for each in source.transfers)
        # Outside a group nothing is sent; the ledger still knows whether this was done before.
        group_id = source.group if pending or may_transfer(source, target) else ""
        with raising_refused():
            applied = await self._ledger.transfer(
                source.account_id,
                to=target.account_id,
                amount_micro_eur=amount_micro_eur,
                group_id=group_id,
                reference=reference,
                with_promotional=self._offer.life_at(self._now()).transfer_promotional,
                **self._when(),
            )
        after = [(await self._accounts.read(each)).view.credit_micro_eur for each in (sender, to)]
        return TransferResult(applied, *after)

    async def finish(self, msisdn: Msisdn) -> list[TransferView]:
        """Continue what the number has in transit now, such as before its account ends. Returns what was."""
        view = (await self._accounts.read(msisdn)).view
        with raising_refused():
            done = await self._ledger.continue_transfers(view.account_id, before=self._now(), **self._when())
        return [each for each, _ in done]

    async def continue_partition(self, partition: int) -> tuple[list[Continued], int]:
        """Continue what a crash has left in transit, of at most TOGETHER accounts of the partition. Also returns how
        many accounts could not be changed, or are being moved: their money stays in transit.
        """
        before, found, stuck = self._now() - GRACE_S, list[Continued](), 0
        for account_id in await self._ledger.unfinished_transfers(partition, before=before, count=TOGETHER):
            try:
                done = await self._ledger.continue_transfers(account_id, before=before, **self._when())
            except (LedgerError, LedgerUnavailable):
                stuck += 1
                continue
            found += [Continued(account_id, each, refused) for each, refused in done]
        return found, stuck
