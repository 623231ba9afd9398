"""Operations on the life of accounts that take several steps: another SIM, another number, pay-out.
`contract.operations.AccountLedger` says what each does.

A new subscriber id is claimed in the index, put into the account, confirmed in the index; then the old entry is
deleted. The account names the id that it leaves until the end, so the operation may be called again after a crash at
any step.
"""

from __future__ import annotations

from typing import Any

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis import wire
from ocs.ledger.redis.accounts import REFERENCE_KEEP_S, Accounts, when
from ocs.ledger.redis.client import REFUSALS
from ocs.ledger.redis.keys import uid_of
from ocs.ledger.redis.views import STATE_CODES
from ocs.values.identities import SubscriberId, by_imsi, by_msisdn
from ocs.values.products import NO_SHARES, LastShares


class Life(Accounts):
    """Part of `RedisLedger`."""

    async def pay_out(
        self,
        account_id: str,
        *,
        reference: str,
        reason: str,
        states: tuple[str, ...],
        now: int,
        month: int,
        day: int = 0,
        shares: LastShares = NO_SHARES,
    ) -> int:
        this_month, *before = self._account_keys(account_id).reference_months(month)
        arguments = {
            "reference": reference,
            "uid": uid_of(account_id),
            "reason": reason,
            "states": "".join(STATE_CODES[state] for state in states),
            "keep_s": REFERENCE_KEEP_S,
            "shares": wire.last_shares(shares),
            **when(now, month, day),
        }
        word, amount = await self._run_script("pay_out", account_id, arguments, this_month, before)
        _raise_refused(word)
        return int(amount)

    async def change_imsi(self, account_id: str, *, imsi: str, now: int, month: int, day: int = 0) -> bool:
        return await self._change_id(account_id, "imsi", imsi, by_imsi(imsi), when(now, month, day))

    async def change_msisdn(self, account_id: str, *, msisdn: str, now: int, month: int, day: int = 0) -> bool:
        return await self._change_id(account_id, "msisdn", msisdn, by_msisdn(msisdn), when(now, month, day))

    async def _change_id(self, account_id: str, what: str, value: str, name: SubscriberId, at: dict[str, Any]) -> bool:
        claim = await self._claim(name, account_id, at["now"])
        try:
            word, leaving = await self._identity(account_id, what, value, at)
            if word == b"leaving":  # an earlier change was not finished
                await self._leave(account_id, leaving, at)
                word, leaving = await self._identity(account_id, what, value, at)
            _raise_refused(word)
        except LedgerError:
            await self._release_claim(name, claim)
            raise
        if not await self._confirm(name, account_id, claim):
            raise LedgerError("exists", REFUSALS["exists"])
        if leaving:
            await self._leave(account_id, leaving, at)
        return bool(word == b"ok")

    async def _identity(self, account_id: str, what: str, value: str, at: dict[str, Any]) -> tuple[bytes, bytes]:
        arguments = {"what": what, "value": value, "asked_at": self._clock(), **at}
        word, leaving = await self._run_script("identity", account_id, arguments)
        return word, leaving

    async def _leave(self, account_id: str, leaving: bytes, at: dict[str, Any]) -> None:
        """Delete the index entry of the id that the account has left, then forget that it has left it."""
        partition, subscribers, field = self._index_of(leaving.decode())
        holder: bytes = await self._ask("identity", partition, b"HGET", subscribers, field) or b""
        if holder and uid_of(holder.decode()) == uid_of(account_id):
            await self._replace(partition, subscribers, field, holder, b"")
        await self._identity(account_id, "left", leaving.decode(), at)


def _raise_refused(word: bytes) -> None:
    if word.decode() in REFUSALS:
        raise LedgerError(word.decode(), REFUSALS[word.decode()])
