"""Transfers of credit between two accounts of a business group (HOT-GRP-2). `contract.groups.TransferLedger` says what
each operation does.

The accounts may be in different partitions, so a transfer takes three scripts: the sender's account notes what is in
transit; the receiver's decides, once and for good; the sender's forgets it or takes it back. A transfer that a crash
has left is continued by anybody: the receiver's decision is remembered for as long as references are.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.views import AccountView, TransferView
from ocs.ledger.redis import wire
from ocs.ledger.redis.accounts import ATTEMPT_OCTETS, REFERENCE_KEEP_S, when
from ocs.ledger.redis.client import REFUSALS, MovedError
from ocs.ledger.redis.groups import Groups
from ocs.ledger.redis.keys import uid_of

REFUSED = "no "
"""Before the reason for which the receiver refused."""
ATTEMPTS = 4
"""Times that an account which is being moved is asked, `PAUSE_S` apart."""
PAUSE_S = 0.1


class Transfers(Groups):
    """Part of `RedisLedger`."""

    async def transfer(
        self,
        account_id: str,
        *,
        to: str,
        amount_micro_eur: int,
        group_id: str,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        with_promotional: bool = False,
    ) -> bool:
        at = when(now, month, day)
        terms = (to, amount_micro_eur, group_id, reference, with_promotional)
        sent, attempt = await self._take_from_sender(account_id, *terms, at=at)
        if sent is None:
            return False
        refused = await self.continue_transfer(account_id, sent, **at)
        if refused:
            await self._free_reference(_claimed(account_id, reference), month, attempt)
            raise LedgerError(refused, REFUSALS[refused])
        return True

    async def begin_transfer(
        self,
        account_id: str,
        *,
        to: str,
        amount_micro_eur: int,
        group_id: str,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        with_promotional: bool = False,
    ) -> TransferView | None:
        terms = (to, amount_micro_eur, group_id, reference, with_promotional)
        sent, _ = await self._take_from_sender(account_id, *terms, at=when(now, month, day))
        return sent

    async def _take_from_sender(
        self,
        account_id: str,
        to: str,
        amount: int,
        group_id: str,
        reference: str,
        with_promotional: bool,
        *,
        at: dict[str, Any],
    ) -> tuple[TransferView | None, bytes]:
        """The sender's part. Returns what is in transit, None = the reference was applied before and has arrived; and
        the attempt by which the reference is claimed.
        """
        wire.amount("amount", amount, least=1)
        attempt = secrets.token_bytes(ATTEMPT_OCTETS)
        await self._claim_reference(_claimed(account_id, reference), f"{uid_of(to)} {amount}", at["month"], attempt)
        arguments = {"what": "out", "amount": amount, "to": to, "with_promotional": with_promotional}
        try:
            answer = await self._transfer_script(account_id, reference, group_id, arguments, at)
            word, instance, promotional, role = answer
            _raise_refused(word)
        except LedgerError:
            await self._free_reference(_claimed(account_id, reference), at["month"], attempt)
            raise
        if word == b"again":
            view = await self.read(account_id, **at)
            pending = view.transfers if view is not None else ()
            return next((each for each in pending if each.reference == reference), None), attempt
        sent = TransferView(instance, to, amount, promotional, reference, group_id, role.decode(), at["now"])
        return sent, attempt

    async def continue_transfer(
        self, account_id: str, transfer: TransferView, *, now: int, month: int, day: int = 0
    ) -> str:
        at = when(now, month, day)
        refused = await self._deliver(account_id, transfer, at)
        arguments = {
            "what": "end",
            "transfer": _unique(account_id, transfer),
            "instance": transfer.instance,
            "refused": refused,
        }

        async def end(sender: str) -> bytes:
            word, *_ = await self._transfer_script(sender, transfer.reference, transfer.group, arguments, at)
            return bytes(word)

        await self._followed(account_id, end)
        return refused

    async def _deliver(self, account_id: str, transfer: TransferView, at: dict[str, Any]) -> str:
        """Credit the receiver. Returns why it refused, "" = it has the money."""
        arguments = {
            "what": "in",
            "transfer": _unique(account_id, transfer),
            "amount": transfer.amount_micro_eur,
            "promotional": transfer.promotional_micro_eur,
            "of": account_id,
            "role": transfer.role,
        }

        async def credit(receiver: str) -> bytes:
            word, *_ = await self._transfer_script(receiver, transfer.reference, transfer.group, arguments, at)
            return bytes(word)

        word = (await self._followed(transfer.to, credit)).decode()
        if word == "unknown":
            return "state"  # there is no such account any more, and none will have its id again
        if word.startswith(REFUSED):
            return word.removeprefix(REFUSED)
        _raise_refused(word.encode())
        return ""

    async def _followed(self, account_id: str, ask: Callable[[str], Awaitable[bytes]]) -> bytes:
        """Ask the account by the id that it has now; "unknown" = it exists no more. LedgerUnavailable: it is moving."""
        for attempt in range(ATTEMPTS):
            try:
                word = await ask(account_id)
            except MovedError as error:
                account_id = error.account_id
                continue
            if word != b"unknown":
                return word
            located = await self.locate(account_id)
            if located is None:
                return word
            account_id = located
            await asyncio.sleep(PAUSE_S * attempt)
        raise LedgerUnavailable(f"account {account_id} is being moved")

    async def _transfer_script(
        self, account_id: str, reference: str, group_id: str, arguments: dict[str, Any], at: dict[str, Any]
    ) -> Sequence[Any]:
        this_month, *before = self._account_keys(account_id).reference_months(at["month"])
        common = {
            "reference": reference,
            "group": group_id,
            "uid": uid_of(account_id),
            "keep_s": REFERENCE_KEEP_S,
            "asked_at": self._clock(),
        }
        answer: Sequence[Any] = await self._run_script(
            "transfer", account_id, {**arguments, **common, **at}, this_month, before
        )
        return answer

    # -- what a crash has left

    async def unfinished_transfers(self, partition: int, *, before: int, count: int) -> list[str]:
        key = self._keys.by_partition[partition].transit
        found = await self._ask("transit", partition, b"ZRANGEBYSCORE", key, b"-inf", before, b"LIMIT", 0, count)
        return [each.decode() for each in found]

    async def continue_transfers(
        self, account_id: str, *, before: int, now: int, month: int, day: int = 0
    ) -> list[tuple[TransferView, str]]:
        view: AccountView | None = await self.read(account_id, now=now, month=month, day=day)
        if view is None:
            return []
        found = [each for each in view.transfers if each.at <= before]
        return [(each, await self.continue_transfer(account_id, each, now=now, month=month, day=day)) for each in found]


def _claimed(account_id: str, reference: str) -> str:
    """A transfer's reference belongs to its sender: it takes none from a shop's top-ups, or from another group."""
    return f"transfer:{uid_of(account_id)}:{reference}"


def _unique(account_id: str, transfer: TransferView) -> str:
    """Name of a transfer that no other has: the sender's uid and a number within its account."""
    return f"{uid_of(account_id)}-{transfer.instance}"


def _raise_refused(word: bytes) -> None:
    if word.decode() in REFUSALS:
        raise LedgerError(word.decode(), REFUSALS[word.decode()])
