"""The accounts' operations: opening, topping up, packages, changes, ends. What each promises: contract.AccountLedger."""

from __future__ import annotations

from collections.abc import Sequence

from ocs.ledger import views, wire
from ocs.ledger.client import REFUSALS, LedgerClient
from ocs.ledger.contract import (
    CREDIT_CEILING_MICRO_EUR,
    DEFAULT_LIMIT_MICRO_EUR,
    AccountView,
    LedgerError,
    PackageTerms,
)

ACTIVE_S = 90 * 86_400
"""HOT-ACC-3: an account is active for 90 days from its last top-up."""


class Accounts(LedgerClient):
    """For care staff and provisioning; the sessions of an account belong to it."""

    async def open_account(
        self,
        *,
        msisdn: str,
        imsi: str,
        credit_micro_eur: int,
        package: PackageTerms | None,
        now: int,
        month: int,
        entropy: int,
    ) -> str:
        account_id = self._keys.new_account_id(msisdn, entropy)
        wire.amount("credit", credit_micro_eur)
        await self._claim_imsi(imsi, account_id)
        keys = self._keys.by_partition[self._keys.partition_of_account(account_id)]
        terms = wire.package(package) if package else False
        body = (
            msisdn,
            imsi,
            credit_micro_eur,
            terms,
            now,
            month,
            DEFAULT_LIMIT_MICRO_EUR,
            now + ACTIVE_S,
            CREDIT_CEILING_MICRO_EUR,
        )
        try:
            await self._script("open", account_id, [keys.subscribers, keys.outbox, keys.sequence, keys.due], body)
        except LedgerError:
            partition = self._keys.partition_of_name("i" + imsi)
            await self._ask(
                "open", partition, b"HDEL", self._keys.by_partition[partition].subscribers, b"i" + imsi.encode()
            )
            raise
        return account_id

    async def _claim_imsi(self, imsi: str, account_id: str) -> None:
        """The IMSI's entry may live in another partition, so it is claimed first; a claim for an account that never came to be is void."""
        partition = self._keys.partition_of_name("i" + imsi)
        subscribers, name = self._keys.by_partition[partition].subscribers, b"i" + imsi.encode()
        if await self._ask("open", partition, b"HSETNX", subscribers, name, account_id.encode()):
            return
        holder = (await self._ask("open", partition, b"HGET", subscribers, name) or b"").decode()
        if holder and holder != account_id and await self._document(holder):
            raise LedgerError("exists", REFUSALS["exists"])
        await self._ask("open", partition, b"HSET", subscribers, name, account_id.encode())

    async def top_up(
        self,
        account_id: str,
        *,
        amount_micro_eur: int,
        reference: str,
        packages: Sequence[PackageTerms],
        now: int,
        month: int,
    ) -> bool:
        wire.amount("amount", amount_micro_eur, least=1)
        await self._claim_reference(reference, f"{account_id} {amount_micro_eur}")
        keys = self._account_keys(account_id)
        body = (
            amount_micro_eur,
            reference,
            now,
            month,
            now + ACTIVE_S,
            CREDIT_CEILING_MICRO_EUR,
            wire.packages(packages),
            self._clock(),
        )
        answer = await self._script("top_up", account_id, [keys.references, keys.outbox, keys.sequence, keys.due], body)
        return answer == b"ok"

    async def _claim_reference(self, reference: str, purpose: str) -> None:
        """A reference credits one account by one amount, once, in the whole system (HOT-TOP-1)."""
        partition = self._keys.partition_of_name(reference)
        references, name = self._keys.by_partition[partition].references, b"claim:" + reference.encode()
        if await self._ask("top_up", partition, b"HSETNX", references, name, purpose.encode()):
            return
        holder = await self._ask("top_up", partition, b"HGET", references, name)
        if holder != purpose.encode():
            raise LedgerError("reference", REFUSALS["reference"])

    async def activate_package(
        self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int
    ) -> bool:
        keys = self._account_keys(account_id)
        body = (wire.package(package), reference, now, month, self._clock())
        answer = await self._script(
            "package", account_id, [keys.references, keys.outbox, keys.sequence, keys.due], body
        )
        return answer == b"ok"

    async def set_limit(self, account_id: str, *, limit_micro_eur: int | None, now: int, month: int) -> None:
        value = -1 if limit_micro_eur is None else wire.amount("limit", limit_micro_eur)
        await self._change(account_id, "limit", value, now, month)

    async def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int) -> None:
        await self._change(account_id, "bars", ",".join(sorted(set(bars))), now, month)

    async def set_state(self, account_id: str, *, state: str, now: int, month: int) -> None:
        if state not in ("active", "blocked"):
            raise LedgerError("range", f"state is {state!r}; it can be set to active or blocked")
        await self._change(account_id, "state", views.STATE_CODES[state], now, month)

    async def _change(self, account_id: str, what: str, value: int | str, now: int, month: int) -> None:
        keys = self._account_keys(account_id)
        await self._script(
            "change", account_id, [keys.outbox, keys.sequence, keys.due], (what, value, now, month, self._clock())
        )

    async def terminate_account(self, account_id: str, *, now: int, month: int) -> None:
        keys = self._account_keys(account_id)
        answer: list[bytes] = await self._run_script(
            "terminate",
            account_id,
            [keys.subscribers, keys.outbox, keys.sequence, keys.due],
            (now, month, self._clock()),
        )
        if answer[0] == b"unknown":
            raise LedgerError("unknown", REFUSALS["unknown"])
        imsi = b"i" + answer[1]
        partition = self._keys.partition_of_name(imsi.decode())
        subscribers = self._keys.by_partition[partition].subscribers
        if await self._ask("terminate", partition, b"HGET", subscribers, imsi) == account_id.encode():
            await self._ask("terminate", partition, b"HDEL", subscribers, imsi)

    async def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool:
        keys = self._account_keys(account_id)
        body = (session_id, reason, now, month)
        return await self._script("release", account_id, [keys.outbox, keys.sequence, keys.due], body) == b"ok"

    async def read(self, account_id: str, *, now: int, month: int) -> AccountView | None:
        document = await self._document(account_id)
        return views.account_view(account_id, document, now=now, month=month) if document else None

    async def _document(self, account_id: str) -> bytes | None:
        keys = self._account_keys(account_id)
        partition = self._keys.partition_of_account(account_id)
        document: bytes | None = await self._ask("read", partition, b"GET", keys.account + account_id.encode())
        return document
